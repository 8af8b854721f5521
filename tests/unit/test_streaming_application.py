"""The streaming wrapper under a server that it does not know: it passes on what it gets, and serves the lifespan."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from wataomi.streaming import shutdown
from wataomi.streaming.application import StreamingApplication
from wataomi.streaming.connection import KEEP_ALIVE_IDLE
from wataomi.streaming.daphne_connection import DaphneConnection, daphne_request
from wataomi.streaming.exchange import Application
from wataomi.streaming.uvicorn_connection import uvicorn_cycle

SCOPE = {"type": "http", "method": "GET", "path": "/"}
START = {"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/event-stream")]}


async def no_message() -> dict[str, Any]:
    return await asyncio.Future()


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


async def serve(application: Application, **scope: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await StreamingApplication(application)({**SCOPE, **scope}, no_message, send)
    return sent


async def test_messages_pass_unchanged() -> None:
    messages = [
        START,
        {"type": "http.response.body", "body": b"1", "more_body": True},
        {"type": "http.response.body", "body": b"2"},
    ]

    async def application(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    assert await serve(application) == messages


async def test_an_exception_reaches_the_server() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        raise RuntimeError("the stream broke")

    with pytest.raises(RuntimeError, match="the stream broke"):
        await serve(application)


async def test_a_cancelled_request_cancels_the_application() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            began.set()
            await asyncio.Future()
        finally:
            ended.set()

    task = asyncio.create_task(serve(application))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_sync_code_runs_in_the_pool() -> None:
    names: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        names.append((await sync_to_async(threading.current_thread)()).name)

    await serve(application)
    assert names == ["request-1"]


async def test_what_is_not_http_is_passed_on() -> None:
    scopes: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope["type"])

    await serve(application, type="websocket")
    assert scopes == ["websocket"]


@pytest.fixture
def callbacks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    called: list[str] = []
    monkeypatch.setattr(shutdown, "_callbacks", [])
    return called


async def test_the_end_of_the_lifespan_calls_the_callbacks(callbacks: list[str]) -> None:
    @shutdown.on_shutdown
    def sync_callback() -> None:
        callbacks.append("sync")

    @shutdown.on_shutdown
    async def async_callback() -> None:
        callbacks.append("async")

    messages = iter(["lifespan.startup", "lifespan.shutdown"])
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return {"type": next(messages)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("Django does not know the lifespan")

    await StreamingApplication(application)({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert sorted(callbacks) == ["async", "sync"]


async def test_a_callback_that_hangs_costs_its_time_and_no_more(callbacks: list[str]) -> None:
    @shutdown.on_shutdown
    async def hangs() -> None:
        await asyncio.Future()

    @shutdown.on_shutdown
    async def quick() -> None:
        callbacks.append("quick")

    async with asyncio.timeout(5):
        await shutdown.Shutdown(timeout=0.6).run()
    assert callbacks == ["quick"]


async def test_a_shutdown_ends_streams_without_a_word_from_the_server_and_others_may_finish(
    callbacks: list[str],
) -> None:
    """The server of the test knows of no connection that could be closed."""
    streaming, began = asyncio.Event(), asyncio.Event()
    go_on = asyncio.Event()
    ended: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            if scope["path"] == "/stream":
                await send(START)
                streaming.set()
                await asyncio.Future()
            began.set()
            await go_on.wait()
        finally:
            ended.append(scope["path"])

    wrapped = StreamingApplication(application)

    async def send(message: dict[str, Any]) -> None:
        pass

    requests = [
        asyncio.create_task(wrapped({**SCOPE, "path": path}, no_message, send)) for path in ("/stream", "/page")
    ]
    await asyncio.gather(streaming.wait(), began.wait())
    ending = asyncio.create_task(wrapped._shutdown.run())
    await requests[0]
    assert ended == ["/stream"]
    go_on.set()
    await asyncio.gather(requests[1], ending)
    assert ended == ["/stream", "/page"]


def test_each_server_is_taken_for_itself_only() -> None:
    assert daphne_request(no_message) is None
    assert uvicorn_cycle(no_message) is None
    assert uvicorn_cycle([].append) is None


def test_a_signal_runs_the_end_beside_what_the_server_does_about_it(callbacks: list[str]) -> None:
    shutdown.on_shutdown(lambda: callbacks.append("ours"))

    async def serve_until_the_signal() -> None:
        messages = asyncio.Queue[dict[str, Any]]()
        started, told = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def the_servers(number: int, frame: object) -> None:
            callbacks.append("server's")
            loop.call_soon_threadsafe(told.set)

        async def send(message: dict[str, Any]) -> None:
            started.set()

        signal.signal(signal.SIGTERM, the_servers)
        lifespan = asyncio.create_task(StreamingApplication(nothing)({"type": "lifespan"}, messages.get, send))
        messages.put_nowait({"type": "lifespan.startup"})
        await started.wait()
        signal.raise_signal(signal.SIGTERM)
        await told.wait()
        messages.put_nowait({"type": "lifespan.shutdown"})
        await lifespan

    before = {number: signal.getsignal(number) for number in shutdown.SIGNALS}
    try:
        asyncio.run(serve_until_the_signal())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert sorted(callbacks) == ["ours", "server's"], "each once, though the lifespan ended too"


class FakeTransport:
    """As much of Twisted's transport and of Daphne's request as a connection needs."""

    finished = False
    channel = object()
    path = b"/"

    def __init__(self, connection: socket.socket) -> None:
        self.transport = self
        self.connection = connection

    def getHandle(self) -> socket.socket:  # noqa: N802
        return self.connection

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802
        assert streaming

    def notifyFinish(self) -> Any:  # noqa: N802
        return self

    def addBoth(self, callback: Any) -> None:  # noqa: N802
        pass


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="the system has no such options")
async def test_the_kernel_watches_for_clients_that_vanish() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        DaphneConnection(FakeTransport(client), write_timeout=60).attach()
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEP_ALIVE_IDLE
