"""The client's connection under uvicorn.

Its `send()` waits while the socket is full, but for ever, and nobody can end a stream that waits for the next event.
This relies on uvicorn's `send` being a method of its `RequestResponseCycle`, for both of its HTTP/1.1 parsers; it is
tested for that with the version in requirements-dev.txt.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from wataomi.streaming.connection import Connection, bytes_in_kernel, watch_the_other_end

PROTOCOLS = ("uvicorn.protocols.http.h11_impl", "uvicorn.protocols.http.httptools_impl")


def uvicorn_cycle(send: Any) -> Any | None:
    """Return the `RequestResponseCycle` that `send` answers; None under another server."""
    cycle = getattr(send, "__self__", None)
    for name in PROTOCOLS:
        protocol = sys.modules.get(name)
        if protocol is not None and isinstance(cycle, protocol.RequestResponseCycle):
            return cycle
    return None


class UvicornConnection(Connection):
    """The connection of a `RequestResponseCycle`."""

    def __init__(self, cycle: Any, write_timeout: float) -> None:
        super().__init__(cycle.scope["path"], write_timeout)
        self._cycle = cycle
        self._transport: asyncio.Transport = cycle.transport
        self._attached = False

    def attach(self) -> None:
        if self._attached:
            return
        self._attached = True
        handle = self._transport.get_extra_info("socket")
        if handle is not None and not self._transport.is_closing():
            watch_the_other_end(handle)

    def detach(self) -> None:
        """There is nothing to let go of."""

    def is_writable(self) -> bool:
        return not self._cycle.flow.write_paused

    async def until_writable(self) -> None:
        await self._cycle.flow.drain()

    def is_lost(self) -> bool:
        return bool(self._cycle.disconnected)

    def bytes_waiting(self) -> int | None:
        handle = self._transport.get_extra_info("socket")
        try:
            return self._transport.get_write_buffer_size() + bytes_in_kernel(handle.fileno())
        except (AttributeError, OSError, ValueError):  # closed in between, or no socket of the kernel
            return None

    def tell_disconnect(self) -> None:
        self._cycle.disconnected = True
        self._cycle.message_event.set()

    def close(self, within: float | None = None) -> None:
        self.tell_disconnect()  # else uvicorn complains that the response is not complete
        self._transport.close()
        asyncio.get_running_loop().call_later(self.write_timeout if within is None else within, self.abort)

    def abort(self) -> None:
        self._transport.abort()
