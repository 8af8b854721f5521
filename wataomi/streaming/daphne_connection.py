"""The client's connection under Daphne.

Daphne's `send()` never waits for the socket (https://github.com/django/daphne/issues/170), so a client that does not
read makes the server collect the response in memory. Twisted knows when the socket is full, and tells a producer
that is registered with the request. This relies on Daphne's `send` being bound to its `WebRequest`; it is pinned and
tested for that.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from wataomi.streaming.connection import Connection, bytes_in_kernel, watch_the_other_end


def daphne_request(send: Any) -> Any | None:
    """Return the `daphne.http_protocol.WebRequest` that `send` answers; None under another server."""
    protocol = sys.modules.get("daphne.http_protocol")
    if protocol is None or not isinstance(send, functools.partial) or not send.args:
        return None
    return send.args[0] if isinstance(send.args[0], protocol.WebRequest) else None


@implementer(IPushProducer)
class DaphneConnection(Connection):
    """The connection of a `WebRequest`."""

    def __init__(self, request: Any, write_timeout: float) -> None:
        super().__init__(request.path.decode("latin-1"), write_timeout)
        self._request = request
        self._transport = request.transport
        self._attached = False
        self._lost = False
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
        if self._attached:
            return
        self._attached = True
        if self._is_gone():
            self._lose()
            return
        self._request.registerProducer(self, True)
        self._request.notifyFinish().addBoth(self._lose)
        watch_the_other_end(self._transport.getHandle())

    def detach(self) -> None:
        if self._attached and not self._is_gone():
            self._request.unregisterProducer()
        self._attached = False

    def is_writable(self) -> bool:
        return self._writable.is_set()

    async def until_writable(self) -> None:
        await self._writable.wait()

    def is_lost(self) -> bool:
        return self._lost

    def bytes_waiting(self) -> int | None:
        transport = self._transport
        try:
            waiting = len(transport.dataBuffer) - transport.offset + transport._tempDataLen  # noqa: SLF001 -- no other way
            return int(waiting) + bytes_in_kernel(transport.fileno())
        except (AttributeError, OSError, ValueError):  # closed in between, or TLS, which does not say
            return None

    def tell_disconnect(self) -> None:
        if self._request.application_queue is not None:
            self._request.send_disconnect()

    def close(self, within: float | None = None) -> None:
        if self._is_gone():
            return
        self.detach()
        self._request.channel.loseConnection()
        asyncio.get_running_loop().call_later(self.write_timeout if within is None else within, self.abort)

    def abort(self) -> None:
        self._transport.abortConnection()

    def _is_gone(self) -> bool:
        return bool(self._request.finished) or getattr(self._request, "channel", None) is None
