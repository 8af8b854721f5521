"""PostgreSQL and Redis of the tests' own: frozen, killed and restarted without touching those of the machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
import redis

from tests.servers import free_port, within

START_SECONDS = 30.0
STOP_SECONDS = 20.0


class ServiceMissing(Exception):
    """The machine lacks a program that these tests need."""


def program(name: str) -> str:
    """The path of a program of PostgreSQL or Redis. Raises ServiceMissing."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # not in PATH there
    places = [os.environ.get("PATH", ""), *map(str, debian)]
    found = next((path for place in places if (path := shutil.which(name, path=place))), None)
    if found is None:
        raise ServiceMissing(f"{name} is not installed; these tests start PostgreSQL and Redis of their own")
    return found


class Service:
    """A server process that is started again with the same data, on the same port."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        raise NotImplementedError

    def ping(self) -> None:
        """Raise what the client library raises while the service does not answer."""
        raise NotImplementedError

    @property
    def user(self) -> str | None:
        """Who runs it, when that is not who runs the tests."""
        return None

    def start(self) -> None:
        """Start it, and return when it answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                user=self.user, group=self.user, extra_groups=None if self.user is None else [],
            )  # fmt: skip
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + within(START_SECONDS)
        while True:
            try:
                self.ping()
            except (psycopg.Error, redis.RedisError, OSError):
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self.directory / "log").read_text(errors="replace")
                    raise AssertionError(f"{type(self).__name__} does not start:\n{log[-4000:]}") from None
                time.sleep(0.02)
            else:
                return

    def stop(self, number: signal.Signals) -> None:
        """Send it a signal that ends it, and return when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(within(STOP_SECONDS))
            self._process = None

    def restart(self, number: signal.Signals, away: float = 0.0) -> None:
        """Stop it by a signal and start it again, `away` seconds later."""
        self.stop(number)
        time.sleep(away)
        self.start()

    def freeze(self, seconds: float) -> None:
        """Let it do nothing for a time, as a network does that loses everything."""
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        family = [parent, *parent.children(recursive=True)]
        _signal_all(family, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            _signal_all(family, signal.SIGCONT)


def _signal_all(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


class Postgres(Service):
    """One cluster of databases; it writes to the disk as in production (fsync is on)."""

    SETTINGS = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "shared_buffers": "64MB",
        "max_connections": "150",
        "log_min_messages": "fatal",
    }

    FAST = signal.SIGINT
    IMMEDIATE = signal.SIGQUIT
    """What `pg_ctl stop -m fast` and `-m immediate` send."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._data = directory / "data"
        if self.user is not None:
            shutil.chown(directory, self.user)
        subprocess.run(
            [program("initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8"],
            check=True, capture_output=True, user=self.user, group=self.user, cwd=directory,
            extra_groups=None if self.user is None else [],
        )  # fmt: skip

    @property
    def user(self) -> str | None:
        return "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to be run by root

    def command(self) -> Sequence[str]:
        options = [f"--{name}={value}" for name, value in self.SETTINGS.items()]
        return [program("postgres"), "-D", str(self._data), f"--port={self.port}", *options]

    def ping(self) -> None:
        self.connect("postgres").close()

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """A connection in which each statement is a transaction."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True, connect_timeout=5,
            application_name="the test",
        )  # fmt: skip

    def url(self, database: str, user: str = "postgres") -> str:
        return f"postgres://{user}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str, template: str = "template1") -> None:
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')

    def drop(self, database: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def backends(self, database: str) -> list[int]:
        """Process ids of the connections to a database, but those of the test itself."""
        query = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND application_name <> 'the test' ORDER BY pid"
        with self.connect("postgres") as connection:
            return [row[0] for row in connection.execute(query, [database])]

    def terminate(self, backends: Sequence[int]) -> None:
        """End connections, as an operator or a failover does."""
        with self.connect("postgres") as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [list(backends)])

    def crash(self, backend: int) -> None:
        """Kill one connection's process: PostgreSQL ends all others, and recovers by itself."""
        with self.connect("postgres") as witness:
            os.kill(backend, signal.SIGKILL)
            deadline = time.monotonic() + START_SECONDS
            while not witness.broken and time.monotonic() < deadline:
                with contextlib.suppress(psycopg.OperationalError):
                    witness.execute("SELECT pg_sleep(0.05)")
        self.wait_until_ready()


class Redis(Service):
    """Keeps nothing: what it held is gone when it comes back."""

    def command(self) -> Sequence[str]:
        return [
            program("redis-server"),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def ping(self) -> None:
        self.ask(lambda client: client.ping())

    def ask(self, question: Callable[[redis.Redis], object]) -> None:
        with contextlib.closing(redis.Redis(port=self.port, socket_timeout=2)) as client:
            question(client)

    def flush(self) -> None:
        self.ask(lambda client: client.flushall())

    def cut_clients(self) -> None:
        """Close the connections of all its clients, subscribers included."""
        for kind in ("normal", "pubsub"):
            self.ask(partial(_cut, kind))


def _cut(kind: str, client: redis.Redis) -> object:
    return client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


@contextlib.contextmanager
def running(kind: type[Service]) -> Iterator[Any]:
    """A service in a directory of its own. Raises ServiceMissing."""
    directory = Path(tempfile.mkdtemp(prefix=f"wataomi-faults-{kind.__name__.lower()}-"))
    try:
        service = kind(directory)
        service.start()
        try:
            yield service
        finally:
            service.stop(signal.SIGKILL if kind is Redis else Postgres.IMMEDIATE)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
