"""Scratch databases for the measurements: a file, and a database on a PostgreSQL that is there."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

POSTGRES = os.environ.get("BENCH_DATABASE_URL") or "postgres://postgres@127.0.0.1:5432/postgres"
"""A database whose role may create others."""


@contextmanager
def sqlite() -> Iterator[str]:
    """The URL of a database in the temporary folder."""
    with tempfile.TemporaryDirectory(prefix="wataomi-bench-") as folder:
        yield f"sqlite:///{Path(folder) / 'bench.sqlite3'}"


class PostgresMissing(Exception):
    """There is no PostgreSQL to measure on."""


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a database that is dropped in the end. Raises PostgresMissing."""
    import psycopg

    name = f"wataomi_bench_{os.getpid()}_{secrets.token_hex(3)}"
    try:
        server = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError as error:
        raise PostgresMissing(f"{str(error).strip().splitlines()[0]}.") from error
    with server:
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield urlsplit(POSTGRES)._replace(path=f"/{name}").geturl()
        finally:
            server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
