"""The figures of the installation at one moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from executions.statuses import RunStatus

GONE_SECONDS = 600.0
"""A process that has not been seen for that long is not missed any more: its runs have been taken over long ago."""

WINDOWS = (1, 5, 15)
"""Minutes over which runs that have ended are counted."""


class ProcessState(StrEnum):
    ALIVE = "alive"
    LATE = "late"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessFigures:
    """One process. `held` is what it holds leases of, the rest what it said last. A command that executes its own run
    (`run_flow`) gives no signs: it is known by its leases only."""

    name: str
    role: str
    host: str = ""
    pid: int = 0
    state: ProcessState = ProcessState.ALIVE
    seen_seconds: float = 0.0
    """Since its last sign of life."""
    started_at: datetime | None = None
    executes: bool = True
    capacity: int = 0
    held: int = 0
    readers: int = 0
    backlog: int = 0
    commits: int = 0
    commit_p50_ms: float | None = None
    commit_p99_ms: float | None = None

    @property
    def is_alive(self) -> bool:
        return self.state is ProcessState.ALIVE


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueFigures:
    """Runs that nobody holds and that should be; ages in seconds."""

    depth: int = 0
    oldest_seconds: float | None = None
    oldest_unlimited_seconds: float | None = None
    """Of the flows without a limit: a run of the others may only wait for a place among its own."""
    lost: int = 0
    """Runs whose lease has ended and that nobody has taken up."""
    lost_seconds: float | None = None
    """Since the first of these leases ended."""
    overdue: int = 0
    """Runs whose wait is over and that nobody has taken up."""
    overdue_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFigures:
    name: str
    rows: int | None
    """As PostgreSQL estimates it; None until it has."""
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseFigures:
    vendor: str
    bytes: int
    tables: tuple[TableFigures, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerFigures:
    """What joins the processes. `fault` says why it cannot be reached."""

    name: str
    joins_processes: bool
    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    at: datetime
    executor: str
    lease_seconds: float
    processes: tuple[ProcessFigures, ...]
    runs: Mapping[str, int]
    """Runs that have not ended, by status."""
    queue: QueueFigures
    ended: Mapping[int, Mapping[str, int]]
    """By minutes of the window, and by status."""
    database: DatabaseFigures
    layer: LayerFigures
    jobs: Mapping[str, int] | None = None
    """Procrastinate's jobs by status, where it is used."""

    @property
    def alive(self) -> tuple[ProcessFigures, ...]:
        return tuple(process for process in self.processes if process.is_alive)

    @property
    def workers(self) -> tuple[ProcessFigures, ...]:
        """Those alive that execute whatever run comes."""
        return tuple(process for process in self.alive if process.executes and process.capacity)

    @property
    def readers(self) -> int:
        return sum(process.readers for process in self.alive)

    @property
    def backlog(self) -> int:
        return sum(process.backlog for process in self.alive)

    @property
    def held(self) -> int:
        return sum(process.held for process in self.processes)

    @property
    def capacity(self) -> int:
        return sum(process.capacity for process in self.workers)

    @property
    def commit_p50_ms(self) -> float | None:
        """Of the slowest process; percentiles cannot be added up."""
        return max((p.commit_p50_ms for p in self.alive if p.commit_p50_ms is not None), default=None)

    @property
    def commit_p99_ms(self) -> float | None:
        return max((p.commit_p99_ms for p in self.alive if p.commit_p99_ms is not None), default=None)

    def ended_in(self, minutes: int) -> int:
        return sum(self.ended[minutes].values())

    def failed_in(self, minutes: int) -> int:
        return self.ended[minutes].get(RunStatus.ERROR, 0)

    def per_minute(self, minutes: int) -> float:
        return self.ended_in(minutes) / minutes
