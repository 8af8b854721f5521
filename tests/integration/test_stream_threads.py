"""Threads and database connections that streams hold under real servers: none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.integration.stream_server import StartStreamServer, database_path, get, session_cookie
from tests.raw_client import RawClient
from tests.servers import ServerProcess, wait_until, within

pytestmark = pytest.mark.sqlite_only  # the small project has a database of its own

READERS = 200
THREADS = 4
FEW_THREADS = {"WATAOMI_REQUEST_THREADS": str(THREADS)}


@contextmanager
def readers(server: ServerProcess, path: str, cookie: str) -> Iterator[list[RawClient]]:
    """Open many streams of a logged-in user, and read the first part of each."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(RawClient(server.port, path, headers={"Cookie": cookie})) for _ in range(READERS)
        ]
        for client in clients:
            assert client.read_head()[0] == 200
            assert next(client.chunks())
        yield clients


def open_files(server: ServerProcess) -> set[Path]:
    return {Path(file.path) for file in psutil.Process(server.pid).open_files()}


def use_all_threads(server: ServerProcess) -> None:
    """Have every thread of the pool started."""
    with ThreadPoolExecutor(2 * THREADS) as pool:
        list(pool.map(lambda _: get(server, "/slow?seconds=0.2"), range(2 * THREADS)))


def test_streams_of_session_users_hold_neither_threads_nor_database_connections(
    stream_server: StartStreamServer, stream_environment: dict[str, str]
) -> None:
    server = stream_server(FEW_THREADS)
    cookie = session_cookie(server)
    use_all_threads(server)
    before = server.threads()
    with readers(server, "/waits", cookie) as clients:
        assert server.threads() <= before
        database = database_path(stream_environment)
        wait_until(lambda: database not in open_files(server), 2)
        assert len(clients) == READERS == server.connections()
    wait_until(lambda: server.log().count("finally of stream") == READERS)


def test_streams_that_query_share_the_threads(stream_server: StartStreamServer) -> None:
    server = stream_server(FEW_THREADS)
    cookie = session_cookie(server)
    use_all_threads(server)
    before = server.threads()
    with readers(server, "/queries", cookie) as clients:
        for client in clients:
            assert next(client.chunks())  # each goes on
        assert server.threads() <= before
        started = time.monotonic()
        assert get(server, "/quick").status_code == 200
        assert time.monotonic() - started < within(2)


def test_a_slow_view_does_not_hold_up_other_requests(stream_server: StartStreamServer) -> None:
    server = stream_server(FEW_THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        slow = [pool.submit(get, server, f"/slow?seconds={within(2)}") for _ in range(THREADS - 1)]
        wait_until(lambda: server.log().count("slow began") == THREADS - 1)
        started = time.monotonic()
        for _ in range(5):
            assert get(server, "/quick").status_code == 200
        assert time.monotonic() - started < within(1)
        assert not any(future.done() for future in slow)


def test_requests_wait_their_turn_when_all_threads_are_busy(stream_server: StartStreamServer) -> None:
    server = stream_server(FEW_THREADS)
    with ThreadPoolExecutor(3 * THREADS) as pool:
        slow = [pool.submit(get, server, "/slow?seconds=0.2") for _ in range(3 * THREADS)]
        quick = pool.submit(get, server, "/quick")
        assert {future.result().text for future in slow} == {"slow"}
        assert quick.result().text.startswith("request-")
