"""The journal's transaction on SQLite, and rows written many to a statement.

Many rows to a statement: each statement gives the interpreter lock up once, and while the engine computes, getting it
back can take a switch interval (5 ms). Row by row, a thousand rows would wait a thousand times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from executions.engine.ports import NodeValues
from executions.journal.batch import HOLDS_NO_WORKER, RunWrite
from executions.journal.transactions import write_transaction
from executions.models import Command, Execution, ExecutionEvent, NodeExecution

EVENTS = ExecutionEvent._meta.db_table
NODES = NodeExecution._meta.db_table
RUNS = Execution._meta.db_table

NODE_COLUMNS = (
    "node_id", "attempt", "status", "started_at", "finished_at",
    "input", "output", "item_counts", "error", "retry_at", "wait_until", "progress",
)  # fmt: skip
EVENT_COLUMNS = ("execution_id", "seq", "type", "data", "created_at")

MAX_PARAMETERS = 32_000
"""SQLite takes 32,766 to a statement."""

ANY_LENGTH = 32
"""Up to so many rows, a statement is as long as it needs to be."""


def plain_cursor(connection: BaseDatabaseWrapper) -> CursorWrapper:
    """A cursor that keeps no log of its statements: with DEBUG on, the ordinary one formats and keeps each of them, and
    those of the journal are long and without end."""
    connection.ensure_connection()
    with connection.wrap_database_errors:
        return connection.make_cursor(connection.create_cursor())


class Statements:
    """Writes rows through one connection."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        ops = connection.ops
        self._moment = ops.adapt_datetimefield_value
        updates = ", ".join(f"{column} = excluded.{column}" for column in NODE_COLUMNS[2:])
        self._insert_events = f"INSERT INTO {EVENTS} ({', '.join(EVENT_COLUMNS)}) VALUES "  # noqa: S608
        self._upsert_nodes = f"INSERT INTO {NODES} (execution_id, {', '.join(NODE_COLUMNS)}) VALUES "  # noqa: S608
        self._on_conflict = f" ON CONFLICT (execution_id, node_id, attempt) DO UPDATE SET {updates}"

    def key(self, execution_id: UUID) -> Any:
        """The id as this database stores it."""
        return Execution._meta.pk.get_db_prep_value(execution_id, self._connection)

    def advance(self, cursor: CursorWrapper, key: Any, write: RunWrite) -> bool:
        """The fence: move the run's head, if the run is still held at this epoch; False when it is not."""
        changes: dict[str, Any] = {"last_seq": write.last}
        if (head := write.head) is not None:
            changes |= {
                "status": head.status.value,
                "started_at": self._moment(head.started_at),
                "finished_at": self._time(head.finished_at),
                "output": _text(head.output),
                "error": _text(head.error),
                "wake_at": self._time(head.wake_at),
            }
            if head.status in HOLDS_NO_WORKER:
                changes |= {"lease_owner": "", "lease_until": None}
        assignments = ", ".join(f"{column} = %s" for column in changes)
        cursor.execute(
            f"UPDATE {RUNS} SET {assignments} WHERE id = %s AND epoch = %s AND last_seq = %s",  # noqa: S608
            [*changes.values(), key, write.epoch, write.before],
        )
        return cursor.rowcount == 1

    def position(self, cursor: CursorWrapper, key: Any) -> tuple[int, int] | None:
        """Epoch and last seq of the run as they are stored; None when the run is gone."""
        cursor.execute(f"SELECT epoch, last_seq FROM {RUNS} WHERE id = %s", [key])  # noqa: S608
        row = cursor.fetchone()
        return None if row is None else (row[0], row[1])

    def insert_events(self, cursor: CursorWrapper, rows: Sequence[tuple[Any, int, str, bytes, datetime]]) -> None:
        moments: dict[datetime, Any] = {}
        values = [
            (key, seq, name, data.decode(), moments.get(at) or moments.setdefault(at, self._moment(at)))
            for key, seq, name, data, at in rows
        ]
        self._insert(cursor, self._insert_events, values, "")

    def upsert_nodes(self, cursor: CursorWrapper, rows: Sequence[tuple[Any, NodeValues]]) -> None:
        """Insert or replace attempts; no attempt may stand twice in `rows`."""
        time = self._time
        values = [
            (
                key, node_id, attempt, status.value, time(started_at), time(finished_at),
                _text(given), _text(output), _text(counts), _text(error), time(retry_at), time(wait_until),
                _text(progress),
            )
            for key, (node_id, attempt, status, started_at, finished_at,
                      given, output, counts, error, retry_at, wait_until, progress) in rows
        ]  # fmt: skip
        self._insert(cursor, self._upsert_nodes, values, self._on_conflict)

    def _insert(self, cursor: CursorWrapper, start: str, rows: list[tuple[Any, ...]], end: str) -> None:
        for chunk in _chunks(rows):
            one = "(" + ", ".join(["%s"] * len(chunk[0])) + ")"
            cursor.execute(start + ", ".join([one] * len(chunk)) + end, [value for row in chunk for value in row])

    def _time(self, moment: datetime | None) -> Any:
        return None if moment is None else self._moment(moment)


class SqliteDatabase:
    """Writes through the connection of the thread that writes, in its turn among the threads of this process."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection

    def commit(self, writes: Sequence[RunWrite]) -> list[RunWrite]:
        statements = Statements(self._connection)
        lost: list[RunWrite] = []
        events: list[tuple[Any, int, str, bytes, datetime]] = []
        nodes: list[tuple[Any, NodeValues]] = []
        with write_transaction(), plain_cursor(self._connection) as cursor:
            for write in writes:
                key = statements.key(write.execution_id)
                if not statements.advance(cursor, key, write):
                    # One that stands where it was to be brought is written: the answer to an earlier try was lost.
                    if statements.position(cursor, key) != (write.epoch, write.last):
                        lost.append(write)
                    continue
                events += [(key, entry.seq, entry.type, entry.data, entry.at) for entry in write.entries]
                nodes += [(key, node) for node in write.nodes()]
                if write.obeyed is not None:
                    _mark_obeyed(write.execution_id, write.obeyed)
            statements.insert_events(cursor, events)
            statements.upsert_nodes(cursor, nodes)
        return lost

    def close(self) -> None:
        self._connection.close()


def _mark_obeyed(execution_id: UUID, command: int) -> None:
    Command.objects.filter(execution_id=execution_id, id__lte=command, taken_at=None).update(taken_at=datetime.now(UTC))


def _text(encoded: bytes | None) -> str | None:
    return None if encoded is None else encoded.decode()


def _chunks(rows: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows in few parts, and in parts of few lengths.

    Each length is another statement, and a SQLite connection keeps the newest 128 of them prepared, with the values of
    their rows: 200 MB, if they are all long. Short ones are kept as they are, of the others come powers of two.
    """
    start = 0
    while rest := len(rows) - start:
        size = rest if rest <= ANY_LENGTH else 1 << (min(rest, MAX_PARAMETERS // len(rows[0])).bit_length() - 1)
        yield rows[start : start + size]
        start += size
