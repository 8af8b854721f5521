"""One request and its response: its thread, its waiting for the socket, and how it ends when it cannot go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from wataomi.streaming.connection import Connection
from wataomi.streaming.shutdown import LAST_WORDS, Shutdown
from wataomi.streaming.threads import RequestThreads

logger = logging.getLogger(__name__)

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]


class Exchange:
    """Runs `application` for one request.

    Without `connection` (a server that is not known) parts are passed on as they are, and a stream is ended by being
    cancelled.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        connection: Connection | None,
        threads: RequestThreads,
        shutdown: Shutdown,
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._inner_send = send
        self._connection = connection
        self._shutdown = shutdown
        self._executor = threads.enter()
        self._event_stream = False
        self._started = False
        self._finished = False
        self._told = False
        self._abandoned = False
        self._over = asyncio.Event()
        self.task: asyncio.Future[None]

    async def run(self, application: Application) -> None:
        """Answer the request. What the server cancels still ends in order: its `finally` blocks run."""
        self.task = asyncio.ensure_future(self._answer(application))
        self._shutdown.opened(self)
        self.task.add_done_callback(self._ended)
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            await self._end_cancelled()
            raise
        if self.task.done() and not (self._told and self.task.cancelled()):  # by `disconnect`, and not by the server
            self.task.result()

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._shutdown.closed(self)
        self._over.set()
        if self._abandoned and not task.cancelled():
            task.exception()  # nobody is left who would ask for it

    async def _answer(self, application: Application) -> None:
        try:
            await application(self._scope, self._receive, self._send)
        except Exception as error:
            # The server can still say 500 before the response has started. Daphne's checker would try to do so
            # afterwards too, and die of it.
            if self._connection is None or self._finished or not self._started:
                raise
            self._log_break(error)
            self._close(self._connection)
        else:
            if self._connection is not None and not self._finished:
                self._close(self._connection)
        finally:
            self._executor.finish()

    def _log_break(self, error: Exception) -> None:
        method, path = self._scope["method"], self._scope["path"]
        if isinstance(error, ConnectionError):  # no fault of the application: it lacks what the response is made of
            logger.info("The response to %s %s was broken off: %s", method, path, error)
        else:
            logger.error("The response to %s %s broke off", method, path, exc_info=error)

    def _close(self, connection: Connection) -> None:
        connection.close(LAST_WORDS if self._shutdown.begun else None)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start(message)
            await self._inner_send(message)
        elif message.get("more_body", False) and self._scope["method"] != "HEAD":
            if self._connection is None:
                await self._inner_send(message)
                return
            self._connection.attach()
            await self._connection.write(self._inner_send(message), len(message.get("body", b"")))
        else:
            await self._finish(message)

    async def _finish(self, message: Message) -> None:
        if self._scope["method"] == "HEAD":
            # A stream would go on for ever, and Daphne would write its body.
            message = {"type": "http.response.body"}
        self._finished = True
        if self._connection is not None:
            self._connection.detach()
        await self._inner_send(message)

    def _start(self, message: Message) -> None:
        self._started = True
        self._event_stream = _is_event_stream(message)
        if not self._event_stream:
            self._executor.release()
            return
        self._executor.finish()
        if self._shutdown.begun:
            self.end_stream()

    def end_stream(self) -> None:
        """If this is an event stream, tell the application that its client has gone. Others end by themselves."""
        if self._event_stream:
            self.disconnect()

    def disconnect(self) -> None:
        """Tell the application that its client has gone."""
        if self._connection is not None:
            self._connection.tell_disconnect()
        elif not self._told:
            self._told = True
            self.task.cancel()

    def abandon(self) -> None:
        """Have the server wait no longer for this request, whatever still runs: sync code cannot be told to end."""
        self._abandoned = True
        if self._connection is not None:
            self._connection.abort()
        self._over.set()

    async def _end_cancelled(self) -> None:
        """Let the application come to its end, as the server will not wait for the tasks that it has started."""
        if self._connection is None:
            self.task.cancel()
        elif not self._shutdown.begun:
            self.disconnect()
        # In a shut-down, it is this that tells the application to end, in time.
        limit = self._shutdown.timeout if self._shutdown.begun else LAST_WORDS
        await asyncio.wait({self.task}, timeout=limit)
        self.task.cancel()


def _is_event_stream(message: Message) -> bool:
    for name, value in message.get("headers", ()):
        if name.lower() == b"content-type":
            return bool(value.lower().startswith(b"text/event-stream"))
    return False
