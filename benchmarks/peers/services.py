"""What the peers' programs run on, as variables of their environment; each cleans up behind them."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import redis

from benchmarks import databases
from benchmarks.peers.environments import PeerMissing
from benchmarks.server import free_port

REDIS_URL = os.environ.get("BENCH_REDIS_URL") or "redis://127.0.0.1:6379/15"


@contextmanager
def database() -> Iterator[dict[str, str]]:
    with databases.postgres() as url:
        yield {"DATABASE_URL": url}


@contextmanager
def keys() -> Iterator[dict[str, str]]:
    """A Redis, and a prefix whose keys are deleted in the end."""
    prefix = f"wataomi-bench-{os.getpid()}-{secrets.token_hex(3)}-"
    client = redis.Redis.from_url(REDIS_URL)
    try:
        client.ping()
    except redis.RedisError as error:
        raise PeerMissing(f"{error} (BENCH_REDIS_URL names another Redis.)") from error
    with client:
        try:
            yield {"REDIS_URL": REDIS_URL, "REDIS_PREFIX": prefix}
        finally:
            if left := list(client.scan_iter(f"{prefix}*", count=1000)):
                client.unlink(*left)


@contextmanager
def prefect_home() -> Iterator[dict[str, str]]:
    """A folder for the files of Prefect's server, a port for it, and nothing that calls its makers."""
    port = str(free_port())
    with tempfile.TemporaryDirectory(prefix="wataomi-bench-") as folder:
        yield {
            "PREFECT_HOME": folder,
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": port,
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }


@contextmanager
def prefect_home_and_database() -> Iterator[dict[str, str]]:
    with prefect_home() as home, databases.postgres() as url:
        address = urlsplit(url)._replace(scheme="postgresql+asyncpg")
        yield {**home, "PREFECT_API_DATABASE_CONNECTION_URL": address.geturl()}
