"""When nodes of a run that is held go on by themselves: behind a back-off, or at the end of a wait. Pure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from executions.engine.ports import Clock

LONGEST_SLEEP = 600.0
"""Seconds; then the clock is asked again: it may have been set, or the machine may have slept."""


class Timers:
    """One for each node that waits, by the node's index. `ring` is called when its time has come, and `fault` when that
    or the timer itself went wrong."""

    def __init__(self, clock: Clock, ring: Callable[[int], None], fault: Callable[[int, BaseException], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._fault = fault
        self._tasks: dict[int, asyncio.Task[None] | None] = {}

    def start(self, index: int, at: datetime | None) -> None:
        """Ring at that moment; with None only `stop` ends it."""
        self._tasks[index] = task = None if at is None else asyncio.ensure_future(self._wait(index, at))
        if task is not None:
            task.add_done_callback(lambda task: self._check(index, task))

    def stop(self, index: int) -> bool:
        """Whether it was there, and had not rung."""
        if index not in self._tasks:
            return False
        task = self._tasks.pop(index)
        if task is not None:
            task.cancel()
        return True

    def stop_all(self) -> list[int]:
        """The indices of those that had not rung."""
        return [index for index in list(self._tasks) if self.stop(index)]

    async def _wait(self, index: int, at: datetime) -> None:
        while (left := (at - self._clock.now()).total_seconds()) > 0:
            await self._clock.sleep(min(left, LONGEST_SLEEP))
        del self._tasks[index]
        self._ring(index)

    def _check(self, index: int, task: asyncio.Task[None]) -> None:
        """A timer that ends in any other way than by ringing or by `stop` must not leave its node waiting for ever."""
        if not task.cancelled():
            if error := task.exception():
                self._fault(index, error)
        elif self._tasks.get(index) is task:
            self._fault(index, asyncio.CancelledError("A timer of the run was cancelled from outside of it."))
