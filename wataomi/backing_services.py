"""PostgreSQL and Redis as the settings name them: whether they are there, said in words that lead on."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
from django.conf import settings
from django.db import connection
from psycopg import sql

SECONDS = 5
"""How long a service may take to answer."""

MAINTENANCE_DATABASE = "postgres"
"""It is in every PostgreSQL; from it others are created."""


class ServiceMissing(Exception):
    """A service that the settings name does not answer, or does not do what it is asked."""


def require_database(*, create: bool) -> None:
    """Return when the database can be used; with `create`, make it where the server is there and has none of its name.

    Raises ServiceMissing. SQLite makes its file itself, and is left alone.
    """
    if connection.vendor != "postgresql":
        return
    params = connection.get_connection_params() | {"connect_timeout": SECONDS}
    name = str(connection.settings_dict["NAME"])
    try:
        psycopg.connect(**params).close()
        return
    except psycopg.OperationalError as error:
        if not _is_missing(name, params):
            raise ServiceMissing(
                f"PostgreSQL cannot be used at {_place()} ({_first_line(error)}). "
                "Start it, or set DATABASE_URL to where it is: postgres://user:password@host:5432/name."
            ) from error
    if not create:
        raise ServiceMissing(
            f'PostgreSQL at {_place()} has no database "{name}". '
            f"Create it: createdb {name}, as the user who shall own it."
        )
    _create(name, params)


def require_redis() -> None:
    """Return when Redis answers, or none is set. Raises ServiceMissing."""
    url = settings.REDIS_URL
    if not url:
        return
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=SECONDS, socket_timeout=SECONDS) as client:
            client.ping()
    except ValueError as error:
        raise ServiceMissing(f"REDIS_URL is not the address of a Redis: {error}") from error
    except redis.RedisError as error:
        parts = urlsplit(url)
        raise ServiceMissing(
            f"Redis cannot be used at {parts.hostname or parts.path}:{parts.port or 6379} ({_first_line(error)}). "
            "Start it, or set REDIS_URL to where it is: redis://:password@host:6379/0."
        ) from error


def _is_missing(name: str, params: dict[str, Any]) -> bool:
    """Whether the server is there, without such a database; its own error says so in whatever language it speaks."""
    try:
        with psycopg.connect(**params | {"dbname": MAINTENANCE_DATABASE}) as maintenance:
            return maintenance.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None
    except psycopg.Error:
        return False


def _create(name: str, params: dict[str, Any]) -> None:
    try:
        with psycopg.connect(**params | {"dbname": MAINTENANCE_DATABASE}, autocommit=True) as maintenance:
            maintenance.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.errors.DuplicateDatabase:
        return  # another process has made it meanwhile
    except psycopg.Error as error:
        raise ServiceMissing(
            f'PostgreSQL at {_place()} has no database "{name}", and it cannot be created ({_first_line(error)}). '
            f"Have it made by somebody who may: createdb {name}."
        ) from error


def _place() -> str:
    given = connection.settings_dict
    return f"{given['HOST'] or 'its local socket'}{':' + str(given['PORT']) if given['PORT'] else ''}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
