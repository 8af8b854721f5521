"""The processes under test: web processes and workers on one database, which are killed and come back."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.services import Postgres, Redis
from tests.servers import ServerProcess, free_port, start_daphne, start_process, within

LEASE = 1.5
"""Seconds, in the scenarios: short, so that many workers can be lost in little time."""

WATCHDOG = 3.0
"""Seconds after which a client takes a silent stream for dead; the scenarios' streams send something each second."""

EXIT_SECONDS = 8.0
"""What a process that is told to end may take."""

QUICK = {
    "WATAOMI_LEASE": str(LEASE),
    "WATAOMI_KEEP_ALIVE": "1",
    "WATAOMI_PARK_AFTER": "0.4",
    "WATAOMI_SHUTDOWN_GRACE": "0.5",
    "WATAOMI_MAX_TAKEOVERS": "1000",
    "WATAOMI_LOG_LEVEL": "WARNING",
}


@dataclass
class Member:
    """One process of the cluster, and those that come after it in its place."""

    role: str
    name: str
    directory: Path
    environment: Mapping[str, str]
    port: int = 0
    lives: int = 0
    process: ServerProcess | None = None
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by who does something to it."""

    @property
    def log_path(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process; a web process answers when this returns."""
        self.lives += 1
        variables = dict(self.environment)
        if self.role == "web":
            self.process = start_daphne(self.log_path, environment=variables, port=self.port)
        else:
            command = [sys.executable, "manage.py", "run_worker"]
            self.process = start_process(command, self.log_path, 0, environment=variables)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def terminate(self) -> float:
        """Tell it to end, and return the seconds that it took. Raises TimeoutExpired when it took too long."""
        assert self.process is not None
        return self.process.terminate(timeout=within(EXIT_SECONDS))

    def died(self) -> str | None:
        """Why it is not running, if nobody has ended it."""
        if self.process is None or self.process.process.poll() is None:
            return None
        return f"{self.name} ended by itself with exit code {self.process.process.returncode}:\n{self.log()[-3000:]}"

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


@dataclass
class Cluster:
    """`embedded`: the web processes execute runs. `procrastinate`: workers do."""

    executor: str
    postgres: Postgres
    redis: Redis
    database: str
    members: Sequence[Member]

    @property
    def webs(self) -> list[Member]:
        return [member for member in self.members if member.role == "web"]

    @property
    def workers(self) -> list[Member]:
        """The processes that execute runs."""
        return [
            member for member in self.members if member.role == ("web" if self.executor == "embedded" else "worker")
        ]

    async def start(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(member.start) for member in self.members))

    def stop(self) -> None:
        for member in self.members:
            member.kill()

    def died(self) -> list[str]:
        return [why for member in self.members if (why := member.died())]


def make_cluster(
    executor: str,
    postgres: Postgres,
    redis: Redis,
    database: str,
    directory: Path,
    *,
    webs: int = 2,
    workers: int = 2,
    environment: Mapping[str, str] = QUICK,
) -> Cluster:
    """A cluster that is not started yet; the embedded executor has no workers beside its web processes."""
    common = {
        "REDIS_URL": redis.url,
        "REDIS_PREFIX": database,
        "WATAOMI_EXECUTOR": executor,
        "WATAOMI_EXTRA_APPS": "tests.faults.nodes_app",
        **environment,
    }
    roles = {f"web{number}": "web" for number in range(webs)}
    if executor == "procrastinate":
        roles |= {f"worker{number}": "worker" for number in range(workers)}
    # Each has a user of its own in PostgreSQL, so that what it writes is known to be its own.
    members = [
        Member(role, name, directory, {**common, "DATABASE_URL": postgres.url(database, name)}, free_port())
        for name, role in roles.items()
    ]
    return Cluster(executor, postgres, redis, database, members)
