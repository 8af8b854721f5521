"""Jobs in batches: how many are fetched together, and that the end of each is told to who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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


def jobs_of(queue: Queue, *, room: Callable[[], int] = lambda: 100, stopping: bool = False) -> BatchingJobManager:
    connector = cast("BaseAsyncConnector", queue)
    return BatchingJobManager(connector, capacity=100, room=room, stopping=lambda: stopping)


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
    jobs = jobs_of(queue, room=lambda: 3)
    for _ in range(12):
        await fetch(jobs)
    assert queue.asked == [1, 2, 3, 3, 3]


async def test_who_asks_while_there_is_no_room_waits_for_it() -> None:
    queue = Queue(2)
    places = [0, 0, 0, 1]
    jobs = jobs_of(queue, room=lambda: places.pop(0) if len(places) > 1 else places[0])
    assert await fetch(jobs) == 1
    assert places == [1]


async def test_who_is_to_stop_gets_none_while_there_is_no_room() -> None:
    queue = Queue(2)
    assert await fetch(jobs_of(queue, room=lambda: 0, stopping=True)) is None
    assert queue.asked == []


async def test_no_more_jobs_are_under_way_than_the_worker_has_places() -> None:
    """Some execute no run, or one that is executed already: there is room, and no place."""
    queue = Queue(200)
    jobs = jobs_of(queue, room=lambda: 200)
    fetched = [await fetch(jobs) for _ in range(100)]
    assert sum(queue.asked) == 100
    jobs._stopping = lambda: True
    assert await fetch(jobs) is None
    await end(jobs, fetched[0] or 0)
    assert await fetch(jobs) == 101


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


async def test_ends_that_cannot_be_noted_are_left_to_who_cleans_up(caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue(0)
    jobs = jobs_of(queue)
    queue.fault = ConnectorException("Database error.")
    queue.fault.__cause__ = OSError("server closed the connection unexpectedly\n\tThis probably means")
    await asyncio.gather(end(jobs, 1), end(jobs, 2))
    (said,) = caplog.messages
    assert said == "queue: the end of 2 jobs cannot be noted (server closed the connection unexpectedly)"
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
