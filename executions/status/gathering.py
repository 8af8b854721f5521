"""Gathers the figures from the database and the channel layer.

Each question is answered by an index, however many runs there are; no table is counted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import redis
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.db import connection
from django.db.models import Count, Min, Q, Value
from django.db.models.functions import Concat

from executions.conf import execution_settings
from executions.database_clock import database_now
from executions.models import Execution, ExecutionEvent, NodeExecution, Process
from executions.processes import ALIVE
from executions.status.figures import (
    GONE_SECONDS,
    WINDOWS,
    DatabaseFigures,
    Figures,
    LayerFigures,
    ProcessFigures,
    ProcessState,
    QueueFigures,
    TableFigures,
)
from executions.statuses import RUN_ENDED, RUN_NEEDS_WORKER, RunStatus

FRESH_SECONDS = 1.0
"""How long figures are good for: whoever asks within that time gets the same ones."""

LAYER_SECONDS = 1.0
"""How long the channel layer may take to answer."""

NOT_ENDED = [status.value for status in RunStatus if status not in RUN_ENDED]

_guard = threading.Lock()
_newest: tuple[float, Figures] | None = None


def fresh_figures() -> Figures:
    """The figures, a second old at most: however many ask, the database is asked once a second."""
    global _newest  # noqa: PLW0603 - one for each process
    with _guard:
        if _newest is None or time.monotonic() - _newest[0] > FRESH_SECONDS:
            figures = gather()
            _newest = (time.monotonic(), figures)
        return _newest[1]


def gather() -> Figures:
    """The figures as they are now."""
    now = database_now()
    given = execution_settings()
    return Figures(
        at=now,
        executor=given.executor,
        lease_seconds=given.lease,
        processes=_processes(now),
        runs=_not_ended(),
        queue=_queue(now),
        ended=_ended(now),
        database=_database(),
        layer=_layer(),
        jobs=_jobs() if given.executor == "procrastinate" else None,
    )


def _processes(now: datetime) -> tuple[ProcessFigures, ...]:
    leases = Execution.objects.filter(lease_until__gt=now).exclude(lease_owner="").order_by()
    held = dict(leases.values_list("lease_owner").annotate(runs=Count("id")))
    rows = Process.objects.filter(seen_at__gt=now - timedelta(seconds=GONE_SECONDS))
    known = tuple(_process(row, held.pop(row.name, 0), now) for row in rows)
    return known + tuple(_command(name, count) for name, count in sorted(held.items()))


def _process(row: Process, held: int, now: datetime) -> ProcessFigures:
    seen = max(0.0, (now - row.seen_at).total_seconds())
    return ProcessFigures(
        name=row.name,
        role=row.role,
        host=row.host,
        pid=row.pid,
        state=ProcessState.ALIVE if seen <= ALIVE.total_seconds() else ProcessState.LATE,
        seen_seconds=seen,
        started_at=row.started_at,
        executes=row.executes,
        capacity=row.capacity,
        held=held,
        readers=row.readers,
        backlog=row.backlog,
        commits=row.commits,
        commit_p50_ms=row.commit_p50_ms,
        commit_p99_ms=row.commit_p99_ms,
    )


def _command(name: str, held: int) -> ProcessFigures:
    host, pid, *_ = [*name.split(":"), ""]
    return ProcessFigures(name=name, role="command", host=host, pid=int(pid) if pid.isdigit() else 0, held=held)


def _not_ended() -> dict[str, int]:
    rows = Execution.objects.filter(status__in=NOT_ENDED).order_by().values_list("status").annotate(runs=Count("id"))
    return dict.fromkeys(NOT_ENDED, 0) | dict(rows)


def _queue(now: datetime) -> QueueFigures:
    free = Q(lease_until=None) | Q(lease_until__lt=now)
    queued = Execution.objects.filter(free, status=RunStatus.QUEUED).aggregate(
        depth=Count("id"),
        oldest=Min("created_at"),
        unlimited=Min("created_at", filter=Q(flow__max_concurrent_runs__isnull=True)),
    )
    leases = Execution.objects.filter(status__in=RUN_NEEDS_WORKER, lease_until__lt=now)
    lost = leases.aggregate(count=Count("id"), first=Min("lease_until"))
    waits = Execution.objects.filter(free, status=RunStatus.WAITING, wake_at__lt=now)
    overdue = waits.aggregate(count=Count("id"), first=Min("wake_at"))
    return QueueFigures(
        depth=queued["depth"],
        oldest_seconds=_age(queued["oldest"], now),
        oldest_unlimited_seconds=_age(queued["unlimited"], now),
        lost=lost["count"],
        lost_seconds=_age(lost["first"], now),
        overdue=overdue["count"],
        overdue_seconds=_age(overdue["first"], now),
    )


def _age(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else max(0.0, (now - since).total_seconds())


def _ended(now: datetime) -> dict[int, dict[str, int]]:
    since = {minutes: now - timedelta(minutes=minutes) for minutes in WINDOWS}
    counts: Any = {f"last{m}": Count("id", filter=Q(finished_at__gt=begin)) for m, begin in since.items()}
    ended = Execution.objects.filter(finished_at__gt=since[max(WINDOWS)], finished_at__lte=now)
    # Grouped by a text of its own: SQLite would read all runs along `execution_by_status`, for the sake of its order.
    grouped: Any = ended.order_by().values(ended_as=Concat("status", Value(""))).annotate(**counts)
    rows: list[dict[str, Any]] = list(grouped)
    return {m: {row["ended_as"]: row[f"last{m}"] for row in rows if row[f"last{m}"]} for m in WINDOWS}


def _database() -> DatabaseFigures:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_database_size(current_database())")
            size = int(cursor.fetchone()[0])
            return DatabaseFigures(vendor="PostgreSQL", bytes=size, tables=_tables(cursor))
        cursor.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        return DatabaseFigures(vendor="SQLite", bytes=int(cursor.fetchone()[0]))


def _tables(cursor: Any) -> tuple[TableFigures, ...]:
    models = (Execution, NodeExecution, ExecutionEvent)
    names = {model._meta.db_table: str(model._meta.verbose_name_plural) for model in models}
    cursor.execute(
        "SELECT relname, nullif(reltuples, -1)::bigint, pg_total_relation_size(oid) FROM pg_class "
        "WHERE oid = ANY (SELECT to_regclass(name) FROM unnest(%s::text[]) AS name)",
        [list(names)],
    )
    known = {table: (rows, size) for table, rows, size in cursor.fetchall()}
    return tuple(TableFigures(name=names[table], rows=known[table][0], bytes=known[table][1]) for table in names)


def _layer() -> LayerFigures:
    layer = get_channel_layer()
    if layer is None or type(layer) is InMemoryChannelLayer:
        return LayerFigures(name="none", joins_processes=False)
    hosts = settings.CHANNEL_LAYERS["default"].get("CONFIG", {}).get("hosts", [])
    urls = (host.get("address") if isinstance(host, dict) else host for host in hosts)
    faults = (_redis_fault(url) for url in urls if isinstance(url, str))
    return LayerFigures(name=type(layer).__name__, joins_processes=True, fault=next(filter(None, faults), ""))


def _redis_fault(url: str) -> str:
    """Why Redis does not answer; empty when it does."""
    try:
        with redis.Redis.from_url(
            url, socket_timeout=LAYER_SECONDS, socket_connect_timeout=LAYER_SECONDS, retry=None
        ) as client:
            client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return str(error) or type(error).__name__
    return ""


def _jobs() -> Mapping[str, int] | None:
    """Jobs that have ended are deleted; those that have not are found along an index."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT status, count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing') GROUP BY status"
        )
        return {"todo": 0, "doing": 0} | {str(status): int(count) for status, count in cursor.fetchall()}
