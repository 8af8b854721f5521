"""Streams against a real Daphne: cut anywhere and resumed, many at once, of runs that other processes execute."""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import psutil
import pytest
from django.contrib.auth.models import User

from executions.dispatch import start_execution
from executions.models import Execution, Mode
from flows.models import Flow
from tests.integration.execution_data import (
    EXECUTIONS,
    FrameReader,
    assert_complete,
    bearer,
    chain_of,
    executor,  # noqa: F401 (a fixture)
    journal_of,
    make_flow,
    wait_for_status,
)
from tests.integration.flow_data import graph_of, make_user
from tests.raw_client import RawClient
from tests.servers import PROJECT, ServerProcess, StartServer

START = f"{EXECUTIONS}/stream"


@pytest.fixture
def server(project_server: StartServer) -> ServerProcess:
    return project_server()


@pytest.fixture
def author(server: ServerProcess) -> User:
    return make_user("author")


@pytest.fixture
def busy_flow(author: User) -> Flow:
    """Goes on for about two seconds: bursts of events, and pauses between them."""
    burst: list[tuple[str, dict[str, Any]]] = [("noop", {})] * 12
    return make_flow(author, chain_of(*[*burst, ("delay", {"seconds": 0.15})] * 12))


def client_of(server: ServerProcess, user: User) -> httpx.AsyncClient:
    """A client that opens as many connections as it needs."""
    return httpx.AsyncClient(
        base_url=server.url,
        headers=bearer(user),
        timeout=30,
        trust_env=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
    )


async def start(client: httpx.AsyncClient, flow: Flow) -> str:
    response = await client.post(EXECUTIONS, json={"flow_id": flow.pk})
    assert response.status_code == 202, response.text
    execution_id: str = response.json()["id"]
    return execution_id


async def read_to_the_end(client: httpx.AsyncClient, address: str) -> FrameReader:
    reader = FrameReader()
    async with client.stream("GET", address) as response:
        assert response.status_code == 200
        async for chunk in response.aiter_raw():
            reader.feed(chunk)
    return reader


class CuttingReader:
    """Reads a run's stream in pieces: cuts the connection after any byte, and comes back after any while."""

    def __init__(self, client: httpx.AsyncClient, execution_id: str, seed: int) -> None:
        self.reader = FrameReader()
        self.connections = 0
        self._client = client
        self._address = f"{EXECUTIONS}/{execution_id}/stream"
        self._random = random.Random(seed)

    async def read(self) -> None:
        while not self.reader.ended:
            self.connections += 1
            await self._read_until_cut(self._random.choice([50, 700, 5_000, 40_000]) * self._random.random())
            self.reader.cut()
            if self._random.random() < 0.5:
                await asyncio.sleep(self._random.random() * 0.2)

    async def _read_until_cut(self, room: float) -> None:
        seen = self.reader.last_seq
        by_header = self._random.random() < 0.5
        headers = {"Last-Event-ID": str(seen)} if by_header else {}
        params = {} if by_header else {"after": str(seen)}
        async with self._client.stream("GET", self._address, headers=headers, params=params) as response:
            assert response.status_code == 200, await response.aread()
            async for chunk in response.aiter_raw():
                self.reader.feed(chunk[: int(room) + 1])
                room -= len(chunk)
                if room < 0:
                    return


@pytest.mark.parametrize("seed", [1, 2])
async def test_readers_that_are_cut_anywhere_miss_nothing_and_see_nothing_twice(
    server: ServerProcess, author: User, busy_flow: Flow, seed: int
) -> None:
    async with client_of(server, author) as client:
        runs = [await start(client, busy_flow) for _ in range(2)]
        readers = {run: [CuttingReader(client, run, seed * 100 + number) for number in range(5)] for run in runs}
        async with asyncio.timeout(60):
            await asyncio.gather(*(reader.read() for group in readers.values() for reader in group))
    for run, group in readers.items():
        journal = await asyncio.to_thread(journal_of, run)
        for cutting in group:
            assert_complete(cutting.reader.frames)
            assert [(frame.seq, frame.type, frame.data) for frame in cutting.reader.frames] == journal
    connections = [cutting.connections for group in readers.values() for cutting in group]
    assert max(connections) > 10, "else nothing was cut"
    assert "ERROR" not in server.log() and "Traceback" not in server.log()


async def test_a_run_cut_at_every_event_after_its_end_is_whole(
    server: ServerProcess, author: User, busy_flow: Flow
) -> None:
    async with client_of(server, author) as client:
        run = await start(client, busy_flow)
        address = f"{EXECUTIONS}/{run}/stream"
        whole = (await read_to_the_end(client, address)).frames
        assert_complete(whole)
        for seen in random.Random(3).sample(range(len(whole)), 40):
            behind = await read_to_the_end(client, f"{address}?after={seen}")
            assert [frame.seq for frame in behind.frames] == list(range(seen + 1, len(whole) + 1))
        response = await client.get(address, headers={"Last-Event-ID": str(len(whole))})
        assert (response.status_code, response.content) == (204, b"")
        response = await client.get(address, headers={"Last-Event-ID": str(len(whole) + 1)})
        assert response.status_code == 400


async def test_fifty_readers_see_the_same(server: ServerProcess, author: User, busy_flow: Flow) -> None:
    async with client_of(server, author) as client:
        run = await start(client, busy_flow)
        address = f"{EXECUTIONS}/{run}/stream"
        readers = await asyncio.gather(*(read_to_the_end(client, address) for _ in range(50)))
    first = [(frame.seq, frame.type, frame.data) for frame in readers[0].frames]
    assert_complete(readers[0].frames)
    for reader in readers[1:]:
        assert [(frame.seq, frame.type, frame.data) for frame in reader.frames] == first


async def test_a_common_client_for_server_sent_events_reads_it(
    server: ServerProcess, author: User, busy_flow: Flow
) -> None:
    body = {"flow_id": busy_flow.pk}
    async with (
        client_of(server, author) as client,
        httpx_sse.aconnect_sse(client, "POST", START, json=body) as source,
    ):
        events = [event async for event in source.aiter_sse()]
    assert [int(event.id) for event in events] == list(range(1, len(events) + 1))
    assert {event.event for event in events} == {"message"}
    assert [events[0].json()["type"], events[-1].json()["type"]] == ["executionStarted", "executionFinished"]


async def test_a_reader_that_goes_away_changes_nothing_for_the_run(
    server: ServerProcess, author: User, busy_flow: Flow
) -> None:
    async with client_of(server, author) as client:
        async with client.stream("POST", START, json={"flow_id": busy_flow.pk}) as response:
            assert response.status_code == 200
            address = response.headers["Location"]
            async for chunk in response.aiter_raw():
                if b"executionStarted" in chunk:
                    break
        resumed = await read_to_the_end(client, address)
    assert_complete(resumed.frames)
    assert resumed.frames[-1].data["status"] == "success"


@pytest.mark.usefixtures("executor")
async def test_a_run_that_another_process_executes_is_seen_live(server: ServerProcess, author: User) -> None:
    flow = await asyncio.to_thread(make_flow, author, graph_of(*[0.5] * 4))

    def start_here() -> str:
        return str(start_execution(flow, input_data={}, requester=author, mode=Mode.CLI).pk)

    async with client_of(server, author) as client:
        run = await asyncio.to_thread(start_here)
        reader = await read_to_the_end(client, f"{EXECUTIONS}/{run}/stream")
    assert_complete(reader.frames)
    assert [(frame.seq, frame.type, frame.data) for frame in reader.frames] == await asyncio.to_thread(journal_of, run)
    ended = [frame.at for frame in reader.frames if frame.type == "nodeExecutionAfter"][1:]
    assert ended[-1] - ended[-2] > 0.25, "events come as they happen, not all at the end"
    assert f"execution {run} started" not in server.log(), "else the server has executed it"


async def test_the_head_of_a_stream_is_answered_and_the_connection_is_used_again(
    server: ServerProcess, author: User
) -> None:
    flow = await asyncio.to_thread(make_flow, author, graph_of(30))
    async with client_of(server, author) as client:
        run = await start(client, flow)
        response = await client.head(f"{EXECUTIONS}/{run}/stream")
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["Content-Type"] == "text/event-stream"
        assert (await client.post(f"{EXECUTIONS}/{run}/cancel")).status_code == 202


def test_open_streams_keep_no_threads_and_no_connections_to_the_database(project_server: StartServer) -> None:
    server = project_server(environment={"WATAOMI_REQUEST_THREADS": "4"})
    author = make_user("author")
    flow = make_flow(author, graph_of(30))
    headers = bearer(author)
    run = httpx.post(server.url + EXECUTIONS, json={"flow_id": flow.pk}, headers=headers, trust_env=False).json()["id"]
    with ExitStack() as stack:
        open_streams(stack, server, run, headers, 20)
        threads = server.threads()
        open_streams(stack, server, run, headers, 100)
        assert server.threads() - threads <= 8, "a pool may still grow, but not with the streams"
        # SQLite closes a file only when no other connection of the process holds a lock on it, and uses it again for
        # the next connection: there are as many as there were connections at the same time.
        assert database_files(server) < 20
    httpx.post(f"{server.url}{EXECUTIONS}/{run}/cancel", headers=headers, trust_env=False)


def open_streams(stack: ExitStack, server: ServerProcess, run: str, headers: dict[str, str], count: int) -> None:
    """Open streams of a run, at the same time, and see that each of them gets events."""
    path = f"{EXECUTIONS}/{run}/stream"
    streams = [stack.enter_context(RawClient(server.port, path, headers=headers)) for _ in range(count)]
    for stream in streams:
        assert stream.read_head()[0] == 200
        assert next(stream.chunks())


def database_files(server: ServerProcess) -> int:
    """How often the server has the file of its database open."""
    return [file.path.endswith(".sqlite3") for file in psutil.Process(server.pid).open_files()].count(True)


# The calls that the project began with


CALLS = """
TOKEN=$(curl -s localhost:8000/api/v1/token -H 'Content-Type: application/json' \\
 -d '{"username":"demo","password":"demo"}' | python -c 'import sys,json;print(json.load(sys.stdin)["access"])')
curl -N -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
 -d '{"flow_id": 1, "input_data": {}}' http://localhost:8000/api/v1/executions/stream
"""


@pytest.fixture
def calls(server: ServerProcess) -> Iterator[subprocess.Popen[bytes]]:
    """The two calls, on the port of the server, to flow 1 of the user demo."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    demo = User.objects.create_user("demo", password="demo")
    graph = chain_of(*[("delay", {"seconds": seconds}) for seconds in (2, 3, 1)])
    flow = make_flow(demo, graph, name="Three waits")
    script = CALLS.replace("localhost:8000", f"localhost:{server.port}")
    script = script.replace('"flow_id": 1', f'"flow_id": {flow.pk}')
    # `python` is this one, on a machine where it is called otherwise.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        ["/bin/sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=PROJECT,
        env={**os.environ, "PATH": path, "no_proxy": "*"},
    ) as process:
        yield process
        process.kill()


def test_the_two_calls_print_each_event_the_moment_it_happens(calls: subprocess.Popen[bytes]) -> None:
    assert calls.stdout is not None
    lines = ((re.match(rb'data: \{"type":"(\w+)"', line), time.monotonic()) for line in calls.stdout)
    seen = [(found[1].decode(), at) for found, at in lines if found]
    assert calls.wait(10) == 0
    names = [name for name, _ in seen if name != "nodeExecutionProgress"]
    assert names == ["executionStarted", *["nodeExecutionBefore", "nodeExecutionAfter"] * 4, "executionFinished"]
    begun = seen[0][1]
    after = [at - begun for name, at in seen if name == "nodeExecutionAfter"]
    assert after == pytest.approx([0, 2, 5, 6], abs=0.9)
    assert seen[-1][1] - begun == pytest.approx(6, abs=0.9)
    run = Execution.objects.get()
    assert (wait_for_status(run.pk), run.mode) == ("success", "api")
