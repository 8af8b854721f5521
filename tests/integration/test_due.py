"""What should go on and is held by nobody is found, however much of something else has to wait."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from executions import claims, control, due, limits, runtime
from executions.dispatch import start_execution
from executions.models import Execution, Mode
from flows.models import Flow
from tests.integration.execution_data import make_flow
from tests.integration.flow_data import graph_of, make_user
from tests.integration.test_worker import Nowhere


@pytest.fixture
def author(transactional_db: None) -> Iterator[User]:
    """Of runs that nobody executes."""
    runtime.use(Nowhere())
    yield make_user("author")
    runtime.shutdown()


def start(flow: Flow) -> Execution:
    return start_execution(flow, input_data={}, requester=flow.owner, mode=Mode.API)


def waited(flow: Flow, minutes: int) -> Execution:
    """A run whose wait has been over for so long."""
    run = start(flow)
    over = timezone.now() - timedelta(minutes=minutes)
    Execution.objects.filter(pk=run.pk).update(status="waiting", wake_at=over, epoch=1)
    return run


def brought() -> list[UUID]:
    return due.woken() + limits.next_in_line()


def test_runs_that_wait_for_a_place_do_not_hide_one_that_needs_none(
    author: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "AT_ONCE", 2)
    limited = make_flow(author, graph_of(0), max_concurrent_runs=1)
    for _ in range(3):
        waited(limited, 10)
    free = waited(make_flow(author, graph_of(0), name="Free"), 1)
    assert free.pk in brought()


def test_of_a_flow_with_a_limit_as_many_are_woken_as_have_a_place(author: User) -> None:
    flow = make_flow(author, graph_of(0), max_concurrent_runs=2)
    in_line = start(flow)
    later, first = waited(flow, 5), waited(flow, 10)
    assert brought() == [first.pk, later.pk]
    assert len(claims.claim([first.pk], "worker")) == 1
    assert brought() == [later.pk]
    Execution.objects.filter(pk=later.pk).update(wake_at=timezone.now() + timedelta(hours=1))
    assert brought() == [in_line.pk]


def test_a_run_that_its_worker_could_not_let_go_of_gives_its_place_back(author: User) -> None:
    flow = make_flow(author, graph_of(0), max_concurrent_runs=1)
    run, second = start(flow), start(flow)
    (held,) = claims.claim([run.pk], "dead")
    Execution.objects.filter(pk=run.pk).update(status="paused")
    claims.let_go_of_idle()
    assert limits.free_places(flow) == 0, "the lease is not over yet"
    claims.end_leases_of("dead")
    claims.let_go_of_idle()
    assert limits.next_in_line() == [second.pk]
    claims.park(run.pk, held.epoch, newest_command=0)
    run.refresh_from_db()
    assert (run.lease_owner, run.epoch) == ("", held.epoch + 1), "its old worker cannot write to it"
    control.resume(run, None)
    assert len(claims.claim([second.pk], "heir")) == 1
    assert claims.claim([run.pk], "heir") == [], "it waits for a place like any other"


def test_a_run_that_is_executed_is_not_let_go_of(author: User) -> None:
    run = start(make_flow(author, graph_of(0)))
    claims.claim([run.pk], "dead")
    Execution.objects.filter(pk=run.pk).update(status="running")
    claims.end_leases_of("dead")
    claims.let_go_of_idle()
    run.refresh_from_db()
    assert (run.lease_owner, run.epoch) == ("dead", 1)


def test_commands_that_cannot_be_obeyed_yet_do_not_hide_others(author: User) -> None:
    flow = make_flow(author, graph_of(0))
    stuck, other, held = start(flow), start(flow), start(flow)
    claims.claim([held.pk], "worker")
    for run in (stuck, other):
        Execution.objects.filter(pk=run.pk).update(status="paused")
        control.resume(run, None)
    control.cancel(other, None)
    control.pause(held, None)
    found = due.pending_commands("worker")
    assert [(command.execution_id, command.kind) for command in found] == [
        (held.pk, "pause"),
        (other.pk, "cancel"),
        (stuck.pk, "resume"),
        (other.pk, "resume"),
    ]
    without = due.pending_commands("worker", [command.id for command in found if command.execution_id == stuck.pk])
    assert [command.execution_id for command in without] == [held.pk, other.pk, other.pk]
    assert due.pending_commands("worker", [found[0].id])[0] == found[0]


def test_a_signal_for_a_paused_run_asks_nothing_of_a_worker_until_it_is_resumed(author: User) -> None:
    run = start(make_flow(author, graph_of(0)))
    Execution.objects.filter(pk=run.pk).update(status="paused")
    run.commands.create(kind="signal", node_id="start", data={})
    assert due.pending_commands("worker") == []
    control.resume(run, None)
    assert [command.kind for command in due.pending_commands("worker")] == ["resume"]
    (held,) = claims.claim([run.pk], "worker")
    assert [kind for kind, *_ in held.commands] == ["signal", "resume"]


def test_a_run_in_line_is_paused_without_a_place(author: User) -> None:
    flow = make_flow(author, graph_of(0), max_concurrent_runs=1)
    first, paused, resumed = start(flow), start(flow), start(flow)
    claims.claim([first.pk], "worker")
    control.pause(paused, None)
    control.pause(resumed, None)
    resumed.commands.create(kind="resume")
    assert [held.execution_id for held in claims.claim([paused.pk, resumed.pk], "worker")] == [paused.pk]


def test_the_queue_is_given_runs_in_one_order_by_all_workers(author: User) -> None:
    flow = make_flow(author, graph_of(0))
    runs = [start(flow).pk for _ in range(5)]
    Execution.objects.filter(pk=runs[0]).update(status="error")  # PostgreSQL writes it behind the others
    assert list(due.priorities(runs[::-1])) == runs


def test_looking_for_what_is_due_costs_no_more_queries_with_more_runs(author: User) -> None:
    flow = make_flow(author, graph_of(0), max_concurrent_runs=1)
    counts = []
    for _ in range(2):
        for _ in range(3):
            start(flow), waited(flow, 1)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            brought()
        counts.append(len(queries))
    assert counts[0] == counts[1]
