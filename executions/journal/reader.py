"""Reading the journal back: the events of a run behind a seq, and where runs stand."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

from executions.database_threads import DatabaseThreads
from executions.models import Execution, ExecutionEvent
from executions.statuses import RUN_ENDED

READ_AT_ONCE = 64
"""Events that one read of a stream takes: enough to be quick, few enough to be held in memory by every reader."""


class StoredEvent(NamedTuple):
    seq: int
    type: str
    data: str


class Position(NamedTuple):
    """Where a run stands: its newest committed event, and whether that was its last one."""

    last_seq: int
    ended: bool


def events_after(execution_id: UUID, after: int, limit: int = READ_AT_ONCE) -> list[StoredEvent]:
    """The events behind seq `after`, in order."""
    rows = ExecutionEvent.objects.filter(execution_id=execution_id, seq__gt=after).order_by("seq")
    return [StoredEvent(*row) for row in rows.values_list("seq", "type", "data")[:limit]]


def positions(execution_ids: Collection[UUID]) -> dict[UUID, Position]:
    """Where each of the runs stands; one that is gone is left out."""
    rows = Execution.objects.filter(id__in=execution_ids).values_list("id", "last_seq", "status")
    return {row[0]: Position(row[1], row[2] in RUN_ENDED) for row in rows}


reader_pool = DatabaseThreads("journal-reader", 4)
"""In these the streams of this process read, so that no stream holds a connection, a thread, or a request's thread."""
