"""The pool of threads for requests' sync code: who has one, for how long, and who waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async

from wataomi.streaming.threads import RequestExecutor, RequestThreads


def name() -> str:
    return threading.current_thread().name


def nothing() -> None:
    pass


@asynccontextmanager
async def request(threads: RequestThreads) -> AsyncIterator[RequestExecutor]:
    """A request as Django serves it: in a context of its own, inside of the one that is entered here."""
    executor = threads.enter()
    try:
        async with ThreadSensitiveContext():
            yield executor
    finally:
        executor.finish()


async def in_turn(threads: RequestThreads, calls: int = 1) -> list[str]:
    async with request(threads):
        return [await sync_to_async(name)() for _ in range(calls)]


async def test_a_request_has_one_thread_for_itself() -> None:
    threads = RequestThreads(4, nothing)
    both_inside = threading.Barrier(2, timeout=5)

    async def one() -> set[str]:
        async with request(threads):
            await sync_to_async(both_inside.wait)()
            return {await sync_to_async(name)() for _ in range(5)}

    first, second = await asyncio.gather(asyncio.create_task(one()), asyncio.create_task(one()))
    assert len(first) == len(second) == 1
    assert first != second


async def test_the_next_request_uses_the_thread_again() -> None:
    threads = RequestThreads(4, nothing)
    names = [await asyncio.create_task(in_turn(threads)) for _ in range(10)]
    assert names == [["request-1"]] * 10


async def test_no_more_threads_than_allowed_and_everybody_gets_a_turn() -> None:
    threads = RequestThreads(2, nothing)
    names = await asyncio.gather(*(asyncio.create_task(in_turn(threads, 3)) for _ in range(50)))
    assert all(len(set(found)) == 1 for found in names)
    assert {found for request_names in names for found in request_names} <= {"request-1", "request-2"}


async def test_who_finished_holds_no_thread() -> None:
    threads = RequestThreads(1, nothing)
    async with request(threads) as executor:
        assert await sync_to_async(name)() == "request-1"
        waiting = asyncio.create_task(in_turn(threads))
        await asyncio.sleep(0.05)
        assert not waiting.done()  # the only thread is taken
        executor.finish()
        assert await waiting == ["request-1"]
        assert await sync_to_async(name)() == "request-1"  # for one call
        assert await asyncio.create_task(in_turn(threads)) == ["request-1"]


async def test_a_thread_that_is_in_use_is_not_given_away() -> None:
    threads = RequestThreads(1, nothing)
    go_on = threading.Event()
    async with request(threads) as executor:
        call = asyncio.ensure_future(sync_to_async(go_on.wait)(5))
        await asyncio.sleep(0)
        executor.release()
        executor.finish()
        waiting = asyncio.create_task(in_turn(threads))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        go_on.set()
        assert await call is True
        assert await waiting == ["request-1"]


async def test_what_is_to_run_after_use_runs_in_the_thread_before_the_next_user() -> None:
    order: list[str] = []
    threads = RequestThreads(1, lambda: order.append(f"after use of {name()}"))

    async def one() -> None:
        async with request(threads):
            await sync_to_async(order.append)("use")

    await asyncio.gather(asyncio.create_task(one()), asyncio.create_task(one()))
    await asyncio.create_task(one())
    assert order[:5] == ["use", "after use of request-1"] * 2 + ["use"]


async def test_results_and_exceptions_come_back() -> None:
    threads = RequestThreads(1, nothing)

    def fail() -> None:
        raise LookupError("not there")

    async with request(threads):
        with pytest.raises(LookupError, match="not there"):
            await sync_to_async(fail)()
        assert await sync_to_async(int)("7") == 7


async def test_a_cancelled_request_that_waited_for_a_thread_leaves_it_to_others() -> None:
    threads = RequestThreads(1, nothing)
    go_on = threading.Event()
    ran: list[str] = []

    async def cancelled() -> None:
        async with request(threads):
            await sync_to_async(ran.append)("cancelled")

    async with request(threads):
        call = asyncio.ensure_future(sync_to_async(go_on.wait)(5))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(cancelled())
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait({waiting}, timeout=1)
        assert waiting.cancelled()
        go_on.set()
        await call
    assert await asyncio.create_task(in_turn(threads)) == ["request-1"]
    assert ran == []


async def test_sync_code_that_calls_async_code_that_calls_sync_code_stays_in_its_thread() -> None:
    threads = RequestThreads(1, nothing)

    async def inner() -> str:
        return await sync_to_async(name)()

    def outer() -> tuple[str, str]:
        return name(), async_to_sync(inner)()

    async with request(threads):
        assert await sync_to_async(outer)() == ("request-1", "request-1")


async def test_a_task_that_outlives_its_request_can_still_call_sync_code() -> None:
    threads = RequestThreads(1, nothing)
    ended = asyncio.Event()

    async def background() -> str:
        await ended.wait()
        return await sync_to_async(name)()

    async with request(threads):
        task = asyncio.create_task(background())
        await sync_to_async(name)()
    ended.set()
    assert await task == "request-1"
    assert await asyncio.create_task(in_turn(threads)) == ["request-1"]
