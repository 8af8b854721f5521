"""Reading the journal back: the events of a run behind a seq, and where runs stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection

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
    return {id: Position(last_seq, status in RUN_ENDED) for id, last_seq, status in rows}


T = TypeVar("T")


class ReaderPool:
    """A few threads in which the streams of this process read the database, so that no stream holds a connection, a thread,
    or the thread of a request."""

    THREADS = 4

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """`function(*args)` in one of the threads. A connection that has died is opened anew, once."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.THREADS, thread_name_prefix="journal-reader")
        return await asyncio.get_running_loop().run_in_executor(self._pool, _with_connection, function, args)

    def close(self) -> None:
        """End the threads and close their connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            for _ in range(self.THREADS):
                pool.submit(connection.close)
            pool.shutdown(wait=True)


def _with_connection(function: Callable[..., T], args: Sequence[Any]) -> T:
    try:
        return function(*args)
    except (OperationalError, InterfaceError):
        connection.close()
        return function(*args)
    finally:
        # With DEBUG on, Django keeps each query until a request ends, and none ends in these threads.
        connection.queries_log.clear()


reader_pool = ReaderPool()
