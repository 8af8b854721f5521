"""The client's connection under Daphne: waiting while its socket is full, and closing it.

Daphne's `send()` never waits for the socket (https://github.com/django/daphne/issues/170), so a client that does not
read makes the server collect the response in memory. Twisted knows when the socket is full, and tells a producer
that is registered with the request. This relies on Daphne's `send` being bound to its `WebRequest`; it is pinned and
tested for that, and under any other server a response is passed on as it is.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import logging
import socket
import struct
import sys
import termios
import time
from collections.abc import Awaitable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

logger = logging.getLogger(__name__)

KEEP_ALIVE_IDLE = 30
KEEP_ALIVE_INTERVAL = 10
KEEP_ALIVE_PROBES = 3
"""An idle connection whose other end has vanished is noticed after 30 + 3 * 10 seconds."""


def daphne_request(send: Any) -> Any | None:
    """Return the `daphne.http_protocol.WebRequest` that `send` answers; None under another server."""
    protocol = sys.modules.get("daphne.http_protocol")
    if protocol is None or not isinstance(send, functools.partial) or not send.args:
        return None
    return send.args[0] if isinstance(send.args[0], protocol.WebRequest) else None


@implementer(IPushProducer)
class Connection:
    """The connection of one request. `write_timeout`: seconds after which a client that takes nothing is dropped."""

    def __init__(self, request: Any, write_timeout: float) -> None:
        self._request = request
        self._transport = request.transport
        self._write_timeout = write_timeout
        self._attached = False
        self._lost = False
        self._waiting = 0
        self._taken_at = time.monotonic()
        self._writable = asyncio.Event()
        self._writable.set()

    # Twisted's side

    def pauseProducing(self) -> None:  # noqa: N802 -- Twisted's interface
        self._writable.clear()

    def resumeProducing(self) -> None:  # noqa: N802 -- Twisted's interface
        self._writable.set()

    def stopProducing(self) -> None:  # noqa: N802 -- Twisted's interface
        self._lose()

    def _lose(self, _: object = None) -> None:
        self._lost = True
        self._writable.set()

    # The application's side

    def attach(self) -> None:
        """Begin to follow the state of the socket; once is enough."""
        if self._attached:
            return
        self._attached = True
        if self._is_gone():
            self._lose()
            return
        self._request.registerProducer(self, True)
        self._request.notifyFinish().addBoth(self._lose)
        _watch_the_other_end(self._transport)

    def detach(self) -> None:
        """Stop following it: the last part of the response comes, and then the connection may serve another request."""
        if self._attached and not self._is_gone():
            self._request.unregisterProducer()
        self._attached = False

    async def write(self, part: Awaitable[None]) -> None:
        """Send a part of the response, and return when the socket takes more.

        Drops a client that has taken nothing for too long, also one whose socket is not full yet; then it does not
        return. The application is told that the client has gone, and cancels who waits here.
        """
        self._note_what_was_taken()
        await part
        self._waiting = self._bytes_waiting() or 0
        if self._lost:
            await asyncio.sleep(0)  # else an application that never waits could not be told
        elif time.monotonic() - self._taken_at >= self._write_timeout:
            await self._drop()
        while not self._writable.is_set():
            try:
                async with asyncio.timeout(self._write_timeout):
                    await self._writable.wait()
            except TimeoutError:
                self._note_what_was_taken()
                if time.monotonic() - self._taken_at >= self._write_timeout:
                    await self._drop()

    def _note_what_was_taken(self) -> None:
        """Look whether the client has confirmed anything since the last look."""
        waiting = self._bytes_waiting()
        took = self._writable.is_set() if waiting is None else waiting == 0 or waiting < self._waiting
        if took:
            self._taken_at = time.monotonic()
        self._waiting = waiting or 0

    async def _drop(self) -> None:
        path = self._request.path.decode("latin-1")
        logger.info("Dropped a client of %s that took nothing for %s s", path, self._write_timeout)
        self._writable.clear()
        self.abort()
        await self._writable.wait()

    def tell_disconnect(self) -> None:
        """Tell the application that the client has gone."""
        if self._request.application_queue is not None:
            self._request.send_disconnect()

    def close(self) -> None:
        """Send what was written so far, then close, so that an unfinished response is seen as unfinished."""
        if self._is_gone():
            return
        self.detach()
        self._request.channel.loseConnection()
        # A client that does not read would keep it open.
        asyncio.get_running_loop().call_later(self._write_timeout, self.abort)

    def abort(self) -> None:
        """Close at once, whatever still waits to be sent."""
        self._transport.abortConnection()

    def _is_gone(self) -> bool:
        return bool(self._request.finished) or getattr(self._request, "channel", None) is None

    def _bytes_waiting(self) -> int | None:
        """Return how many bytes of the response the client has not confirmed yet, here and in the kernel, if known."""
        transport = self._transport
        try:
            waiting = len(transport.dataBuffer) - transport.offset + transport._tempDataLen  # noqa: SLF001 -- no other way
            queued = fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        except (AttributeError, OSError, ValueError):  # closed in between, or TLS, which does not say
            return None
        return int(waiting) + int(struct.unpack("i", queued)[0])


def _watch_the_other_end(transport: Any) -> None:
    """Have the kernel notice a client that vanished without a word: neither Daphne nor Twisted asks it to."""
    connection = transport.getHandle()
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
