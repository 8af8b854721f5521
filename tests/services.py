"""PostgreSQL and Redis for the tests: with `TEST_SERVICES=1` they run on these, without it on SQLite alone.

`python -m tests.services` says whether both answer; its exit code is 0 when they do.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path
from urllib.parse import urlsplit

DATABASE_URL = "postgres://postgres@127.0.0.1:5432/postgres"
REDIS_URL = "redis://127.0.0.1:6379/0"
SECONDS = 5
"""How long a service may take to answer."""


def wanted() -> bool:
    return os.environ.get("TEST_SERVICES", "").lower() in {"1", "true", "yes", "on"}


def database_url(name: str = "") -> str:
    """Of the database in which the tests' role creates others; of one of these, with its `name`."""
    url = os.environ.get("TEST_DATABASE_URL") or DATABASE_URL
    return urlsplit(url)._replace(path=f"/{name}").geturl() if name else url


def redis_url() -> str:
    return os.environ.get("TEST_REDIS_URL") or REDIS_URL


def own_name() -> str:
    """A name for what this process makes on the services: no other process, checkout or machine has it."""
    place = hashlib.sha256(f"{platform.node()}:{Path(__file__).resolve()}".encode()).hexdigest()[:8]
    return f"wataomi_test_{place}_{os.getpid()}"


def test_environment() -> dict[str, str]:
    """What a server or command has to be told so that it uses the database and the channel layer of the tests."""
    from django.conf import settings
    from django.db import connection

    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return {"DATABASE_URL": f"sqlite:///{name}", "REDIS_URL": ""}
    prefix = settings.CHANNEL_LAYERS["default"]["CONFIG"]["prefix"]
    return {"DATABASE_URL": database_url(name), "REDIS_URL": redis_url(), "REDIS_PREFIX": prefix}


def disconnect_others() -> None:
    """End the connections that processes and threads of tests have left to the test's database: they would keep it from
    being dropped."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def what_is_missing() -> list[str]:
    """A sentence for each service that does not answer, or does not let the tests do what they have to."""
    return [problem for problem in (_postgresql_problem(), _redis_problem()) if problem]


def _postgresql_problem() -> str:
    import psycopg

    try:
        with psycopg.connect(database_url(), connect_timeout=SECONDS) as connection:
            row = connection.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
            may_create = row.fetchone()
    except psycopg.Error as error:
        return f"PostgreSQL does not answer at {_shown(database_url())}: {_first_line(error)}"
    if may_create is None or not may_create[0]:
        return f"PostgreSQL at {_shown(database_url())} does not let this role create databases (CREATEDB)."
    return ""


def _redis_problem() -> str:
    import redis

    try:
        with redis.Redis.from_url(redis_url(), socket_connect_timeout=SECONDS, socket_timeout=SECONDS) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        return f"Redis does not answer at {_shown(redis_url())}: {_first_line(error)}"
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _shown(url: str) -> str:
    """The URL without its password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":...@")).geturl()


HELP = """\
LEFT OUT: the integration tests on PostgreSQL and Redis.
  {problems}
  To have them run: apt install postgresql redis-server, or say where the two are with TEST_DATABASE_URL
  (now {database}; its role must be allowed to create databases) and TEST_REDIS_URL (now {redis})."""


def main() -> int:
    problems = what_is_missing()
    if problems:
        values = {"problems": "\n  ".join(problems), "database": _shown(database_url()), "redis": _shown(redis_url())}
        print(HELP.format(**values), file=sys.stderr)
        if os.environ.get("CI"):
            print("In CI nothing may be left out: this is an error.", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
