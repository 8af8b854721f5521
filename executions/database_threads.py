"""Threads in which asynchronous code uses the database: few, with at most a connection each, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from threading import Barrier, BrokenBarrierError, Lock
from typing import Any, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection

P = ParamSpec("P")
T = TypeVar("T")

CLOSE_SECONDS = 2.0
"""What the threads get to close their connections."""


class DatabaseThreads:
    """At most `size` threads, started when they are needed."""

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._pool: ThreadPoolExecutor | None = None
        self._guard = Lock()

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """`function(*args)` in one of the threads. Where its connection has died, it is called again with a new one:
        give it only what may be done twice, or is one transaction."""
        with self._guard:  # event loops in several threads ask, and one of them may close it meanwhile
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._size, thread_name_prefix=self._name)
            work = self._pool.submit(_with_connection, function, args)
        return await asyncio.wrap_future(work)

    def close(self) -> None:
        """End the threads and close their connections; one that waits for the database ends when it has its answer."""
        with self._guard:
            pool, self._pool = self._pool, None
        if pool is None:
            return
        all_here = Barrier(self._size)
        closed = [pool.submit(_close_connection, all_here) for _ in range(self._size)]
        pool.shutdown(wait=False)
        wait(closed, timeout=CLOSE_SECONDS)


class NodeThreads(ThreadPoolExecutor):
    """The threads of an event loop on which nodes run, for `asyncio.to_thread`: one that has used the database holds no
    connection while it waits for more, and takes none with it when it ends. There are as many as asyncio has."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="asyncio")

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return super().submit(_without_connection, partial(fn, *args, **kwargs))


def _without_connection(call: Callable[[], T]) -> T:
    try:
        return call()
    finally:
        connection.close()
        connection.queries_log.clear()


def _close_connection(all_here: Barrier) -> None:
    connection.close()
    try:
        all_here.wait(CLOSE_SECONDS / 2)  # so that each thread gets one of these
    except BrokenBarrierError:
        pass


def _with_connection(function: Callable[..., T], args: Sequence[Any]) -> T:
    try:
        return function(*args)
    except (OperationalError, InterfaceError):
        connection.close()
        return function(*args)
    finally:
        # With DEBUG on, Django keeps each query until a request ends, and none ends in these threads.
        connection.queries_log.clear()
        if connection.settings_dict["OPTIONS"].get("pool"):
            # Threads that only wait leave the connections to those who use them; that costs a tenth of a millisecond.
            connection.close()
