"""A PostgreSQL that goes away and comes back: what the journal holds is written once, and the pool finds it again."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from executions.database_threads import DatabaseThreads
from executions.engine.ports import Entry
from executions.journal import writer as writer_module
from executions.journal.batch import RunWrite
from executions.journal.postgres import PostgresDatabase
from executions.journal.writer import JournalWriter, RunJournal
from executions.models import Execution
from tests.faults.services import Postgres, ServiceMissing, program, running
from tests.integration.execution_data import make_flow
from tests.integration.flow_data import graph_of, make_user
from tests.services import test_environment as service_environment

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.services_only]

NAME = "wataomi"
NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)


@pytest.fixture
def runs() -> list[Execution]:
    flow = make_flow(make_user("author"), graph_of(0))
    return [
        Execution.objects.create(flow=flow, flow_version=flow.versions.get(), mode="api", epoch=1, lease_owner="me")
        for _ in range(3)
    ]


@pytest.fixture
def postgres(runs: list[Execution]) -> Iterator[Postgres]:
    """A server of our own, with a copy of the test's database."""
    try:
        program("initdb")
    except ServiceMissing as error:
        pytest.skip(str(error))
    with running(Postgres) as server:
        server.create(NAME)
        source = service_environment()["DATABASE_URL"]
        dump = subprocess.run([program("pg_dump"), source], check=True, capture_output=True).stdout
        subprocess.run([program("psql"), "-q", server.url(NAME)], input=dump, check=True, capture_output=True)
        yield server


def wrapper_of(server: Postgres) -> Any:
    wrapper = connection.copy(alias="own")
    wrapper.settings_dict |= {"HOST": "127.0.0.1", "PORT": server.port, "NAME": NAME, "USER": "postgres"}
    return wrapper


class Watched(PostgresDatabase):
    """Says when a try to write has failed."""

    failed = threading.Event()

    def commit(self, writes: Sequence[RunWrite]) -> list[RunWrite]:
        try:
            return super().commit(writes)
        except OperationalError:
            self.failed.set()
            raise


@pytest.mark.parametrize("how", [Postgres.FAST, Postgres.IMMEDIATE])
async def test_what_runs_emit_while_the_server_is_away_is_written_once(
    runs: list[Execution], postgres: Postgres, monkeypatch: pytest.MonkeyPatch, how: Any
) -> None:
    published: dict[UUID, list[int]] = {run.pk: [] for run in runs}

    def publish(run: RunJournal, entries: Sequence[Entry]) -> None:
        published[run.execution_id].extend(entry.seq for entry in entries)

    monkeypatch.setattr(writer_module, "open_database", lambda: Watched(wrapper_of(postgres)))
    writer = JournalWriter(publish)
    journals = [writer.open(run.pk, 1, 0) for run in runs]
    emitted = 0
    for _ in range(2):
        Watched.failed.clear()
        stopping = asyncio.create_task(asyncio.to_thread(postgres.stop, how))
        while not Watched.failed.is_set():  # a commit is under way when the server goes
            emitted += 1
            for journal in journals:
                journal.append([Entry(emitted, "nodeExecutionProgress", b"{}", NOW)])
            await asyncio.sleep(0.002)
        await stopping
        await asyncio.to_thread(postgres.start)
        for journal in journals:
            await asyncio.wait_for(journal.committed(emitted), 15)
    await asyncio.to_thread(writer.close)
    seqs = list(range(1, emitted + 1))
    assert list(published.values()) == [seqs] * 3
    with postgres.connect(NAME) as look:
        for run in runs:
            rows = look.execute(
                "SELECT seq FROM executions_executionevent WHERE execution_id = %s ORDER BY 1", [run.pk]
            )
            assert [seq for (seq,) in rows] == seqs


def test_the_pool_finds_a_server_that_is_back(postgres: Postgres) -> None:
    wrapper = wrapper_of(postgres)
    others = [wrapper.copy() for _ in range(4)]
    for each in (wrapper, *others):
        each.ensure_connection()
    for each in (wrapper, *others):
        each.close()  # five of them wait in the pool
    postgres.restart(Postgres.FAST)
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT 1")  # in none that the restart has ended
    wrapper.close()
    postgres.stop(Postgres.FAST)
    for _ in range(2):
        with pytest.raises(OperationalError):
            wrapper.ensure_connection()
    postgres.start()
    back = time.monotonic()
    while wrapper.connection is None and time.monotonic() - back < 10:
        try:
            wrapper.ensure_connection()
        except OperationalError:
            continue
    assert wrapper.connection is not None
    assert time.monotonic() - back < 6
    wrapper.close()
    wrapper.close_pool()


async def test_threads_that_wait_hold_no_connection() -> None:
    threads = DatabaseThreads("test", 3)
    used: dict[int, BaseDatabaseWrapper] = {}

    def ask() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.01)")
        used[threading.get_ident()] = connections[DEFAULT_DB_ALIAS]

    await asyncio.gather(*(threads.run(ask) for _ in range(12)))
    threads.close()
    assert len(used) == 3
    assert [wrapper.connection for wrapper in used.values()] == [None] * 3
