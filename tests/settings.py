"""The project's settings as tests use them: production's, over plain HTTP, and with nothing taken from the machine.

Servers and commands that tests start inherit `DJANGO_SETTINGS_MODULE`, so they run with these too; what they set in
their environment wins.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("DEBUG", "0")
os.environ.setdefault("HTTPS", "0")
os.environ.setdefault("SECRET_KEY", "only-for-tests-and-long-enough-to-sign-tokens-with-HS256")
os.environ.setdefault("ALLOWED_HOSTS", "localhost,127.0.0.1,testserver")
os.environ.setdefault("WATAOMI_LOG_FILE", "")

from wataomi.settings import *  # noqa: F403
from wataomi.settings import DATABASES

# A real hash costs 0.3 s for each user of each test.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # One file for each process: several test runs of one checkout do not meet.
    DATABASES["default"]["TEST"] = {"NAME": str(Path(tempfile.gettempdir()) / f"wataomi-test-{os.getpid()}.sqlite3")}
