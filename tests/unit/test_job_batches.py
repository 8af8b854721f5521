"""Jobs in batches: how many are fetched together, and that the end of each is told to who waits for it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from procrastinate.connector import BaseAsyncConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status

from executions.queue.batches import END, FETCH, MOST_AT_ONCE, BatchingJobManager


class Queue:
    """A connector to so many jobs that wait."""

    def __init__(self, waiting: int) -> None:
        self.waiting = list(range(1, waiting + 1))
        self.asked: list[int] = []
        self.deleted: list[list[int]] = []
        self.free = asyncio.Event()
        self.free.set()
        self.fault: Exception | None = None

    async def execute_query_all_async(self, query: str, *, count: int, **known: Any) -> list[dict[str, Any]]:
        assert (query, known) == (FETCH, {"queues": ["executions"], "worker_id": 7})
        self.asked.append(count)
        fetched, self.waiting = self.waiting[:count], self.waiting[count:]
        return [row(number) for number in fetched]

    async def execute_query_async(self, query: str, *, ids: list[int]) -> None:
        assert query == END
        await self.free.wait()
        if self.fault is not None:
            raise self.fault
        self.deleted.append(ids)


def row(number: int) -> dict[str, Any]:
    known = dict.fromkeys(("lock", "queueing_lock", "scheduled_at"))
    return {
        **known,
        "id": number,
        "status": "doing",
        "priority": 0,
        "task_name": "executions.execute",
        "args": {},
        "queue_name": "executions",
        "attempts": 0,
    }


def jobs_of(queue: Queue, room: int = 100) -> BatchingJobManager:
    return BatchingJobManager(cast("BaseAsyncConnector", queue), lambda: room)


async def fetch(jobs: BatchingJobManager) -> int | None:
    job = await jobs.fetch_job(["executions"], 7)
    return None if job is None else job.id


async def end(jobs: BatchingJobManager, number: int) -> None:
    await jobs.finish_job(Job.from_row(row(number)), Status.SUCCEEDED, delete_job=True)


async def test_jobs_come_in_their_order_and_a_lone_one_costs_one_look() -> None:
    queue = Queue(40)
    jobs = jobs_of(queue)
    assert [await fetch(jobs) for _ in range(41)] == [*range(1, 41), None]
    assert queue.asked == [1, 2, 4, 8, MOST_AT_ONCE, MOST_AT_ONCE, 1]
    queue.waiting = [41]
    assert [await fetch(jobs), await fetch(jobs)] == [41, None]
    assert queue.asked[-3:] == [1, 1, 2]


async def test_no_more_are_fetched_than_there_is_room_for() -> None:
    queue = Queue(40)
    jobs = jobs_of(queue, room=3)
    for _ in range(12):
        await fetch(jobs)
    assert queue.asked == [1, 2, 3, 3, 3]


async def test_what_was_fetched_and_not_asked_for_is_known() -> None:
    queue = Queue(40)
    jobs = jobs_of(queue)
    for _ in range(5):
        await fetch(jobs)
    assert [job.id for job in jobs.unused] == [6, 7]


async def test_jobs_that_end_meanwhile_are_deleted_together() -> None:
    queue = Queue(0)
    jobs = jobs_of(queue)
    queue.free.clear()
    first = asyncio.ensure_future(end(jobs, 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(end(jobs, number)) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    assert not first.done()
    queue.free.set()
    await asyncio.gather(first, *others)
    assert queue.deleted == [[1], [2, 3, 4]]
    await end(jobs, 5)
    assert queue.deleted[2:] == [[5]]


async def test_who_waits_for_an_end_that_cannot_be_noted_is_told_so() -> None:
    queue = Queue(0)
    jobs = jobs_of(queue)
    queue.fault = ConnectorException("The connection was closed.")
    for told in await asyncio.gather(end(jobs, 1), end(jobs, 2), return_exceptions=True):
        assert told is queue.fault
    queue.fault = None
    await end(jobs, 3)
    assert queue.deleted == [[3]]


async def test_one_who_does_not_wait_any_more_keeps_the_others_from_nothing() -> None:
    queue = Queue(0)
    jobs = jobs_of(queue)
    queue.free.clear()
    impatient = asyncio.ensure_future(end(jobs, 1))
    patient = asyncio.ensure_future(end(jobs, 2))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    queue.free.set()
    await patient
    assert sorted(number for ids in queue.deleted for number in ids) == [1, 2]
