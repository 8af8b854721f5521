"""What a run brings to a commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from executions.engine.ports import Entry, HeadRow, NodeValues
from executions.statuses import RUN_ENDED, RunStatus

HOLDS_NO_WORKER = RUN_ENDED | {RunStatus.PAUSED, RunStatus.WAITING}
"""With the event that brings a run here, its lease ends."""


@dataclass(frozen=True, slots=True, eq=False)
class RunWrite:
    """Entries of one run, in their order and without a gap, and what must hold for them to be written: the run is held
    at `epoch`, and its newest event is `before`."""

    execution_id: UUID
    epoch: int
    before: int
    entries: Sequence[Entry]

    @property
    def last(self) -> int:
        return self.entries[-1].seq

    @property
    def head(self) -> HeadRow | None:
        """The newest state of the run itself; None when it stays as it is."""
        return next((entry.head for entry in reversed(self.entries) if entry.head is not None), None)

    @property
    def obeyed(self) -> int | None:
        """The newest command that is dealt with."""
        return max((entry.obeyed for entry in self.entries if entry.obeyed is not None), default=None)

    def nodes(self) -> list[NodeValues]:
        """The newest state of each attempt."""
        newest = {(entry.node[0], entry.node[1]): entry.node for entry in self.entries if entry.node is not None}
        return list(newest.values())


def weight(entry: Entry) -> int:
    """Bytes of what an entry brings to a commit, but for what is always short."""
    size = len(entry.data)
    if entry.node is not None:
        size += len(entry.node[5] or b"") + len(entry.node[6] or b"")
    if entry.head is not None:
        size += len(entry.head.output or b"")
    return size


class Database(Protocol):
    """Where the journal is kept, as the one thread that writes it sees it."""

    def commit(self, writes: Sequence[RunWrite]) -> list[RunWrite]:
        """Write all in one transaction; returns those whose run is no longer held at their epoch, and of which nothing
        was written. What a lost answer hid, being written already, counts as written."""

    def close(self) -> None:
        """Let go of the connection; the next commit has a new one."""
