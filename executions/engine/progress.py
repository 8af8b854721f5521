"""A node's reports of its progress, coalesced so that a node may report as often as it likes. Pure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from executions.engine import messages

Report = dict[str, Any]


class ProgressReporter:
    """Sends the first report at once, and what piles up behind it once per `interval` seconds: the newest fraction and
    message, and all the text."""

    def __init__(self, send: Callable[[Report], None], ready: Callable[[], Awaitable[None]], interval: float) -> None:
        self._send = send
        self._ready = ready
        self._interval = interval
        self._pending: Report | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, fraction: float | None = None, message: str = "", text: str = "") -> None:
        """Report. Waits while the journal is far behind."""
        before = self._pending["text"] if self._pending else ""
        self._pending = {
            "fraction": None if fraction is None else min(1.0, max(0.0, float(fraction))),
            "message": messages.text(message),
            "text": before + text.encode("utf-8", "replace").decode(),
        }
        if self._timer is None:
            self.flush()
            if self._interval > 0:
                self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)
        await self._ready()

    def _tick(self) -> None:
        self._timer = None
        if self._pending is not None:
            self.flush()
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._tick)

    def flush(self) -> None:
        """Send what is pending now."""
        if self._pending is not None:
            report, self._pending = self._pending, None
            self._send(report)

    def close(self) -> None:
        """Send what is pending, and nothing after that."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()
        self._send = _ignore


def _ignore(report: Report) -> None:
    pass
