"""The end of the process: streams end, and whoever asked for it is called, within a bounded time."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wataomi.streaming.exchange import Exchange

logger = logging.getLogger(__name__)

Callback = Callable[[], Awaitable[None] | None]

LAST_WORDS = 0.5
"""Seconds, out of the whole, that are left for the requests which have to be told to end."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_callbacks: list[Callback] = []


def on_shutdown(callback: Callback) -> Callback:
    """Have `callback` called when the server ends: on SIGTERM, SIGINT, and before `runserver` reloads.

    An async function runs in the server's event loop, any other in a thread of its own; all at once, and beside the
    streams' own ends. They have `WATAOMI_SHUTDOWN_TIMEOUT` seconds: the process does not wait for one that takes
    longer. An exception is logged. Can be used as a decorator.
    """
    _callbacks.append(callback)
    return callback


class Shutdown:
    """Ends what one server process has open. `timeout`: seconds for all of it."""

    def __init__(self, timeout: float) -> None:
        self.begun = False
        self.timeout = timeout
        self._open: set[Exchange] = set()
        self._running: asyncio.Future[None] | None = None

    def opened(self, exchange: Exchange) -> None:
        self._open.add(exchange)

    def closed(self, exchange: Exchange) -> None:
        self._open.discard(exchange)

    async def run(self) -> None:
        """End the streams, let ordinary requests finish, call the callbacks; return when all is done or time is up.

        All of it is done once: who calls again waits for the same end.
        """
        self.begun = True  # at once: what the server cancels next asks for it
        if self._running is None:
            self._running = asyncio.ensure_future(self._run())
        await asyncio.shield(self._running)

    async def _run(self) -> None:
        for exchange in self._open:
            exchange.end_stream()
        callbacks = {asyncio.ensure_future(_call(callback)) for callback in _callbacks}
        requests = {exchange.task for exchange in self._open}
        if not callbacks and not requests:
            return
        _, late = await asyncio.wait(callbacks | requests, timeout=max(0.0, self.timeout - LAST_WORDS))
        for exchange in list(self._open):
            exchange.disconnect()
        if late:
            _, late = await asyncio.wait(late, timeout=LAST_WORDS)
        if late:
            logger.warning("%d requests or callbacks did not end within %s s", len(late), self.timeout)
        for exchange in list(self._open):
            exchange.abandon()

    async def lifespan(self, receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[..., Any]) -> None:
        """Serve the lifespan of ASGI servers that have one; Daphne has none."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.run()
                await send({"type": "lifespan.shutdown.complete"})
                return
            self._run_on_signals()
            await send({"type": f"{message['type']}.complete"})

    def _run_on_signals(self) -> None:
        """Run as soon as the process is told to end, beside what the server does then.

        uvicorn ends the lifespan only when all responses have ended, and streams would not. It has its own handlers by
        now, and puts back what was there before them when it ends.
        """
        if threading.current_thread() is not threading.main_thread():
            return  # signals are handled in the main thread, by somebody who does not serve
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            signal.signal(number, self._handler(loop, signal.getsignal(number)))

    def _handler(self, loop: asyncio.AbstractEventLoop, previous: Any) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            try:
                loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self.run()))
            except RuntimeError:
                pass  # the loop is closed: there is nothing open any more
            if callable(previous):
                previous(number, frame)
            elif previous == signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

        return handle

    def run_when_daphne_stops(self) -> None:
        """Run when Twisted's reactor, if it is the server's, stops; and when `runserver` is about to reload."""
        if "daphne.server" not in sys.modules:
            return
        from twisted.internet import defer

        reactor = _reactor()

        def before_shutdown() -> defer.Deferred[None]:
            _stop_listening()
            return defer.Deferred.fromFuture(asyncio.ensure_future(self.run()))

        # Daphne adds its own, which cancels the applications, when it starts: after this one.
        reactor.addSystemEventTrigger("before", "shutdown", before_shutdown)
        _before_threads_end(self._run_from_main_thread)

    def _run_from_main_thread(self) -> None:
        """Under runserver's reloader the reactor runs in a daemon thread, which nobody stops before it dies."""
        reactor = _reactor()
        if self.begun or not reactor.running:
            return
        ended = threading.Event()

        def start() -> None:
            asyncio.ensure_future(self.run()).add_done_callback(lambda _: ended.set())

        reactor.callFromThread(start)
        ended.wait(self.timeout + LAST_WORDS)


async def _call(callback: Callback) -> None:
    try:
        if inspect.iscoroutinefunction(callback):
            await callback()
        else:
            await _in_daemon_thread(callback)
    except Exception:
        logger.exception("A callback for the end of the process failed")


async def _in_daemon_thread(callback: Callback) -> None:
    """Run a sync function in a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if outcome.done():
            return
        if error is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(error)

    def run() -> None:
        error = None
        try:
            callback()
        except Exception as raised:  # noqa: BLE001 -- handed to the loop, which logs it
            error = raised
        loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="shutdown", daemon=True).start()
    await outcome


def _reactor() -> Any:
    """Return Twisted's reactor; importing it would install one, and only Daphne knows which."""
    from twisted.internet import reactor

    return reactor


def _stop_listening() -> None:
    """Refuse new connections: a client that was just disconnected must not come back to this process."""
    from twisted.internet.interfaces import IListeningPort

    for reader in _reactor().getReaders():
        if IListeningPort.providedBy(reader):
            reader.stopListening()


def _before_threads_end(callback: Callable[[], None]) -> None:
    """Call `callback` when the main thread ends, before executors and their threads are closed."""
    # `atexit` comes after they are closed, when streams could not run sync code any more; but it is public.
    getattr(threading, "_register_atexit", atexit.register)(callback)
