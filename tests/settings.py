"""The project's settings as tests use them: production's, over plain HTTP, and with nothing taken from the machine.

`TEST_SERVICES=1` means PostgreSQL and the Redis channel layer (see tests/services.py) in place of SQLite and none.
Servers and commands that tests start inherit `DJANGO_SETTINGS_MODULE`, so they run with these too; what they set in
their environment wins.
"""

import os
import tempfile
from pathlib import Path

from tests import services

os.environ.setdefault("DEBUG", "0")
os.environ.setdefault("HTTPS", "0")
os.environ.setdefault("SECRET_KEY", "only-for-tests-and-long-enough-to-sign-tokens-with-HS256")
os.environ.setdefault("ALLOWED_HOSTS", "localhost,127.0.0.1,testserver")
os.environ.setdefault("WATAOMI_LOG_FILE", "")
os.environ.setdefault("WATAOMI_EXECUTOR", "")
os.environ.setdefault("DATABASE_URL", services.database_url() if services.wanted() else "")
os.environ.setdefault("REDIS_URL", services.redis_url() if services.wanted() else "")

from wataomi.settings import *  # noqa: F403
from wataomi.settings import CHANNEL_LAYERS, DATABASES, INSTALLED_APPS

# A real hash costs 0.3 s for each user of each test.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# A database and a prefix for each process: several test runs of one machine do not meet.
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["TEST"] = {"NAME": str(Path(tempfile.gettempdir()) / f"wataomi-test-{os.getpid()}.sqlite3")}
else:
    DATABASES["default"]["TEST"] = {"NAME": services.own_name()}
    # The tables of the queue are there for the workers that tests start.
    if "procrastinate.contrib.django" not in INSTALLED_APPS:
        INSTALLED_APPS.append("procrastinate.contrib.django")
if REDIS_URL and not os.environ.get("REDIS_PREFIX"):  # noqa: F405
    CHANNEL_LAYERS["default"]["CONFIG"]["prefix"] = services.own_name()
