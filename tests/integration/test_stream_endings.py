"""How streams end under real servers: broken off, left by their reader, or with the process."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from tests.integration.stream_server import APPLICATION, StartStreamServer, get
from tests.raw_client import RawClient
from tests.servers import ServerProcess, free_port, start_process, start_uvicorn, wait_until, within

pytestmark = pytest.mark.sqlite_only  # the small project has a database of its own

CALLBACKS = ("async callback ended", "sync callback ended")


def follow(server: ServerProcess, path: str) -> RawClient:
    """Open a stream and read its first part."""
    client = RawClient(server.port, path)
    assert client.read_head()[0] == 200
    next(client.chunks())
    return client


def ends_incomplete(client: RawClient) -> bool:
    return not client.read_body()[1]


def test_an_exception_in_mid_stream_ends_the_client_at_once(stream_server: StartStreamServer) -> None:
    server = stream_server()
    with follow(server, "/breaks") as client:
        started = time.monotonic()
        assert ends_incomplete(client)
        assert time.monotonic() - started < within(1)
    log = server.log()
    assert "The response to GET /breaks broke off" in log
    assert "RuntimeError: the stream broke" in log


def test_after_a_broken_stream_dead_connections_are_still_reaped(stream_server: StartStreamServer) -> None:
    server = stream_server()
    with follow(server, "/breaks") as client:
        client.read_body()
    time.sleep(1.1)  # Daphne's checker runs each second
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(follow(server, "/waits"))
        assert get(server, "/state").json()["open"] >= 6
    wait_until(lambda: server.log().count("finally of stream") == 5)
    wait_until(lambda: get(server, "/state").json()["open"] == 1)


def test_an_exception_before_the_response_is_an_answer(stream_server: StartStreamServer) -> None:
    server = stream_server()
    assert get(server, "/breaks-before").status_code == 500
    assert "broke off" not in server.log()


def test_a_stream_ends_with_its_reader(stream_server: StartStreamServer) -> None:
    server = stream_server()
    follow(server, "/waits").close()
    server.wait_for_log("finally of stream", timeout=1)


def test_sigterm_without_streams(stream_server: StartStreamServer) -> None:
    server = stream_server()
    assert server.terminate() < within(3)
    # uvicorn ends as the signal would have ended it.
    assert server.process.returncode in (0, -signal.SIGTERM)
    assert all(callback in server.log() for callback in CALLBACKS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_open_streams_in_order(stream_server: StartStreamServer, number: signal.Signals) -> None:
    server = stream_server({"WATAOMI_SHUTDOWN_TIMEOUT": "20"})  # streams end at once, not when time is up
    with ExitStack() as stack:
        clients = [stack.enter_context(follow(server, f"/waits?name={name}.")) for name in range(20)]
        stalled = stack.enter_context(follow(server, "/flood?lines=2000000"))
        assert server.stop(number) < within(3)
        log = server.log()
        assert all(f"finally of {name}." in log for name in range(20))
        assert "flood ended" in log
        assert all(callback in log for callback in CALLBACKS)
        assert all(ends_incomplete(client) for client in [*clients, stalled])


def test_sigterm_while_somebody_is_still_sending_a_request(stream_server: StartStreamServer) -> None:
    """Daphne's own end stumbles over such a connection, and cancels no application."""
    server = stream_server()
    with socket.create_connection(("127.0.0.1", server.port)) as half, follow(server, "/waits"):
        half.sendall(b"POST /quick HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n12345")
        wait_until(lambda: get(server, "/state").json()["open"] >= 3)
        assert server.terminate() < within(3)
    assert "finally of stream" in server.log()


def answers_of(server: ServerProcess, path: str, began: str) -> tuple[threading.Thread, list[int]]:
    """Ask for `path` in a thread; the status comes into the list, 0 for none."""
    answers: list[int] = []

    def ask() -> None:
        try:
            answers.append(get(server, path).status_code)
        except httpx.TransportError:
            answers.append(0)

    thread = threading.Thread(target=ask)
    thread.start()
    server.wait_for_log(began)
    return thread, answers


@pytest.mark.parametrize(("seconds", "status"), [("0.7", 200), ("30", 0)])
def test_sigterm_lets_a_sync_view_finish_but_not_for_ever(
    stream_server: StartStreamServer, seconds: str, status: int
) -> None:
    server = stream_server()
    thread, answers = answers_of(server, f"/slow?seconds={seconds}", "slow began")
    assert server.terminate() < within(3)
    thread.join()
    assert answers == [status]


def test_sigterm_tells_an_async_view_that_does_not_finish(stream_server: StartStreamServer) -> None:
    server = stream_server()
    thread, answers = answers_of(server, "/hangs", "hangs began")
    assert server.terminate() < within(3)
    thread.join()
    assert answers == [0]
    assert "hangs ended" in server.log()


def test_no_new_connections_are_taken_while_the_process_ends(stream_server: StartStreamServer) -> None:
    server = stream_server()
    thread, _ = answers_of(server, "/slow?seconds=1.4", "slow began")
    server.process.send_signal(signal.SIGTERM)

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", server.port)).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refused, timeout=0.8)
    assert server.process.poll() is None
    thread.join()
    server.process.wait(within(3))


def test_callbacks_that_hang_or_fail_do_not_hold_the_process(stream_server: StartStreamServer) -> None:
    server = stream_server({"STREAM_CALLBACKS": "bad"})
    with follow(server, "/waits"):
        assert server.terminate() < within(3)
    log = server.log()
    assert "finally of stream" in log
    assert all(callback in log for callback in CALLBACKS)
    assert "RuntimeError: the callback broke" in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_streams_of_all_workers_of_a_server(
    tmp_path: Path, stream_environment: dict[str, str], number: signal.Signals
) -> None:
    server = start_uvicorn(
        tmp_path / "uvicorn.log", APPLICATION, environment=stream_environment, arguments=["--workers", "2"]
    )
    # The parent of the workers looks for signals twice a second.
    children = psutil.Process(server.pid).children()
    try:
        with ExitStack() as stack:
            clients = [stack.enter_context(follow(server, f"/waits?name={name}.")) for name in range(10)]
            assert server.stop(number) < within(4)
            assert all(ends_incomplete(client) for client in clients)
        log = server.log()
        assert all(f"finally of {name}." in log for name in range(10))
        lines = server.log().splitlines()
        assert [lines.count(callback) for callback in CALLBACKS] == [2, 2]
    finally:
        server.kill()
        for child in children:
            if child.is_running():
                child.kill()


@pytest.fixture
def runserver(tmp_path: Path, stream_environment: dict[str, str]) -> Iterator[list[ServerProcess]]:
    servers: list[ServerProcess] = []
    yield servers
    for server in servers:
        if server.process.poll() is None:
            for child in psutil.Process(server.pid).children(recursive=True):
                child.kill()
        server.kill()


def start_runserver(
    servers: list[ServerProcess], tmp_path: Path, environment: dict[str, str], *arguments: str
) -> ServerProcess:
    port = free_port()
    command = [sys.executable, "-m", "django", "runserver", f"127.0.0.1:{port}", *arguments]
    server = start_process(command, tmp_path / "runserver.log", port, environment=environment)
    servers.append(server)
    server.wait_until_ready()
    return server


def test_sigterm_under_runserver(
    runserver: list[ServerProcess], tmp_path: Path, stream_environment: dict[str, str]
) -> None:
    server = start_runserver(runserver, tmp_path, stream_environment, "--noreload")
    with follow(server, "/waits"), follow(server, "/flood?lines=2000000"):
        assert server.terminate() < within(3)
    log = server.log()
    assert "finally of stream" in log and "flood ended" in log
    assert all(callback in log for callback in CALLBACKS)


def test_runserver_ends_streams_before_it_reloads(
    runserver: list[ServerProcess], tmp_path: Path, stream_environment: dict[str, str]
) -> None:
    server = start_runserver(runserver, tmp_path, stream_environment)
    (child,) = psutil.Process(server.pid).children()
    with follow(server, "/waits"), follow(server, "/flood?lines=2000000"):
        # The reloader ends its child by the same `sys.exit` as it does on SIGTERM.
        os.kill(child.pid, signal.SIGTERM)
        psutil.wait_procs([child], timeout=within(3))
        server.wait_for_log("finally of stream", timeout=1)
    log = server.log()
    assert "flood ended" in log
    assert all(callback in log for callback in CALLBACKS)
