"""The ASGI application that wraps Django's: see the package for what it is good for."""

from __future__ import annotations

from wataomi.streaming.conf import streaming_settings
from wataomi.streaming.connection import Connection
from wataomi.streaming.daphne_connection import DaphneConnection, daphne_request
from wataomi.streaming.exchange import Application, Exchange, Receive, Scope, Send
from wataomi.streaming.shutdown import Shutdown
from wataomi.streaming.threads import RequestThreads
from wataomi.streaming.uvicorn_connection import UvicornConnection, uvicorn_cycle


class StreamingApplication:
    """Wraps the ASGI application that Django gives.

    Under Daphne and uvicorn: `send` of a response in parts waits while the client's socket is full, and drops a client
    that takes nothing for `WATAOMI_WRITE_TIMEOUT` seconds; a response that breaks off closes the connection at once;
    the end of the process ends the streams, so that their `finally` blocks run (uvicorn says so by its lifespan, which
    must not be switched off). Under every server: sync code runs in a
    bounded pool of threads, of which a stream keeps none, and callbacks of `on_shutdown` are called.
    """

    def __init__(self, application: Application) -> None:
        from django.db import close_old_connections

        settings = streaming_settings()
        self._application = application
        self._write_timeout = settings.write_timeout
        self._threads = RequestThreads(settings.request_threads, after_use=close_old_connections)
        self._shutdown = Shutdown(settings.shutdown_timeout)
        self._shutdown.run_when_daphne_stops()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._shutdown.lifespan(receive, send)
        elif scope["type"] != "http":
            await self._application(scope, receive, send)
        else:
            connection = _connection(send, self._write_timeout)
            exchange = Exchange(scope, receive, send, connection, self._threads, self._shutdown)
            await exchange.run(self._application)


def _connection(send: Send, write_timeout: float) -> Connection | None:
    """The connection that `send` writes to; None under a server that is not known."""
    if (request := daphne_request(send)) is not None:
        return DaphneConnection(request, write_timeout)
    if (cycle := uvicorn_cycle(send)) is not None:
        return UvicornConnection(cycle, write_timeout)
    return None
