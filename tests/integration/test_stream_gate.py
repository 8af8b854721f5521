"""The gate: a reader that stops reading while its run emits a flood of events costs nothing, and misses nothing."""

from __future__ import annotations

import json
import re
import threading
import time
from statistics import median
from uuid import UUID

import httpx
import pytest
from django.contrib.auth.models import User

from executions.models import Execution
from executions.statuses import RUN_ENDED
from tests.integration.execution_data import EXECUTIONS, bearer, chain_of
from tests.integration.flow_data import make_user
from tests.raw_client import RawClient
from tests.servers import ServerProcess, StartServer, within

EVENTS = 200_000
STOPPED = 5
"""Readers that stop: what one of them costs is less than what the process's memory differs by from run to run."""
MEGABYTE = 1_000_000
FLOODING = {"WATAOMI_EXTRA_APPS": "tests.flood", "WATAOMI_PROGRESS_INTERVAL": "0", "WATAOMI_WRITE_TIMEOUT": "600"}


class Run:
    """A run of the flood that a client started and follows, or has stopped following."""

    def __init__(self, server: ServerProcess, flow_id: int, headers: dict[str, str]) -> None:
        self.client = RawClient(
            server.port,
            f"{EXECUTIONS}/stream",
            method="POST",
            headers={**headers, "Content-Type": "application/json"},
            body=json.dumps({"flow_id": flow_id, "input_data": {}}).encode(),
            timeout=120,
        )
        status, answer = self.client.read_head()
        assert status == 200
        self.path = answer["location"]
        self.execution_id = UUID(self.path.split("/")[-2])

    def ended(self) -> bool:
        return Execution.objects.filter(pk=self.execution_id, status__in=RUN_ENDED).exists()


class Follower(threading.Thread):
    """A second reader of the run, which reads as a reader should."""

    def __init__(self, server: ServerProcess, run: Run, headers: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self.client = RawClient(server.port, run.path, headers=headers, timeout=120)
        self.seqs: list[int] = []
        self.complete = False

    def run(self) -> None:
        assert self.client.read_head()[0] == 200
        body, self.complete = self.client.read_body()
        self.client.close()
        self.seqs = seqs_of(body)


def seqs_of(body: bytes) -> list[int]:
    return [int(seq) for seq in re.findall(rb"^id: (\d+)$", body, re.MULTILINE)]


def watch(server: ServerProcess, run: Run) -> tuple[int, list[float]]:
    """Until the run has ended, ask the server for something else; return its highest memory, and how long each took."""
    highest, durations = 0, []
    deadline = time.monotonic() + 120
    while not run.ended():
        assert time.monotonic() < deadline, server.log()
        started = time.monotonic()
        assert httpx.get(server.url + "/healthz", timeout=20, trust_env=False).status_code == 200
        durations.append(time.monotonic() - started)
        highest = max(highest, server.memory())
        time.sleep(0.02)
    return max(highest, server.memory()), durations


@pytest.fixture
def author(transactional_db: None) -> User:
    return make_user("author", "flows.add_flow")


def test_readers_that_stop_reading_cost_little_slow_nobody_and_miss_nothing(
    author: User, project_server: StartServer
) -> None:
    server = project_server(environment=FLOODING)
    headers = bearer(author)
    graph = chain_of(("flood.flood", {"reports": EVENTS}))
    answer = httpx.post(
        f"{server.url}/api/v1/flows", json={"name": "Flood", "graph": graph}, headers=headers, trust_env=False
    )
    assert answer.status_code == 201, answer.text
    flow_id = answer.json()["id"]

    # What it costs when everybody reads; twice, as the process still gets its buffers at first.
    usual_memory, usual_durations = 0, [0.0]
    for _ in range(2):
        usual = Run(server, flow_id, headers)
        usual.client.close()
        follower = Follower(server, usual, headers)
        follower.start()
        highest, usual_durations = watch(server, usual)
        usual_memory = max(usual_memory, highest)
        follower.join(within(60))
        assert follower.complete

    run = Run(server, flow_id, headers)
    stopped = [run.client] + [RawClient(server.port, run.path, headers=headers) for _ in range(STOPPED - 1)]
    follower = Follower(server, run, headers)
    follower.start()
    memory, durations = watch(server, run)
    follower.join(within(10))  # it has kept up with the run
    assert follower.complete
    assert follower.seqs == list(range(1, len(follower.seqs) + 1))
    assert len(follower.seqs) > EVENTS
    assert memory - usual_memory < STOPPED * 5 * MEGABYTE
    assert median(durations) < 2 * median(usual_durations) + within(0.2)
    assert max(durations) < within(2)
    for client in stopped:
        if client is not run.client:
            assert client.read_head()[0] == 200
        body, complete = client.read_body()
        client.close()
        assert complete
        assert seqs_of(body) == follower.seqs
