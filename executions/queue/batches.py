"""Jobs fetched and ended many at a time.

Procrastinate fetches each job by a statement of its own, and notes its end by another: of a run of one node that was
more than the run itself (docs/adr/0009-jobs-in-batches.md).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable

from procrastinate.connector import BaseAsyncConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager
from psycopg_pool import PoolTimeout

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 16
"""Jobs that one statement fetches. What is fetched no other worker can take, so these must be few."""

ROOM_POLL = 0.05
LONGEST_WAIT = 1.0
"""Seconds: between two looks for room, and until who asks for a job is told that there is none."""

FETCH = """
    SELECT (job).* FROM (
        SELECT procrastinate_fetch_job_v2(%(queues)s::varchar[], %(worker_id)s) AS job
        FROM generate_series(1, %(count)s) OFFSET 0
    ) AS fetched
    WHERE (job).id IS NOT NULL
"""
"""`OFFSET 0`: else the function would be called once for each column."""

END = """
    DELETE FROM procrastinate_jobs WHERE id IN (
        SELECT id FROM procrastinate_jobs
        WHERE id = ANY(%(ids)s::bigint[]) AND status = 'doing' ORDER BY id FOR UPDATE
    )
"""
"""A job that is not there any more was found stale, and has been deleted."""


class BatchingJobManager(JobManager):
    """`capacity` is how many jobs its worker has under way at most, and `room` says for how many runs there is room:
    after a lost connection, the runs of jobs that are gone are still executed. `stopping` says that the worker takes no
    more."""

    def __init__(
        self, connector: BaseAsyncConnector, *, capacity: int, room: Callable[[], int], stopping: Callable[[], bool]
    ) -> None:
        super().__init__(connector)
        self._capacity = capacity
        self._room = room
        self._stopping = stopping
        self._fetched: deque[Job] = deque()
        self._count = 1
        self._under_way = 0
        self._ended: list[tuple[int, asyncio.Future[None]]] = []
        self._ending: asyncio.Task[None] | None = None

    @property
    def unused(self) -> list[Job]:
        """Jobs that were fetched, and not asked for."""
        return list(self._fetched)

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """The next job: from those that were fetched together, or else of the next such. They are one at first, and
        twice as many each time that there were as many, so that a lone job costs one look. What nobody here can execute
        at once is left to other workers."""
        if not self._fetched and (free := await self._free_places()) > 0:
            count = min(self._count, free)
            rows = await self.connector.execute_query_all_async(
                FETCH, queues=None if queues is None else list(queues), worker_id=worker_id, count=count
            )
            self._fetched.extend(map(Job.from_row, rows))
            self._count = min(2 * count, MOST_AT_ONCE) if len(rows) == count else 1
        if not self._fetched:
            return None
        self._under_way += 1
        return self._fetched.popleft()

    async def _free_places(self) -> int:
        """How many jobs can be executed. While there are none that is waited for, but not so long that who asks would
        miss that it is to stop."""
        deadline = time.monotonic() + LONGEST_WAIT
        while (free := min(self._room(), self._capacity - self._under_way)) <= 0:
            if self._stopping() or time.monotonic() > deadline:
                break
            await asyncio.sleep(ROOM_POLL)
        return free

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        """Delete the job, with all others that end while the ones before are being deleted."""
        try:
            if not delete_job or job.id is None:
                await super().finish_job(job, status, delete_job)
                return
            noted = asyncio.get_running_loop().create_future()
            self._ended.append((job.id, noted))
            if self._ending is None or self._ending.done():
                self._ending = asyncio.ensure_future(self._delete_ended())
            await noted
        finally:
            self._under_way -= 1

    async def _delete_ended(self) -> None:
        while self._ended:
            ended, self._ended = self._ended, []
            try:
                await self.connector.execute_query_async(END, ids=[job_id for job_id, _ in ended])
            except (ConnectorException, PoolTimeout) as error:
                # Nothing depends on it: whoever cleans up finds that their runs have left.
                logger.warning("queue: the end of %d jobs cannot be noted (%s)", len(ended), reason_of(error))
            finally:
                for _, noted in ended:
                    if not noted.done():
                        noted.set_result(None)


def reason_of(error: Exception) -> str:
    """What is known of an error in one line: that of Procrastinate says no more than that there was one."""
    cause = error.__cause__ if isinstance(error, ConnectorException) and error.__cause__ else error
    return (str(cause).strip() or repr(cause)).splitlines()[0]
