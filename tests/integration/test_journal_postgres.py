"""The journal's one statement on PostgreSQL: locks, odd texts, and connections that end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import DataError, OperationalError, connection, transaction

from executions import claims
from executions.engine.ports import Entry, HeadRow, JournalRefused
from executions.journal import reader
from executions.journal.batch import RunWrite
from executions.journal.postgres import APPLICATION_NAME, PostgresDatabase
from executions.journal.writer import JournalWriter, RunJournal
from executions.models import Command, Execution, ExecutionEvent, NodeExecution
from executions.statuses import NodeStatus, RunStatus
from tests.integration.execution_data import make_flow
from tests.integration.flow_data import graph_of, make_user
from tests.servers import wait_until
from tests.services import test_environment as service_environment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.services_only]

NOW = datetime(2026, 11, 22, 16, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def runs() -> list[Execution]:
    """Three runs as a worker has taken them, in the order of their ids."""
    flow = make_flow(make_user("author"), graph_of(0))
    return [
        Execution.objects.create(flow=flow, flow_version=flow.versions.get(), mode="api", epoch=1, lease_owner="me")
        for _ in range(3)
    ]


@pytest.fixture
def other() -> Iterator[psycopg.Connection[Any]]:
    """A connection of someone else."""
    with closing(psycopg.connect(service_environment()["DATABASE_URL"])) as other:
        yield other


@pytest.fixture
def journal_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as thread:
        yield thread


def entry(seq: int, data: bytes = b"{}", **fields: Any) -> Entry:
    return Entry(seq, "nodeExecutionProgress", data, NOW, **fields)


def node(node_id: str = "a", *, status: NodeStatus = NodeStatus.SUCCESS, output: bytes | None = b"{}") -> Any:
    return (node_id, 1, status, NOW, NOW, b"{}", output, b'{"main":1}', None, None, NOW + timedelta(hours=1), None)


def write(run: Execution, *entries: Entry, epoch: int = 1, before: int = 0) -> RunWrite:
    return RunWrite(run.pk, epoch, before, entries)


def commit(*writes: RunWrite) -> list[RunWrite]:
    """In the thread that calls, with a connection of its own."""
    database = PostgresDatabase(connection)
    try:
        return database.commit(writes)
    finally:
        database.close()


def events_of(run: Execution) -> list[tuple[int, str]]:
    return list(ExecutionEvent.objects.filter(execution=run).order_by("seq").values_list("seq", "data"))


def is_waiting(count: int = 1) -> Callable[[], bool]:
    def look() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE NOT granted AND datname = current_database()"
            )
            return bool(cursor.fetchone()[0] == count)

    return look


# All columns


def test_every_column_is_written_and_what_is_not_given_stays(runs: list[Execution]) -> None:
    run, bystander, _ = runs
    command = Command.objects.create(execution=run, kind="pause")
    later = Command.objects.create(execution=run, kind="resume")
    head = HeadRow(status=RunStatus.RUNNING, started_at=NOW)
    assert commit(write(run, entry(1, b'{"a":"\xc3\xa4\\n\\u0000"}', node=node(), head=head, obeyed=command.pk))) == []
    run.refresh_from_db()
    assert (run.last_seq, run.status, run.started_at, run.wake_at, run.lease_owner) == (1, "running", NOW, None, "me")
    row = NodeExecution.objects.get(execution=run)
    assert (row.node_id, row.attempt, row.status, row.started_at, row.finished_at) == ("a", 1, "success", NOW, NOW)
    assert (row.input, row.output, row.item_counts, row.error) == ({}, {}, {"main": 1}, None)
    assert (row.retry_at, row.wait_until, row.progress) == (None, NOW + timedelta(hours=1), None)
    assert events_of(run) == [(1, '{"a":"ä\\n\\u0000"}')]
    command.refresh_from_db()
    later.refresh_from_db()
    assert command.taken_at is not None and later.taken_at is None
    assert ExecutionEvent.objects.filter(execution=bystander).count() == 0


def test_a_head_replaces_all_of_the_one_before(runs: list[Execution]) -> None:
    run = runs[0]
    waiting = HeadRow(status=RunStatus.WAITING, started_at=NOW, wake_at=NOW + timedelta(days=1))
    ended = HeadRow(status=RunStatus.ERROR, started_at=NOW, finished_at=NOW, error=b'{"type":"E"}')
    commit(write(run, entry(1, head=waiting)))
    run.refresh_from_db()
    assert (run.status, run.wake_at, run.lease_owner) == ("waiting", NOW + timedelta(days=1), "")
    commit(write(run, entry(2), before=1))
    run.refresh_from_db()
    assert (run.status, run.wake_at, run.last_seq) == ("waiting", NOW + timedelta(days=1), 2)
    commit(write(run, entry(3, head=ended), before=2))
    run.refresh_from_db()
    assert (run.status, run.wake_at, run.finished_at, run.error) == ("error", None, NOW, {"type": "E"})


def test_a_zombie_and_its_heir_in_one_commit(runs: list[Execution]) -> None:
    run = runs[0]
    Execution.objects.filter(pk=run.pk).update(epoch=2)
    zombie = write(run, entry(1, b'"zombie"', node=node("z")))
    heir = write(run, entry(1, b'"heir"', node=node("h")), epoch=2)
    assert commit(zombie, heir, write(runs[1], entry(1))) == [zombie]
    assert events_of(run) == [(1, '"heir"')]
    assert list(NodeExecution.objects.values_list("node_id", flat=True)) == ["h"]


def test_what_is_written_already_is_not_written_again(runs: list[Execution]) -> None:
    writes = [write(run, entry(1), entry(2, node=node())) for run in runs]
    assert commit(*writes[:2]) == []
    assert commit(*writes) == []  # as if the answer to the first had been lost
    for run in runs:
        assert [seq for seq, _ in events_of(run)] == [1, 2]


# Texts


def test_what_is_no_json_is_refused_and_cannot_pass_for_several_values(runs: list[Execution]) -> None:
    for text in (b'"\x1e"', b'"\x00"', b'"\xff"'):
        with pytest.raises((DataError, UnicodeDecodeError)):
            commit(write(runs[0], entry(1, text)), write(runs[1], entry(1)))
    assert ExecutionEvent.objects.count() == 0


# Locks


def test_a_run_whose_lease_is_just_being_renewed_is_written_behind_that(
    runs: list[Execution], other: psycopg.Connection[Any], journal_thread: ThreadPoolExecutor
) -> None:
    """Its row is another one than the statement saw when it began."""
    until = NOW + timedelta(minutes=1)
    other.execute("UPDATE executions_execution SET lease_until = %s WHERE id = %s", (until, runs[1].pk))
    writing = journal_thread.submit(commit, *(write(run, entry(1, node=node())) for run in runs))
    wait_until(is_waiting())
    other.commit()
    assert writing.result(10) == []
    for run in runs:
        run.refresh_from_db()
        assert (run.last_seq, [seq for seq, _ in events_of(run)]) == (1, [1])
    assert runs[1].lease_until == until
    assert NodeExecution.objects.count() == 3


def test_a_run_that_is_just_being_taken_over_is_lost(
    runs: list[Execution], other: psycopg.Connection[Any], journal_thread: ThreadPoolExecutor
) -> None:
    other.execute("UPDATE executions_execution SET epoch = 2 WHERE id = %s", (runs[1].pk,))
    writes = [write(run, entry(1, node=node())) for run in runs]
    writing = journal_thread.submit(commit, *writes)
    wait_until(is_waiting())
    other.commit()
    assert writing.result(10) == [writes[1]]
    assert [[seq for seq, _ in events_of(run)] for run in runs] == [[1], [], [1]]
    assert NodeExecution.objects.filter(execution=runs[1]).count() == 0


def test_runs_are_locked_in_the_order_of_their_ids(
    runs: list[Execution], other: psycopg.Connection[Any], journal_thread: ThreadPoolExecutor
) -> None:
    """Two transactions with many runs then wait one for the other, and never each for the other."""
    first, _, last = sorted(runs, key=lambda run: run.pk)
    other.execute("SELECT 1 FROM executions_execution WHERE id = %s FOR NO KEY UPDATE", (first.pk,))
    writing = journal_thread.submit(commit, write(last, entry(1)), write(first, entry(1)))
    wait_until(is_waiting())
    other.execute("SELECT 1 FROM executions_execution WHERE id = %s FOR NO KEY UPDATE NOWAIT", (last.pk,))
    renewing = threading.Thread(target=_renew, args=[[last.pk, first.pk]])
    renewing.start()
    wait_until(is_waiting(2))
    other.commit()
    assert writing.result(10) == []
    renewing.join(10)
    assert Execution.objects.filter(lease_until__isnull=False).count() == 2


def _renew(execution_ids: Sequence[UUID]) -> None:
    claims.renew("me", execution_ids)
    connection.close()


# Reading


def test_events_are_read_in_order_wherever_they_lie(runs: list[Execution]) -> None:
    for seq in (3, 1, 2):
        ExecutionEvent.objects.create(execution=runs[0], seq=seq, type="event", data="{}", created_at=NOW)
    with transaction.atomic(), connection.cursor() as cursor:
        # As they lie, and not along an index that has them in order anyway.
        for way in ("indexscan", "indexonlyscan", "bitmapscan"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
        assert [event.seq for event in reader.events_after(runs[0].pk, 0)] == [1, 2, 3]
        assert [event.seq for event in reader.events_after(runs[0].pk, 1, limit=1)] == [2]


# Connections that end


def end_connections() -> int:
    """End the journals' connections to this database, as a restart of the server does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = %s",
            [APPLICATION_NAME],
        )
        return int(cursor.fetchone()[0])


async def test_a_writer_whose_connection_ended_has_a_new_one(runs: list[Execution]) -> None:
    published: list[int] = []

    def publish(run: RunJournal, entries: Sequence[Entry]) -> None:
        published.extend(entry.seq for entry in entries)

    writer = JournalWriter(publish)
    journal = writer.open(runs[0].pk, 1, 0)
    for seq in range(1, 6):
        journal.append([entry(seq)])
        await asyncio.wait_for(journal.committed(seq), 10)
        assert await asyncio.to_thread(_in_thread, end_connections) >= 1
    await asyncio.to_thread(writer.close)
    assert published == [1, 2, 3, 4, 5]
    assert [seq for seq, _ in await asyncio.to_thread(_in_thread, events_of, runs[0])] == [1, 2, 3, 4, 5]


async def test_connections_that_end_all_the_time_lose_and_double_nothing(runs: list[Execution]) -> None:
    """Some end between the commit and its answer."""
    published: dict[UUID, list[int]] = {run.pk: [] for run in runs}

    def publish(run: RunJournal, entries: Sequence[Entry]) -> None:
        published[run.execution_id].extend(entry.seq for entry in entries)

    writer = JournalWriter(publish)
    journals = [writer.open(run.pk, 1, 0) for run in runs]
    done = threading.Event()
    ending = asyncio.create_task(asyncio.to_thread(_in_thread, _end_until, done))
    for seq in range(1, 201):
        for journal in journals:
            journal.append([entry(seq, node=node(f"n{seq}"))])
        await asyncio.wait_for(journals[0].committed(max(1, seq - 20)), 20)
    for journal in journals:
        await asyncio.wait_for(journal.committed(200), 20)
    done.set()
    assert await ending >= 5
    await asyncio.to_thread(writer.close)
    assert list(published.values()) == [list(range(1, 201))] * 3
    for run in runs:
        written = await asyncio.to_thread(_in_thread, events_of, run)
        assert [seq for seq, _ in written] == list(range(1, 201))


def _end_until(done: threading.Event) -> int:
    ended = 0
    while not done.wait(0.02) or ended < 5:
        ended += end_connections()
    return ended


def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    finally:
        connection.close()


async def test_what_is_too_large_for_the_database_is_refused_and_not_tried_for_ever(
    runs: list[Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PostgresDatabase.commit

    def limited(database: PostgresDatabase, writes: Sequence[RunWrite]) -> list[RunWrite]:
        if any(write.execution_id == runs[0].pk for write in writes):
            error = OperationalError("invalid memory alloc request size")
            error.__cause__ = psycopg.errors.ProgramLimitExceeded("invalid memory alloc request size")
            raise error
        return original(database, writes)

    monkeypatch.setattr(PostgresDatabase, "commit", limited)
    writer = JournalWriter(lambda run, entries: None)
    journals = [writer.open(run.pk, 1, 0) for run in runs]
    for journal in journals:
        journal.append([entry(1)])
    with pytest.raises(JournalRefused):
        await asyncio.wait_for(journals[0].committed(1), 10)
    for journal in journals[1:]:
        await asyncio.wait_for(journal.committed(1), 10)
    await asyncio.to_thread(writer.close)
