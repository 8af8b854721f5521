"""Readers that do not read, under real servers: what they cost, and whom they slow."""

from __future__ import annotations

import time

import pytest

from tests.integration.stream_server import StartStreamServer, get
from tests.integration.stream_views import LINE
from tests.raw_client import RawClient
from tests.servers import ServerProcess, wait_until, within

pytestmark = pytest.mark.sqlite_only  # the small project has a database of its own

MEGABYTE = 1_000_000
LINES = 200 * MEGABYTE // LINE


def highest_memory(server: ServerProcess, seconds: float) -> int:
    """Look at the process's memory for a while, and return the most that it was."""
    deadline = time.monotonic() + seconds
    highest = 0
    while time.monotonic() < deadline:
        highest = max(highest, server.memory())
        time.sleep(0.02)
    return highest


def is_complete(body: bytes, lines: int) -> bool:
    return [int(line) for line in body.split()] == list(range(lines))


@pytest.mark.parametrize("kind", ["events", "file"])
def test_a_reader_that_stops_costs_little_slows_nobody_and_gets_everything(
    stream_server: StartStreamServer, kind: str
) -> None:
    server = stream_server()
    get(server, "/quick")
    before = server.memory()
    with RawClient(server.port, f"/flood?lines={LINES}&type={kind}") as client:
        assert client.read_head()[0] == 200
        assert highest_memory(server, 1.0) - before < 5 * MEGABYTE
        durations = []
        for _ in range(20):
            started = time.monotonic()
            assert get(server, "/quick").status_code == 200
            durations.append(time.monotonic() - started)
        assert max(durations) < within(0.5)
        # What the two kernels hold for the client, and less than a megabyte more.
        assert get(server, "/state").json()["pulled"] < 0.1 * LINES
        body, complete = client.read_body()
    assert complete
    assert is_complete(body, LINES)
    assert server.memory() - before < 5 * MEGABYTE


def test_a_reader_that_takes_nothing_is_dropped_and_its_stream_is_closed(stream_server: StartStreamServer) -> None:
    server = stream_server({"WATAOMI_WRITE_TIMEOUT": "0.5"})
    with RawClient(server.port, f"/flood?lines={LINES}") as client:
        client.read_head()
        started = time.monotonic()
        server.wait_for_log("flood ended")
        assert 0.4 < time.monotonic() - started < within(3)
        assert "Dropped a client of /flood that took nothing for 0.5 s" in server.log()
        assert client.local_port not in server.addresses()
        assert not client.read_body()[1]
    wait_until(lambda: get(server, "/state").json()["open"] == 1)


def test_a_client_that_confirms_nothing_is_dropped_before_the_socket_is_full(stream_server: StartStreamServer) -> None:
    """As one that vanished from the network, whose stream has little to send."""
    server = stream_server({"WATAOMI_WRITE_TIMEOUT": "0.5"})
    with RawClient(server.port, "/trickle", receive_buffer=16 * 1024) as client:
        client.read_head()
        server.wait_for_log("trickle ended", timeout=3)
        assert "Dropped a client of /trickle that took nothing for 0.5 s" in server.log()


def test_a_client_that_reads_what_there_is_is_not_dropped(stream_server: StartStreamServer) -> None:
    server = stream_server({"WATAOMI_WRITE_TIMEOUT": "0.5"})
    with RawClient(server.port, "/trickle") as client:
        client.read_head()
        until = time.monotonic() + 2
        while time.monotonic() < until:
            client.receive()
        assert "Dropped" not in server.log()


def test_a_client_that_has_nothing_to_take_is_not_dropped(stream_server: StartStreamServer) -> None:
    server = stream_server({"WATAOMI_WRITE_TIMEOUT": "0.3"})
    with RawClient(server.port, "/late?seconds=0.6") as client:
        client.read_head()
        assert client.read_body() == (b"data: 1\n\ndata: 2\n\n", True)


def test_a_reader_that_is_slow_is_not_dropped(stream_server: StartStreamServer) -> None:
    timeout = within(1)
    server = stream_server({"WATAOMI_WRITE_TIMEOUT": str(timeout)})
    lines = 16 * MEGABYTE // LINE
    with RawClient(server.port, f"/flood?lines={lines}", receive_buffer=32 * 1024) as client:
        client.read_head()
        # So slow that the server cannot write within a time-out, but sees in each that something was taken.
        for _ in range(48):
            client.receive(8 * 1024)
            time.sleep(timeout / 12)
        body, complete = client.read_body()
    assert complete
    assert is_complete(body, lines)
    assert "Dropped" not in server.log()


def test_requests_in_a_row_on_one_connection_are_answered_in_order(stream_server: StartStreamServer) -> None:
    server = stream_server()
    lines = 20 * MEGABYTE // LINE
    with RawClient(server.port, f"/flood?lines={lines}") as client:
        for path in (f"/flood?lines={lines}", "/frames"):
            client.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        time.sleep(0.3)  # the first response fills the socket
        for _ in range(2):
            assert client.read_head()[0] == 200
            body, complete = client.read_body()
            assert complete and is_complete(body, lines)
        assert client.read_head()[0] == 200
        body, complete = client.read_body()
    assert complete and body.startswith(b"retry: 2000\n")


def test_a_stream_that_never_waits_lets_others_in_and_ends_with_its_client(stream_server: StartStreamServer) -> None:
    server = stream_server()
    with RawClient(server.port, "/endless") as client:
        client.read_head()
        for _, _ in zip(range(100), client.chunks(), strict=False):
            pass
        assert get(server, "/quick").status_code == 200
    server.wait_for_log("endless ended", timeout=2)
    wait_until(lambda: get(server, "/state").json()["open"] == 1)
    assert "broke off" not in server.log()


def test_head_of_a_stream_ends_at_once_without_a_body(stream_server: StartStreamServer) -> None:
    server = stream_server()
    with RawClient(server.port, "/waits", method="HEAD") as client:
        status, headers = client.read_head()
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        server.wait_for_log("finally of stream", timeout=2)
        client.socket.sendall(b"GET /frames HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert client.read_head()[0] == 200  # nothing of the stream came before it
