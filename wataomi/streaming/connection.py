"""The client's connection: waiting while its socket is full, dropping who takes nothing, and closing it.

What a server says of its connections, and how it is told to close one, is the business of a class for each server.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import struct
import termios
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable

logger = logging.getLogger(__name__)

KEEP_ALIVE_IDLE = 30
KEEP_ALIVE_INTERVAL = 10
KEEP_ALIVE_PROBES = 3
"""An idle connection whose other end has vanished is noticed after 30 + 3 * 10 seconds."""

LOOK_SECONDS = 1.0
"""The most between two looks at what a client has taken, while it is written to: each costs two system calls."""

GONE_SECONDS = 0.01
"""Between two looks whether a connection that was aborted has ended."""


class Connection(ABC):
    """The connection of one request. `write_timeout`: seconds after which a client that takes nothing is dropped."""

    def __init__(self, path: str, write_timeout: float) -> None:
        self._path = path
        self.write_timeout = write_timeout
        self._written = 0
        self._taken = 0
        self._taken_at = time.monotonic()
        self._next_look = 0.0

    async def write(self, part: Awaitable[None], size: int) -> None:
        """Send a part of the response, of `size` bytes, and return when the socket takes more.

        Drops a client that has taken nothing for too long, also one whose socket is not full yet; then it does not
        return. The application is told that the client has gone, and cancels who waits here.
        """
        if time.monotonic() >= self._next_look and not self.is_lost():
            # Before there is more to take: a client that has taken all that there was is not late, however long ago.
            await self._look()
        self._written += size
        await part
        if self.is_lost():
            await asyncio.sleep(0)  # else an application that never waits could not be told
        while not self.is_writable():
            try:
                async with asyncio.timeout(self.write_timeout):
                    await self.until_writable()
            except TimeoutError:
                await self._look()

    async def _look(self) -> None:
        """Look whether the client has taken anything since the last look, and drop it when that is too long ago."""
        now = time.monotonic()
        self._next_look = now + min(LOOK_SECONDS, self.write_timeout / 4)
        waiting = self.bytes_waiting()
        if waiting is None:
            took = self.is_writable()
        else:
            taken, before = self._written - waiting, self._taken
            self._taken = max(taken, before)
            took = waiting == 0 or taken > before
        if took:
            self._taken_at = now
        elif now - self._taken_at >= self.write_timeout:
            await self._drop()

    async def _drop(self) -> None:
        logger.info("Dropped a client of %s that took nothing for %s s", self._path, self.write_timeout)
        self.abort()
        while not self.is_lost():  # noqa: ASYNC110 -- uvicorn sets no event that others could wait for
            await asyncio.sleep(GONE_SECONDS)

    # What a server knows

    @abstractmethod
    def attach(self) -> None:
        """Begin to follow the state of the socket; once is enough."""

    @abstractmethod
    def detach(self) -> None:
        """Stop following it: the last part of the response comes, and then the connection may serve another request."""

    @abstractmethod
    def is_writable(self) -> bool:
        """Whether the socket takes more, as far as the server knows; True when the connection is lost."""

    @abstractmethod
    async def until_writable(self) -> None: ...

    @abstractmethod
    def is_lost(self) -> bool: ...

    @abstractmethod
    def bytes_waiting(self) -> int | None:
        """How many bytes of the response the client has not confirmed yet, here and in the kernel, if that is known."""

    @abstractmethod
    def tell_disconnect(self) -> None:
        """Tell the application that the client has gone."""

    @abstractmethod
    def close(self, within: float | None = None) -> None:
        """Send what was written so far, then close, so that an unfinished response is seen as unfinished.

        `within`: seconds that a client gets to take it, else the write time-out. One that does not read would keep the
        connection open.
        """

    @abstractmethod
    def abort(self) -> None:
        """Close at once, whatever still waits to be sent."""


def bytes_in_kernel(descriptor: int) -> int:
    """Return how many bytes of what was sent on a socket its other end has not confirmed. Raises OSError."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4))[0])


def watch_the_other_end(connection: socket.socket) -> None:
    """Have the kernel notice a client that vanished without a word: no server asks it to."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # No TCP_USER_TIMEOUT: Linux then drops clients too that are alive, but leave the window small for so long.
    # Not every system has all of these.
    for name, value in (
        ("TCP_KEEPIDLE", KEEP_ALIVE_IDLE),
        ("TCP_KEEPINTVL", KEEP_ALIVE_INTERVAL),
        ("TCP_KEEPCNT", KEEP_ALIVE_PROBES),
    ):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
