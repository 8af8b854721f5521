"""What a run costs beside 1,000, 100,000 or 1,000,000 others in the database: it should be the same."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q
from django.test import Client

from benchmarks.world import chain, heading, row, user
from executions import claims, dispatch, due, runtime
from executions.engine.ports import Entry, HeadRow
from executions.journal import reader
from executions.journal.batch import Database, RunWrite
from executions.journal.writer import open_database
from executions.models import Execution, Mode
from executions.snapshot import snapshot
from executions.statuses import NodeStatus, RunStatus
from flows.models import Flow

REPEATS = 30
OWNER = "bench:1:scale"
EVENTS = b'{"executionId":"","nodeId":"n1","nodeName":"N1","status":"success","output":{"main":[{"number":1}]}}'

FLOWS = 10
PART = 100_000
"""Runs that one statement makes."""

FILL_RUNS = """
    INSERT INTO executions_execution (
        id, flow_id, flow_version_id, status, mode, input, output, created_at, started_at, finished_at, wake_at,
        requester_id, last_seq, epoch, lease_owner, priority, takeovers, takeover_mark)
    SELECT
        (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3)
            || '8' || substr(md5(n::text), 4, 15))::uuid,
        (%(flows)s::bigint[])[1 + n %% 10], (%(versions)s::bigint[])[1 + n %% 10], status,
        CASE WHEN n %% 3 = 0 THEN 'manual' ELSE 'api' END, '{"number":1}', '{"n1":{"main":[{"number":1}]}}',
        at, at, CASE WHEN status IN ('success', 'error', 'canceled') THEN at + interval '1 second' END,
        CASE WHEN status = 'waiting' THEN now() + interval '30 days' END, %(user)s, 3, 1, '', 0, 0, 0
    FROM (
        SELECT n, now() - interval '1 hour' - (%(size)s - n) * interval '20 seconds' AS at,
            CASE WHEN n %% 1000 = 1 THEN 'waiting' WHEN n %% 1000 = 2 THEN 'paused'
                 WHEN n %% 100 = 7 THEN 'canceled' WHEN n %% 50 = 9 THEN 'error' ELSE 'success' END AS status
        FROM generate_series(%(start)s::bigint, %(upto)s::bigint) AS n
    ) AS made
"""

FILL_EVENTS = """
    INSERT INTO executions_executionevent (execution_id, seq, type, data, created_at)
    SELECT run.id, seq, 'nodeExecutionAfter', repeat('{"nodeId":"n1"}', 20), run.created_at
    FROM executions_execution run, generate_series(1, 3) AS seq
"""

FILL_NODES = """
    INSERT INTO executions_nodeexecution
        (execution_id, node_id, attempt, status, started_at, finished_at, input, output)
    SELECT run.id, 'n' || node, 1, 'success', run.created_at, run.created_at, '{"main":[{}]}', '{"main":[{}]}'
    FROM executions_execution run, generate_series(0, 1) AS node
"""


class _Nowhere:
    """An executor that leaves runs where they are."""

    def enqueue(self, execution_id: UUID, priority: int = 0) -> None:
        pass

    def nudge(self) -> None:
        pass

    def stop(self) -> None:
        pass


def measure(sizes: Sequence[int]) -> None:
    runtime.use(_Nowhere())
    flows = [chain("bench.pure", 2) for _ in range(FLOWS)]
    User.objects.filter(pk=user().pk).update(is_staff=True, is_superuser=True)
    figures: dict[str, list[float]] = {}
    for size in sorted(sizes):
        _fill(flows, size)
        for name, cost in _costs(flows[0]).items():
            figures.setdefault(name, []).append(cost)
    heading(
        f"Cost beside so many runs on PostgreSQL, ms (median of {REPEATS}; 3 events and 2 node rows a run)",
        "what", *(f"{size:,}" for size in sorted(sizes)), "last to first",
    )  # fmt: skip
    for name, costs in figures.items():
        row(name, *(f"{cost * 1000:.2f}" for cost in costs), f"{costs[-1] / costs[0]:.2f}")


def _fill(flows: Sequence[Flow], size: int) -> None:
    """The newest runs are an hour old, by their ids too: what is measured comes behind all of them."""
    versions = [flow.versions.get().pk for flow in flows]
    values: dict[str, Any] = {"flows": [flow.pk for flow in flows], "versions": versions, "user": user().pk}
    tables = ("executions_execution", "executions_executionevent", "executions_nodeexecution")
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
        for start in range(1, size + 1, PART):
            cursor.execute(FILL_RUNS, {**values, "size": size, "start": start, "upto": min(size, start + PART - 1)})
        cursor.execute(FILL_EVENTS)
        cursor.execute(FILL_NODES)
        for table in tables:
            cursor.execute(f"VACUUM ANALYZE {table}")
        cursor.execute("CHECKPOINT")


def _costs(flow: Flow) -> dict[str, float]:
    """Seconds that each of these takes, by its name."""
    client = Client()
    client.force_login(User.objects.get(pk=user().pk))
    database = open_database()
    started = [_start(flow) for _ in range(REPEATS)]
    old = list(Execution.objects.filter(status="success").order_by("id").values_list("id", flat=True)[:REPEATS])
    claim = iter(started)
    write, read = iter(started), iter(old)
    costs = {
        "start a run": _median(lambda: _start(flow)),
        "take a run": _median(lambda: claims.claim([next(claim).id], OWNER)),
        "commit an event and a node of one run": _median(lambda: database.commit([_write(next(write))])),
        f"commit the same of {REPEATS} runs, for each": _commit_all(database, started) / REPEATS,
        f"renew {REPEATS} leases": _median(lambda: claims.renew(OWNER, [run.id for run in started])),
        "look for interrupted runs": _median(due.interrupted),
        "look for runs to wake": _median(lambda: (due.woken(), due.next_wake())),
        "look for forgotten runs": _median(lambda: due.forgotten(_unqueued())),
        "look for commands": _median(lambda: due.pending_commands(OWNER)),
        "fetch a job": _median(_fetch),
        "API: first page of runs": _median(lambda: _get(client, "/api/v1/executions")),
        "API: first page of failed runs": _median(lambda: _get(client, "/api/v1/executions?status=error")),
        "admin: first page of runs": _median(lambda: _get(client, "/admin/executions/execution/")),
        "status page": _median(lambda: _get(client, "/status")),
        "stream of an old run: snapshot and events": _median(lambda: _read(next(read))),
    }
    database.close()
    Execution.objects.filter(id__in=[run.id for run in started]).delete()
    return costs


def _median(function: Callable[[], object]) -> float:
    return statistics.median(_once(function) for _ in range(REPEATS))


def _commit_all(database: Database, runs: Sequence[Execution]) -> float:
    parts = [[_write(run, before=seq) for run in runs] for seq in range(1, 10)]
    return statistics.median(_once(partial(database.commit, part)) for part in parts)


def _once(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _start(flow: Flow) -> Execution:
    return dispatch.start_execution(flow, input_data={"number": 1}, requester=user(), mode=Mode.API)


def _write(run: Execution, before: int = 0) -> RunWrite:
    now = datetime.now(UTC)
    node = ("n1", 1, NodeStatus.RUNNING, now, None, b"{}", None, None, None, None, None, None)
    head = HeadRow(status=RunStatus.RUNNING, started_at=now)
    return RunWrite(run.id, 1, before, [Entry(before + 1, "nodeExecutionBefore", EVENTS, now, node, head)])


def _unqueued() -> Q:
    from executions.queue.jobs import JobQueue

    return JobQueue().unqueued()


def _fetch() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT id FROM procrastinate_fetch_job_v2(ARRAY['executions'], NULL)")
        cursor.fetchall()
        transaction.set_rollback(True)


def _get(client: Client, path: str) -> None:
    answer = client.get(path, headers={"host": "127.0.0.1"})
    if answer.status_code != 200:
        raise RuntimeError(f"{path}: {answer.status_code}")


def _read(execution_id: UUID) -> None:
    snapshot(execution_id)
    reader.events_after(execution_id, 0)
