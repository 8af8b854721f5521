"""The limit: the same rows, written in as many transactions by the database's driver, with no engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from executions.journal.statements import EVENTS, NODE_COLUMNS, NODES, RUNS, Statements, plain_cursor
from executions.journal.transactions import write_transaction
from executions.models import Execution, ExecutionEvent, Mode, NodeExecution, new_execution_id
from executions.statuses import NodeStatus, RunStatus

TEXT = '{"main":[{"number":1}]}'

Rows = list[tuple[Any, ...]]


def seconds(ids: Sequence[UUID], commits: int) -> float:
    """To write copies of the rows of these runs, in so many transactions."""
    copies = _copies(ids)
    events: Rows = []
    nodes: Rows = []
    for copy, execution_id in zip(copies, ids, strict=True):
        events.extend(
            (copy.pk, event.seq, event.type, event.data, event.created_at)
            for event in ExecutionEvent.objects.filter(execution_id=execution_id)
        )
        for node in NodeExecution.objects.filter(execution_id=execution_id):
            texts = (TEXT, TEXT, '{"main":1}', None, None, None, None)
            nodes.append((copy.pk, node.node_id, 1, node.status, node.started_at, node.finished_at, *texts))
    write = _write_postgres if connection.vendor == "postgresql" else _write_sqlite
    return write([copy.pk for copy in copies], events, nodes, commits)


def _copies(ids: Sequence[UUID]) -> list[Execution]:
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
    return Execution.objects.bulk_create(copies)


def _write_sqlite(ids: Sequence[UUID], events: Rows, nodes: Rows, commits: int) -> float:
    """By the journal's own statements."""
    statements = Statements(connection)
    encoded = [(statements.key(key), seq, name, data.encode(), at) for key, seq, name, data, at in events]
    values = [(statements.key(key), _encoded(rest)) for key, *rest in nodes]
    began = time.perf_counter()
    for part in range(commits):
        with write_transaction(), plain_cursor(connection) as cursor:
            statements.insert_events(cursor, encoded[part::commits])
            statements.upsert_nodes(cursor, values[part::commits])
    return time.perf_counter() - began


def _encoded(row: Sequence[Any]) -> Any:
    node_id, attempt, status, *rest = row
    return (node_id, attempt, NodeStatus(status), *(v.encode() if isinstance(v, str) else v for v in rest))


def _write_postgres(ids: Sequence[UUID], events: Rows, nodes: Rows, commits: int) -> float:
    """By psycopg's COPY, and an update of each run in each transaction."""
    import psycopg

    columns = f"execution_id, {', '.join(NODE_COLUMNS)}"
    own = connection.copy()
    own.settings_dict["OPTIONS"].pop("pool", None)
    with psycopg.connect(**own.get_connection_params()) as raw:
        cursor = psycopg.Cursor(raw)
        began = time.perf_counter()
        for part in range(commits):
            seqs = [(part + 1, key) for key in ids]
            cursor.executemany(f"UPDATE {RUNS} SET last_seq = %s WHERE id = %s", seqs)
            with cursor.copy(f"COPY {EVENTS} (execution_id, seq, type, data, created_at) FROM STDIN") as copy:
                for row in events[part::commits]:
                    copy.write_row(row)
            with cursor.copy(f"COPY {NODES} ({columns}) FROM STDIN") as copy:
                for row in nodes[part::commits]:
                    copy.write_row(row)
            raw.commit()
        return time.perf_counter() - began
