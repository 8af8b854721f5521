"""Nodes per second, beside the same rows written by the same statements with no engine: the limit."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.backends.utils import CursorWrapper

from benchmarks.world import chain, heading, row, user
from executions import dispatch, runtime
from executions.journal.statements import RUNS, Statements, plain_cursor
from executions.journal.transactions import write_transaction
from executions.models import Execution, ExecutionEvent, Mode, NodeExecution, new_execution_id
from executions.statuses import RUN_ENDED, NodeStatus, RunStatus
from flows.models import Flow

NODES = 40
WAIT_SECONDS = 120.0


class HeldBack:
    """An executor that keeps what it gets: runs are created first, and then all brought to the real one at once."""

    def __init__(self) -> None:
        self.ids: list[UUID] = []

    def enqueue(self, execution_id: UUID, priority: int = 0) -> None:
        self.ids.append(execution_id)

    def nudge(self) -> None:
        pass

    def stop(self) -> None:
        pass


def measure(repeats: int) -> None:
    heading(
        f"Throughput, runs of {NODES} nodes, events and node rows committed (median of {repeats})",
        "runs", "nodes", "nodes/s", "commits", "raw rows/s as nodes/s", "ratio",
    )  # fmt: skip
    flows = {"pure": chain("bench.pure", NODES), "with an effect": chain("bench.effect", NODES)}
    for kind, flow in flows.items():
        for runs in (1, 20, 200):
            _run(flow, runs)  # warm
            figures = [_pair(flow, runs) for _ in range(repeats)]
            rate, raw = (statistics.median(figure[index] for figure in figures) for index in (0, 2))
            ratio = statistics.median(figure[0] / figure[2] for figure in figures)
            row(runs, kind, f"{rate:,.0f}", figures[-1][1], f"{raw:,.0f}", f"{ratio:.2f}")
    runtime.shutdown()


def _pair(flow: Flow, runs: int) -> tuple[float, int, float]:
    """Nodes per second through the engine, in how many commits, and of the raw inserts in as many commits."""
    seconds, commits, ids = _run(flow, runs)
    raw = _raw(ids, commits)
    return runs * NODES / seconds, commits, runs * NODES / raw


def _run(flow: Flow, runs: int) -> tuple[float, int, list[UUID]]:
    real = runtime.executor()
    held_back = HeldBack()
    runtime.use(held_back)
    for _ in range(runs):
        dispatch.start_execution(flow, input_data={"number": 1}, requester=user(), mode=Mode.API)
    runtime.use(real)
    before = runtime.writer.commits
    began = time.perf_counter()
    for execution_id in held_back.ids:
        real.enqueue(execution_id)
    _wait(held_back.ids)
    return time.perf_counter() - began, runtime.writer.commits - before, held_back.ids


def _wait(ids: Sequence[UUID]) -> None:
    """Until all have ended. The last one first, and by a bare statement: what looks takes time from what is timed."""
    deadline = time.monotonic() + WAIT_SECONDS
    statements = Statements(connection)
    with plain_cursor(connection) as cursor:
        for execution_id in reversed(ids):
            while _status(cursor, statements.key(execution_id)) not in RUN_ENDED:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"Execution {execution_id} did not end within {WAIT_SECONDS:g} s.")
                time.sleep(0.005)


def _status(cursor: CursorWrapper, key: Any) -> str:
    cursor.execute(f"SELECT status FROM {RUNS} WHERE id = %s", [key])
    status: str = cursor.fetchone()[0]
    return status


def _raw(ids: Sequence[UUID], commits: int) -> float:
    """Seconds to write copies of the rows of these runs, in as many transactions."""
    source = Execution.objects.get(pk=ids[0])
    copies = [
        Execution(
            pk=new_execution_id(),
            flow=source.flow,
            flow_version=source.flow_version,
            mode=Mode.API,
            status=RunStatus.SUCCESS,  # so that no worker takes them up
        )
        for _ in ids
    ]
    Execution.objects.bulk_create(copies)
    statements = Statements(connection)
    events: list[tuple[Any, ...]] = []
    nodes: list[tuple[Any, ...]] = []
    for copy, execution_id in zip(copies, ids, strict=True):
        key = statements.key(copy.pk)
        events.extend(
            (key, event.seq, event.type, event.data.encode(), event.created_at)
            for event in ExecutionEvent.objects.filter(execution_id=execution_id)
        )
        for node in NodeExecution.objects.filter(execution_id=execution_id):
            values = (b'{"main":[{"number":1}]}', b'{"main":[{"number":1}]}', b'{"main":1}', None, None, None)
            status = NodeStatus(node.status)
            assert node.started_at is not None
            nodes.append((key, (node.node_id, 1, status, node.started_at, node.finished_at, *values)))
    began = time.perf_counter()
    for part in range(commits):
        with write_transaction(), plain_cursor(connection) as cursor:
            statements.insert_events(cursor, events[part::commits])
            statements.upsert_nodes(cursor, nodes[part::commits])
    return time.perf_counter() - began
