"""What the engine needs of the world: a journal and a clock; and the records it hands to the journal. Pure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from executions.statuses import NodeStatus, RunStatus

NodeValues = tuple[
    str, int, NodeStatus, datetime, datetime | None,
    bytes | None, bytes | None, bytes | None, bytes | None, datetime | None, datetime | None, bytes | None,
]  # fmt: skip
"""A NodeRow at one moment, its fields in their order."""


@dataclass(kw_only=True, slots=True)
class NodeRow:
    """One attempt at one node as it is stored; JSON fields are encoded."""

    node_id: str
    attempt: int
    status: NodeStatus
    started_at: datetime
    finished_at: datetime | None = None
    input: bytes | None = None
    output: bytes | None = None
    item_counts: bytes | None = None
    error: bytes | None = None
    retry_at: datetime | None = None
    wait_until: datetime | None = None
    progress: bytes | None = None

    def values(self) -> NodeValues:
        """A copy: the journal writes the row as it was at its event, whatever becomes of it."""
        return (
            self.node_id, self.attempt, self.status, self.started_at, self.finished_at,
            self.input, self.output, self.item_counts, self.error, self.retry_at, self.wait_until, self.progress,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadRow:
    """What changes of the run itself; JSON fields are encoded. `wake_at` is when a run that waits goes on by itself."""

    status: RunStatus
    started_at: datetime
    finished_at: datetime | None = None
    output: bytes | None = None
    error: bytes | None = None
    wake_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, with the rows it changes. `obeyed` is the id of the last command that is dealt with by it."""

    seq: int
    type: str
    data: bytes
    at: datetime
    node: NodeValues | None = None
    head: HeadRow | None = None
    obeyed: int | None = None


class JournalLost(Exception):
    """The run can be written no more: another worker took it over, or it was deleted. Stop, and write nothing."""


class JournalRefused(Exception):
    """The database refused what the run wrote."""


class RunJournal(Protocol):
    def append(self, entries: Sequence[Entry]) -> None:
        """Take entries to be written in one transaction, behind all that was taken before. Never waits."""

    async def committed(self, seq: int) -> None:
        """Return when all up to `seq` is durable. Raises JournalLost, JournalRefused."""

    async def held(self) -> None:
        """Return while the run is surely this worker's: at once, unless its lease is over and has not been renewed.
        Raises JournalLost, JournalRefused."""

    async def ready(self) -> None:
        """Return when the journal is not too far behind. Raises JournalLost, JournalRefused."""


class Clock(Protocol):
    def now(self) -> datetime: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
