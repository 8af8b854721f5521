"""The journal's transaction on PostgreSQL: one statement, and so one round trip, for all rows of all runs.

A column travels as one text, its values with a separator between them that JSON cannot contain; the server takes it
apart. Row by row, Python spent 80 us on the three rows of a node, and so it spends 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import psycopg
from django.db import DataError
from django.db.backends.base.base import BaseDatabaseWrapper

from executions.engine.ports import NodeValues
from executions.journal.batch import HOLDS_NO_WORKER, RunWrite
from executions.models import Command, Execution, ExecutionEvent, NodeExecution

RUNS = Execution._meta.db_table
EVENTS = ExecutionEvent._meta.db_table
NODES = NodeExecution._meta.db_table
COMMANDS = Command._meta.db_table

SEPARATOR = "\x1e"

APPLICATION_NAME = "wataomi journal"
"""How the connections of journals are known in `pg_stat_activity`."""

Columns = dict[str, str]

WRITES: Columns = {
    "number": "int", "id": "uuid", "epoch": "int", "before": "int", "last_seq": "int", "obeyed": "bigint",
    "status": "text", "started_at": "timestamptz", "finished_at": "timestamptz", "output": "text", "error": "text",
    "wake_at": "timestamptz",
}  # fmt: skip
"""What is known of each run; `number` joins its events and nodes to it."""

HEAD: Columns = {
    name: WRITES[name] for name in ("status", "started_at", "finished_at", "output", "error", "wake_at")
}  # fmt: skip

EVENT_ROWS: Columns = {"number": "int", "seq": "int", "type": "text", "data": "text", "created_at": "timestamptz"}

NODE_ROWS: Columns = {
    "number": "int", "node_id": "text", "attempt": "int", "status": "text",
    "started_at": "timestamptz", "finished_at": "timestamptz",
    "input": "text", "output": "text", "item_counts": "text", "error": "text",
    "retry_at": "timestamptz", "wait_until": "timestamptz", "progress": "text",
}  # fmt: skip


def _rows(alias: str, columns: Columns) -> str:
    """The columns as a table; what is empty in them is NULL."""
    arrays = ", ".join(f"string_to_array(%s, E'\\x1e', '')::{kind}[]" for kind in columns.values())
    return f"unnest({arrays}) AS {alias} ({', '.join(columns)})"


def _insert(table: str, columns: Columns) -> str:
    names = ", ".join(list(columns)[1:])
    return (
        f"INSERT INTO {table} (execution_id, {names}) "  # noqa: S608 - names of our own columns
        f"SELECT moved.id, {', '.join(f'given.{name}' for name in list(columns)[1:])} "
        f"FROM {_rows('given', columns)} JOIN moved ON moved.number = given.number"
    )


def _statement() -> str:
    kept = ", ".join(
        f"{name} = CASE WHEN writes.status IS NULL THEN run.{name} ELSE writes.{name} END" for name in HEAD
    )
    leaves = ", ".join(f"'{status.value}'" for status in sorted(HOLDS_NO_WORKER))
    replaced = ", ".join(f"{name} = excluded.{name}" for name in list(NODE_ROWS)[3:])
    return f"""
        WITH writes AS MATERIALIZED (SELECT * FROM {_rows("given", WRITES)}),
        held AS MATERIALIZED (
            SELECT writes.number
            FROM {RUNS} run
            JOIN writes ON run.id = writes.id AND run.epoch = writes.epoch AND run.last_seq = writes.before
            ORDER BY run.id FOR NO KEY UPDATE OF run
        ),
        moved AS (
            UPDATE {RUNS} run
            SET last_seq = writes.last_seq, {kept},
                lease_owner = CASE WHEN writes.status IN ({leaves}) THEN '' ELSE run.lease_owner END,
                lease_until = CASE WHEN writes.status IN ({leaves}) THEN NULL ELSE run.lease_until END
            FROM writes JOIN held ON held.number = writes.number
            WHERE run.id = writes.id AND run.epoch = writes.epoch AND run.last_seq = writes.before
            RETURNING writes.number, run.id
        ),
        events AS ({_insert(EVENTS, EVENT_ROWS)}),
        nodes AS (
            {_insert(NODES, NODE_ROWS)} ON CONFLICT (execution_id, node_id, attempt) DO UPDATE SET {replaced}
        ),
        obeyed AS (
            UPDATE {COMMANDS} command SET taken_at = clock_timestamp()
            FROM writes JOIN moved ON moved.number = writes.number
            WHERE command.execution_id = moved.id AND command.id <= writes.obeyed AND command.taken_at IS NULL
        )
        SELECT number FROM moved
    """  # noqa: S608 - names of our own tables and columns


STATEMENT = _statement()
SESSION = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off"
"""The statement is planned once, and for tables of any size: to plan it took longer than to execute it for one run."""

POSITIONS = f"SELECT id, epoch, last_seq FROM {RUNS} WHERE id = ANY(%s)"  # noqa: S608


class PostgresDatabase:
    """Writes through a connection of its own: the journal must not wait until the pool has one to spare."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection.copy()
        options = self._connection.settings_dict["OPTIONS"]
        options.pop("pool", None)
        options["application_name"] = APPLICATION_NAME
        options["prepare_threshold"] = 0

    def commit(self, writes: Sequence[RunWrite]) -> list[RunWrite]:
        parameters = _parameters(writes)
        with self._connection.wrap_database_errors, psycopg.Cursor(self._connected()) as cursor:
            moved = {number for (number,) in cursor.execute(STATEMENT, parameters)}
            if len(moved) == len(writes):
                return []
            left = [write for number, write in enumerate(writes) if number not in moved]
            cursor.execute(POSITIONS, [[write.execution_id for write in left]])
            positions = {row[0]: (row[1], row[2]) for row in cursor}
        # One that stands where it was to be brought is written: the answer to an earlier try was lost.
        return [write for write in left if positions.get(write.execution_id) != (write.epoch, write.last)]

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection.connection is None:
            self._connection.ensure_connection()
            with self._connection.cursor() as cursor:
                cursor.execute(SESSION)
        connection: psycopg.Connection[Any] = self._connection.connection
        return connection

    def close(self) -> None:
        self._connection.close()


class _Times(dict[datetime | None, str]):
    """Moments as text; many rows have the same ones."""

    def __missing__(self, moment: datetime | None) -> str:
        text = self[moment] = "" if moment is None else moment.isoformat()
        return text


def _parameters(writes: Sequence[RunWrite]) -> list[str]:
    times = _Times()
    return [*_write_columns(writes, times), *_event_columns(writes, times), *_node_columns(writes, times)]


def _write_columns(writes: Sequence[RunWrite], times: _Times) -> Iterable[str]:
    yield _join(map(str, range(len(writes))))
    yield _join([str(write.execution_id) for write in writes])
    yield _join([str(write.epoch) for write in writes])
    yield _join([str(write.before) for write in writes])
    yield _join([str(write.last) for write in writes])
    yield _join([_number(write.obeyed) for write in writes])
    heads = [write.head for write in writes]
    yield _join([head.status.value if head else "" for head in heads])
    yield _join([times[head.started_at] if head else "" for head in heads])
    yield _join([times[head.finished_at] if head else "" for head in heads])
    yield _texts([head.output if head else None for head in heads])
    yield _texts([head.error if head else None for head in heads])
    yield _join([times[head.wake_at] if head else "" for head in heads])


def _event_columns(writes: Sequence[RunWrite], times: _Times) -> Iterable[str]:
    entries = [entry for write in writes for entry in write.entries]
    yield _join([number for index, write in enumerate(writes) for number in [str(index)] * len(write.entries)])
    yield _join([str(entry.seq) for entry in entries])
    yield _join([entry.type for entry in entries])
    yield _texts([entry.data for entry in entries])
    yield _join([times[entry.at] for entry in entries])


def _node_columns(writes: Sequence[RunWrite], times: _Times) -> Iterable[str]:
    rows: list[NodeValues] = []
    numbers: list[str] = []
    for index, write in enumerate(writes):
        nodes = write.nodes()
        rows += nodes
        numbers += [str(index)] * len(nodes)
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * (len(NODE_ROWS) - 1)
    yield _join(numbers)
    for column, (name, kind) in zip(columns, list(NODE_ROWS.items())[1:], strict=True):
        if kind == "timestamptz":
            yield _join([times[moment] for moment in column])
        elif name in ("node_id", "status"):
            yield _join(column)
        elif kind == "int":
            yield _join(map(str, column))
        else:
            yield _texts(column)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _join(values: Iterable[str]) -> str:
    return SEPARATOR.join(values)


def _texts(values: Sequence[bytes | None]) -> str:
    """A column of JSON. Raises DataError for what is none: it could pass for several values."""
    joined = b"\x1e".join([value or b"" for value in values]).decode()
    if joined.count(SEPARATOR) > max(0, len(values) - 1):
        raise DataError("A text with the control character U+001E is not JSON.")
    return joined
