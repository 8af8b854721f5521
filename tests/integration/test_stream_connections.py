"""Open streams hold neither connections to PostgreSQL nor threads, whether their run goes on or waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import httpx
import psutil
import pytest
from django.contrib.auth.models import User
from django.db import connection

from executions.models import Execution
from tests.integration.execution_data import EXECUTIONS, bearer, chain_of, wait_for_status
from tests.integration.flow_data import make_user
from tests.raw_client import RawClient
from tests.servers import ServerProcess, StartServer, wait_until, within

pytestmark = pytest.mark.services_only

SETTINGS = {
    "WATAOMI_REQUEST_THREADS": "4",
    "WATAOMI_KEEP_ALIVE": "0.5",  # each looks at the journal then
    "WATAOMI_PROGRESS_INTERVAL": "0.05",
    "WATAOMI_EXTRA_APPS": "benchmarks.nodes_app",
    "DATABASE_POOL_SIZE": "10",
}
FEW = 12
"""The pool's connections, and those that the process has for itself."""


class Use(NamedTuple):
    connections: int
    threads: int


def use_of(server: ServerProcess) -> Use:
    """What the server has of PostgreSQL, by PostgreSQL's own account, and of the machine."""
    ports = [found.laddr.port for found in psutil.Process(server.pid).net_connections("tcp")]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND client_port = ANY(%s)",
            [ports],
        )
        return Use(cursor.fetchone()[0], server.threads())


def busiest(server: ServerProcess) -> Use:
    """The most of each that there was in twenty looks."""
    uses = [use_of(server) for _ in range(20)]
    return Use(max(use.connections for use in uses), max(use.threads for use in uses))


@contextmanager
def streams(server: ServerProcess, path: str, headers: dict[str, str], count: int) -> Iterator[None]:
    """So many readers, each of whom has got its first event and something behind it."""
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(server.port, path, headers=headers)) for _ in range(count)]
        for client in clients:
            assert client.read_head()[0] == 200
            received = b""
            for chunk in client.chunks():
                received += chunk
                if b": keep-alive\n" in received or received.count(b"\n\n") > 5:
                    break
        yield


@pytest.mark.parametrize("goes_on", [True, False], ids=["running", "paused"])
def test_a_hundred_streams_cost_no_more_connections_and_threads_than_ten(
    project_server: StartServer, transactional_db: None, goes_on: bool
) -> None:
    author: User = make_user("author")
    headers = bearer(author)
    nodes = [("delay", {"seconds": 1}), ("bench.ticker", {"rate": 20, "count": 2000})]
    server = project_server(environment=SETTINGS)

    def post(path: str, body: object = None) -> str:
        answer = httpx.post(server.url + path, json=body, headers=headers, trust_env=False, timeout=within(30))
        return str(answer.json().get("id"))

    # By the server, as only it knows the type.
    flow = post("/api/v1/flows", {"name": "Ticker", "graph": chain_of(*nodes)})
    run = post(EXECUTIONS, {"flow_id": int(flow), "input_data": {}})
    if not goes_on:
        post(f"{EXECUTIONS}/{run}/pause")
        wait_for_status(run, "paused")
    else:
        wait_until(lambda: Execution.objects.get(pk=run).last_seq > 6)
    path = f"{EXECUTIONS}/{run}/stream"
    with streams(server, path, headers, 10):
        few = busiest(server)
    with streams(server, path, headers, 100):
        many = busiest(server)
        assert server.connections() >= 100
    # Threads and connections are started as they are needed, up to their limits.
    assert many.threads <= few.threads + 4
    assert few.connections <= FEW and many.connections <= FEW
    post(f"{EXECUTIONS}/{run}/cancel")
    wait_until(lambda: use_of(server).connections <= FEW)
