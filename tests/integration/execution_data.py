"""Runs for tests: flows to run, clients who ask for it, and what their streams say."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection
from rest_framework_simplejwt.tokens import AccessToken

from executions import runtime
from executions.models import Command, Execution, ExecutionEvent, NodeExecution
from executions.statuses import RUN_ENDED
from flows.models import Flow
from flows.versions import create_flow
from tests.servers import wait_until
from tests.services import test_environment

EXECUTIONS = "/api/v1/executions"
LAST = {"executionFinished", "executionError"}


@pytest.fixture
def executor(transactional_db: None, settings: Any) -> Iterator[None]:
    """Runs are executed in this process, and none of it is left behind the test."""
    settings.WATAOMI_SHUTDOWN_GRACE = 0.05
    yield
    runtime.shutdown()


def make_flow(owner: User, graph: dict[str, Any], name: str = "Flow", **fields: Any) -> Flow:
    flow = create_flow(owner=owner, name=name, graph_json=graph)
    Flow.objects.filter(pk=flow.pk).update(**fields)
    flow.refresh_from_db()
    return flow


def chain_of(*nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """The graph of a manual start and, one behind the other, nodes of these types and parameters."""
    listed: list[dict[str, Any]] = [{"id": "start", "type": "manual", "name": "Start"}]
    for number, (type_name, params) in enumerate(nodes):
        listed.append({"id": f"n{number}", "type": type_name, "name": f"Node {number}", "params": params})
    edges = [{"source": before["id"], "target": behind["id"]} for before, behind in pairwise(listed)]
    return {"nodes": listed, "edges": edges}


def bearer(user: User) -> dict[str, str]:
    """The header that a client with a token of the user sends."""
    return {"Authorization": f"Bearer {AccessToken.for_user(user)}"}


def status_of(execution_id: UUID | str) -> str:
    return Execution.objects.values_list("status", flat=True).get(pk=execution_id)


def wait_for_status(execution_id: UUID | str, *statuses: str, timeout: float = 20.0) -> str:
    """Return as soon as the run has one of the statuses (any in which a run ends, if none is given)."""
    wanted = set(statuses) or {status.value for status in RUN_ENDED}
    wait_until(
        lambda: status_of(execution_id) in wanted, timeout, lambda: f"{wanted}; the run is {status_of(execution_id)}"
    )
    return status_of(execution_id)


@dataclass(frozen=True)
class Frame:
    """One event as a client got it; `at` is when (of the monotonic clock)."""

    seq: int
    type: str
    data: dict[str, Any]
    at: float


class FrameReader:
    """Reads a stream as the standard has it: a frame counts when the empty line behind it is there."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._pending = b""

    def feed(self, chunk: bytes) -> list[Frame]:
        """Take bytes as they come; return the frames that they complete."""
        *whole, self._pending = (self._pending + chunk).split(b"\n\n")
        fresh = [self._frame(block) for block in whole]
        self.frames += fresh
        return fresh

    def cut(self) -> None:
        """The connection has ended: what is incomplete does not count."""
        self._pending = b""

    @property
    def last_seq(self) -> int:
        return self.frames[-1].seq if self.frames else 0

    @property
    def ended(self) -> bool:
        return bool(self.frames) and self.frames[-1].type in LAST

    @staticmethod
    def _frame(block: bytes) -> Frame:
        fields = [line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":")]
        values = {name: value for name, value in fields if name != b"retry"}
        assert set(values) == {b"data", b"id"}, block
        message = json.loads(values[b"data"])
        assert set(message) == {"type", "data"}, block
        return Frame(int(values[b"id"]), message["type"], message["data"], time.monotonic())


def read_frames(chunks: Iterable[bytes]) -> list[Frame]:
    """All frames of a stream that has ended."""
    reader = FrameReader()
    for chunk in chunks:
        reader.feed(chunk)
    return reader.frames


def assert_complete(frames: list[Frame]) -> None:
    """Each event once and in order, from the first to the one last event."""
    assert [frame.seq for frame in frames] == list(range(1, len(frames) + 1))
    assert frames[0].type == "executionStarted"
    assert [frame.type in LAST for frame in frames] == [False] * (len(frames) - 1) + [True]


def journal_of(execution_id: UUID | str) -> list[tuple[int, str, dict[str, Any]]]:
    """The run's events as they are stored."""
    rows = Execution.objects.get(pk=execution_id).events.order_by("seq")
    return [(row.seq, row.type, json.loads(row.data)) for row in rows]


@contextmanager
def locked_by_another() -> Iterator[None]:
    """Another connection holds the runs' tables against all writers, as long as the block lasts; reading goes on."""
    with ExitStack() as stack:
        if connection.vendor == "sqlite":
            name = str(connection.settings_dict["NAME"])
            holder = stack.enter_context(closing(sqlite3.connect(name, isolation_level=None)))
            holder.execute("BEGIN IMMEDIATE")
            stack.callback(holder.execute, "COMMIT")
        else:
            other = stack.enter_context(psycopg.connect(test_environment()["DATABASE_URL"]))
            tables = ", ".join(model._meta.db_table for model in (Execution, ExecutionEvent, NodeExecution, Command))
            other.execute(f"LOCK TABLE {tables} IN SHARE ROW EXCLUSIVE MODE")
        yield


def query_plan(sql: str) -> str:
    """How SQLite reads what the statement asks for."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return "; ".join(str(row[-1]) for row in cursor.fetchall())
