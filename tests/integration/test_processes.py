"""Signs of life: what each process says of itself, and what becomes of its row in each of its ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from executions import processes, runtime
from executions.database_clock import database_now
from executions.dispatch import start_execution
from executions.models import Mode, Process
from executions.processes import Figures
from tests.integration.execution_data import make_flow, wait_for_status
from tests.integration.flow_data import make_user
from tests.integration.scripted_nodes import Gate, Scripts, scripted_chain
from tests.servers import StartServer, wait_until

pytestmark = pytest.mark.usefixtures("executor")


@pytest.fixture(autouse=True)
def quick_heart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(processes, "BEAT", 0.02)
    yield
    processes.end()


@pytest.fixture
def author(executor: None) -> User:
    return make_user("author")


def row() -> Process | None:
    return Process.objects.first()


def test_a_process_says_what_it_is_and_does_and_takes_its_row_away() -> None:
    figures = Figures(
        name="a:1:x", executes=True, capacity=7, held=2, readers=3, backlog=4, commits=5, commit_p50_ms=1.5
    )
    processes.begin(Process.Role.WORKER, lambda: figures)
    wait_until(lambda: row() is not None)
    found = Process.objects.get()
    assert (found.name, found.role, found.pid, found.executes) == ("a:1:x", "worker", os.getpid(), True)
    assert (found.capacity, found.held, found.readers, found.backlog, found.commits) == (7, 2, 3, 4, 5)
    assert (found.commit_p50_ms, found.commit_p99_ms) == (1.5, None)
    assert timedelta(0) <= datetime.now(UTC) - found.started_at < timedelta(minutes=1)
    processes.end()
    assert row() is None


def test_each_beat_brings_what_is_new_and_keeps_the_start() -> None:
    held = 0
    processes.begin(Process.Role.WEB, lambda: Figures(name="a:1:x", held=held))
    wait_until(lambda: row() is not None)
    first = Process.objects.get()
    held = 9
    wait_until(lambda: Process.objects.get().held == 9)
    later = Process.objects.get()
    assert later.started_at == first.started_at and later.seen_at > first.seen_at


def test_a_second_begin_changes_nothing_and_an_end_without_one_neither() -> None:
    processes.end()
    processes.begin(Process.Role.WEB, lambda: Figures(name="a:1:x"))
    processes.begin(Process.Role.WORKER, lambda: Figures(name="b:2:y"))
    wait_until(lambda: row() is not None)
    assert [thread.name for thread in threading.enumerate()].count("heart") == 1
    assert Process.objects.get().name == "a:1:x"


def test_a_new_name_replaces_the_row_of_the_old_one() -> None:
    names = ["a:1:x"]
    processes.begin(Process.Role.WEB, lambda: Figures(name=names[-1]))
    wait_until(lambda: Process.objects.filter(name="a:1:x").exists())
    names.append("a:1:y")
    wait_until(lambda: list(Process.objects.values_list("name", flat=True)) == ["a:1:y"])


def test_rows_of_processes_that_have_been_gone_for_a_day_are_deleted_and_later_ones_kept() -> None:
    now = datetime.now(UTC)
    for name, hours in (("gone", 25), ("late", 23)):
        seen_at = now - timedelta(hours=hours)
        Process.objects.create(name=name, role="worker", host="h", pid=1, started_at=seen_at, seen_at=seen_at)
    processes.begin(Process.Role.WEB, lambda: Figures(name="a:1:x"))
    wait_until(lambda: set(Process.objects.values_list("name", flat=True)) == {"late", "a:1:x"})


def test_it_goes_on_when_the_database_is_back_and_says_once_that_it_was_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0
    now = database_now

    def away() -> datetime:
        nonlocal tries
        tries += 1
        if tries < 5:
            raise OperationalError("connection refused")
        return now()

    monkeypatch.setattr(processes, "database_now", away)
    processes.begin(Process.Role.WEB, lambda: Figures(name="a:1:x"))
    wait_until(lambda: row() is not None)
    said = [record for record in caplog.records if "the database is not there" in record.message]
    assert tries >= 5 and len(said) == 1


def test_a_fault_in_what_is_counted_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def figures() -> Figures:
        calls.append(1)
        return Figures(name=["a:1:x"][0 if len(calls) > 1 else 1])

    processes.begin(Process.Role.WEB, figures)
    wait_until(lambda: row() is not None)
    assert "no sign of life could be given" in caplog.text


# What this process says of itself


def test_a_web_process_with_the_embedded_executor_tells_of_its_runs_and_commits(author: User, scripts: Scripts) -> None:
    gate = scripts["a"] = Gate()
    run = start_execution(make_flow(author, scripted_chain("a")), input_data={}, requester=author, mode=Mode.API)
    gate.wait_entered()
    figures = runtime.figures()
    assert figures.executes and (figures.held, figures.capacity) == (1, 500)
    run.refresh_from_db()
    assert figures.name == run.lease_owner, "leases and rows are joined by it"
    gate.open()
    wait_for_status(run.pk)
    later = runtime.figures()
    assert later.commits > 0 and later.backlog >= 0
    assert later.commit_p50_ms is not None and later.commit_p99_ms is not None
    assert 0 < later.commit_p50_ms <= later.commit_p99_ms


def test_the_row_goes_when_the_process_is_shut_down() -> None:
    processes.begin(Process.Role.WEB, runtime.figures)
    wait_until(lambda: row() is not None)
    runtime.shutdown()
    assert row() is None and not any(thread.name == "heart" for thread in threading.enumerate())


def test_a_process_without_an_executor_executes_nothing_and_keeps_its_name() -> None:
    first, second = runtime.figures(), runtime.figures()
    assert not first.executes and first.capacity == 0 and first.name == second.name
    assert first.name.split(":")[1] == str(os.getpid())


def test_a_server_has_a_row_while_it_lives(project_server: StartServer) -> None:
    server = project_server()
    wait_until(lambda: Process.objects.filter(pid=server.pid).exists(), 20, lambda: f"its row; {server.log()}")
    found = Process.objects.get(pid=server.pid)
    assert found.role == "web" and found.executes
    server.terminate()
    assert not Process.objects.filter(pid=server.pid).exists()
