"""The signals that end a command: remembered until it can deal with them, not raised wherever it happens to be."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ONE_PRESS = 0.25
"""Seconds in which the same signal twice counts as one: `timeout(1)` signals its child, and then its whole group."""


class Signals:
    """While it is entered, the first of `ENDING` is kept for `arrived`; at a second one `leave` is called at once.

    `leave` gets the number of the first signal and must not return: it is for a command that is stuck, and is called
    wherever the main thread is. To be entered in the main thread.
    """

    def __init__(self, leave: Callable[[int], None]) -> None:
        self.first: int | None = None
        self._leave = leave
        self._at = 0.0
        self._before: dict[int, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()

    def __enter__(self) -> Self:
        for number in ENDING:
            before = signal.getsignal(number)
            if number is signal.SIGHUP and before is signal.SIG_IGN:
                continue  # started by nohup(1)
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    async def arrived(self) -> int:
        """The number of the first signal, when it has come."""
        # Signals are dealt with in this same thread: none comes between the look and the wait without waking the loop.
        self._loop = asyncio.get_running_loop()
        if self.first is None:
            await self._event.wait()
        assert self.first is not None
        return self.first

    def _take(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first, self._at = number, now
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._event.set)
        elif number != self.first or now - self._at > ONE_PRESS:
            self._leave(self.first)
