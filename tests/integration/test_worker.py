"""Workers: who takes a run, what becomes of it when its worker ends in whatever way, and how commands reach it."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

from executions import claims, control, due, runtime
from executions.caretaker import Caretaker
from executions.dispatch import start_execution
from executions.engine.run import Run
from executions.errors import ControlRefused
from executions.models import Command, Execution, Mode, NodeExecution
from executions.runtime import EmbeddedExecutor
from executions.worker import worker_name
from flows.context import NodeContext
from flows.models import Flow, FlowVersion
from flows.node_types import registry
from tests.integration.execution_data import (
    journal_of,
    make_flow,
    status_of,
    wait_for_status,
)
from tests.integration.flow_data import graph_of, make_user
from tests.integration.scripted_nodes import Gate, Scripts, scripted_chain
from tests.servers import wait_until

pytestmark = pytest.mark.usefixtures("executor")


class Nowhere:
    """An executor that executes nothing: runs stay as they were made."""

    def enqueue(self, execution_id: UUID, priority: int = 0) -> None: ...

    def nudge(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def author(executor: None) -> User:
    return make_user("author")


@pytest.fixture
def workers(executor: None) -> Iterator[Callable[[], EmbeddedExecutor]]:
    """Return a function that starts a worker beside the others of this process; all are stopped behind the test."""
    started: list[EmbeddedExecutor] = []

    def start() -> EmbeddedExecutor:
        started.append(EmbeddedExecutor(recover=True))
        return started[-1]

    runtime.use(Nowhere())
    yield start
    for worker in started:
        worker.stop()


def start(flow: Flow, **input_data: Any) -> Execution:
    return start_execution(flow, input_data=input_data, requester=flow.owner, mode=Mode.API)


def row(run: Execution) -> Execution:
    return Execution.objects.get(pk=run.pk)


def starts_of(run: Execution) -> list[str]:
    """The nodes that were started, in order and as often as they were."""
    return [data["nodeId"] for _, name, data in journal_of(run.pk) if name == "nodeExecutionBefore"]


def assert_whole(run: Execution) -> None:
    """The journal has each event once, and one last one."""
    events = journal_of(run.pk)
    assert [seq for seq, _, _ in events] == list(range(1, len(events) + 1))
    assert [name in {"executionFinished", "executionError"} for _, name, _ in events] == [False] * (len(events) - 1) + [
        True
    ]
    assert row(run).last_seq == len(events)


def wait_taken(run: Execution, timeout: float = 5.0) -> None:
    """Until each command of the run is dealt with."""
    wait_until(lambda: not run.commands.filter(taken_at=None).exists(), timeout, lambda: "the commands to be taken")


# Starting


def test_what_is_rolled_back_is_not_started(author: User) -> None:
    flow = make_flow(author, graph_of(0))

    with transaction.atomic():
        run = start(flow)
        transaction.set_rollback(True)
    assert not Execution.objects.filter(pk=run.pk).exists()
    executor = runtime.executor()
    assert isinstance(executor, EmbeddedExecutor)
    other = start(flow)
    assert wait_for_status(other.pk) == "success", "what came behind it was executed"
    wait_until(lambda: executor.worker.held == 0)


def test_a_run_made_in_a_longer_transaction_starts_when_that_is_committed(author: User) -> None:
    flow = make_flow(author, graph_of(0))
    with transaction.atomic():
        run = start(flow)
        assert status_of(run.pk) == "queued"
    assert wait_for_status(run.pk) == "success"


def test_what_waits_for_the_commit_of_a_run_may_start_another_one(author: User) -> None:
    """As an app's signal handler does that chains runs: the turn to write is its own already."""
    flow = make_flow(author, graph_of(0))
    made: list[Execution] = []

    def chained() -> None:
        with transaction.atomic():
            first = start(flow)
            transaction.on_commit(lambda: made.extend([first, start(flow)]))

    thread = threading.Thread(target=chained, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "a deadlock"
    assert [wait_for_status(run.pk) for run in made] == ["success", "success"]


def test_a_run_started_while_a_transaction_of_the_journal_calls_back_is_no_deadlock(author: User) -> None:
    flow = make_flow(author, graph_of(0))
    asked: list[UUID] = []

    class Synchronous(Nowhere):
        """Does at once, where the commit is, what an executor leaves to its thread."""

        def enqueue(self, execution_id: UUID, priority: int = 0) -> None:
            if not asked:
                asked.append(execution_id)
                start(flow)

    runtime.use(Synchronous())
    thread = threading.Thread(target=start, args=(flow,), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "a deadlock"
    assert Execution.objects.count() == 2


def test_no_more_runs_than_the_settings_say_and_all_of_them_in_the_end(
    author: User,
    scripts: Scripts,
    settings: Any,
) -> None:
    settings.WATAOMI_MAX_CONCURRENT_RUNS = 2
    at_once, most = 0, 0

    async def count(ctx: NodeContext) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1

    scripts["a"] = count
    flow = make_flow(author, scripted_chain("a"))
    runs = [start(flow, number=number) for number in range(12)]
    assert [wait_for_status(run.pk) for run in runs] == ["success"] * 12
    assert most <= 2


# What cannot be run


def break_graph(flow: Flow, graph: object) -> None:
    """As if the version had been saved when its node types were others."""
    FlowVersion.objects.filter(flow=flow).update(graph=graph, checksum=f"broken-{flow.pk}")


def test_a_node_type_that_is_gone_ends_the_run_and_no_other(author: User, scripts: Scripts) -> None:
    runtime.use(Nowhere())
    gone = start(make_flow(author, scripted_chain("a"), name="Gone"))
    FlowVersion.objects.filter(pk=gone.flow_version_id).update(checksum="not planned yet")
    good = start(make_flow(author, graph_of(0), name="Good"))
    registry.unregister("scripted")
    claimed = claims.claim([gone.pk, good.pk], "worker")
    assert [held.execution_id for held in claimed] == [good.pk]
    ended = row(gone)
    assert (ended.status, ended.lease_until, ended.last_seq) == ("error", None, 1)
    assert ended.error is not None and ended.error["type"] == "FlowInvalid" and "scripted" in ended.error["message"]
    assert_whole(gone)


@pytest.mark.parametrize("graph", [[], {}, {"nodes": 3}, {"nodes": [{"id": 1}], "edges": {}}])
def test_a_graph_that_cannot_be_read_ends_the_run_and_no_other(author: User, graph: object) -> None:
    runtime.use(Nowhere())
    flow = make_flow(author, graph_of(0), name="Broken")
    broken, good = start(flow), start(make_flow(author, graph_of(0), name="Good"))
    break_graph(flow, graph)
    runtime.use(None)
    runtime.executor(recover=True)
    for run in (broken, good):
        runtime.executor().enqueue(run.pk)
    assert wait_for_status(good.pk) == "success"
    assert wait_for_status(broken.pk) == "error"


def test_a_node_type_that_raises_when_it_is_checked_ends_the_run_and_no_other(
    author: User,
    scripts: Scripts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime.use(Nowhere())
    flow = make_flow(author, scripted_chain("a"))
    broken, good = start(flow), start(make_flow(author, graph_of(0), name="Good"))

    def raising(name: str) -> Any:
        if name == "scripted":
            raise ZeroDivisionError("whatever an app's code may raise")
        return describe(name)

    describe = registry.describe
    monkeypatch.setattr(registry, "describe", raising)
    FlowVersion.objects.filter(flow=flow).update(checksum="not planned yet")
    assert [held.execution_id for held in claims.claim([broken.pk, good.pk], "worker")] == [good.pk]
    ended = row(broken)
    assert ended.status == "error"
    assert ended.error is not None and ended.error["type"] == "ZeroDivisionError"


@pytest.mark.parametrize("method", ["__init__", "drive", "_begin", "_step", "_open"])
def test_a_fault_of_the_engine_fails_its_run_and_no_other(
    author: User, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    original = getattr(Run, method)

    def is_broken(run: Run, args: tuple[Any, ...]) -> bool:
        head = args[1] if method == "__init__" else run._head
        return head.input == {"broken": True}

    def broken(run: Run, *args: Any, **kwargs: Any) -> Any:
        if is_broken(run, args):
            raise ZeroDivisionError("a fault \ud800 of the engine")
        return original(run, *args, **kwargs)

    monkeypatch.setattr(Run, method, broken)
    flow = make_flow(author, graph_of(0))
    faulty, good = start(flow, broken=True), start(flow)
    assert wait_for_status(good.pk) == "success"
    assert wait_for_status(faulty.pk) == "error"
    ended = row(faulty)
    assert ended.error is not None and ended.error["type"] == "ZeroDivisionError"
    assert ended.lease_until is None
    assert_whole(faulty)


def test_a_fault_while_a_command_is_obeyed_fails_the_run(
    author: User,
    scripts: Scripts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(run: Run, command: int) -> None:
        raise ZeroDivisionError("a fault of the engine")

    gate = scripts["a"] = Gate()
    monkeypatch.setattr(Run, "pause", broken)
    run = start(make_flow(author, scripted_chain("a")))
    gate.wait_entered()
    wait_for_status(run.pk, "running")
    control.pause(run, None)
    assert wait_for_status(run.pk) == "error"


def test_a_claim_that_raises_for_one_run_does_not_hold_the_others(
    author: User, workers: Callable[[], EmbeddedExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = make_flow(author, graph_of(0))
    poison, *good = [start(flow, number=number) for number in range(4)]
    original = claims.claim

    def raising(execution_ids: list[UUID], owner: str) -> Any:
        if poison.pk in execution_ids:
            raise ZeroDivisionError("a row that cannot be read")
        return original(execution_ids, owner)

    monkeypatch.setattr(claims, "claim", raising)
    worker = workers()
    for run in (poison, *good):
        worker.enqueue(run.pk)
    assert [wait_for_status(run.pk) for run in good] == ["success"] * 3
    wait_until(lambda: worker._worker.held == 0)


# Commands


def test_a_long_node_is_cancelled_within_half_a_second(author: User) -> None:
    run = start(make_flow(author, graph_of(30)))
    wait_until(lambda: starts_of(run) == ["start", "wait0"])
    asked = datetime.now(UTC)
    control.cancel(run, None)
    assert wait_for_status(run.pk) == "canceled"
    finished = row(run).finished_at
    assert finished is not None and (finished - asked).total_seconds() < 0.5
    wait_taken(run)
    assert_whole(run)


def test_a_queued_run_is_cancelled_though_there_is_no_room_for_it(author: User, settings: Any) -> None:
    settings.WATAOMI_MAX_CONCURRENT_RUNS = 1
    long = start(make_flow(author, graph_of(30)))
    wait_for_status(long.pk, "running")
    queued = start(long.flow)
    control.cancel(queued, None)
    assert wait_for_status(queued.pk, timeout=5) == "canceled"
    assert status_of(long.pk) == "running"
    assert starts_of(queued) == []
    assert_whole(queued)
    control.cancel(long, None)
    assert wait_for_status(long.pk) == "canceled"


@pytest.mark.parametrize("moment", ["pausing", "paused"])
def test_a_run_is_cancelled_while_it_pauses(author: User, scripts: Scripts, moment: str) -> None:
    gate = scripts["a"] = Gate()
    run = start(make_flow(author, scripted_chain("a", "b")))
    gate.wait_entered()
    wait_for_status(run.pk, "running")
    control.pause(run, None)
    if moment == "paused":
        wait_for_status(run.pk, "pausing")
        gate.open()
    wait_for_status(run.pk, moment)
    control.cancel(run, None)
    assert wait_for_status(run.pk) == "canceled"
    assert scripts.started == ["a"]
    assert_whole(run)
    wait_taken(run)


def test_a_paused_run_is_held_by_nobody_and_goes_on_when_it_is_resumed(
    author: User,
    scripts: Scripts,
) -> None:
    gate = scripts["a"] = Gate()
    run = start(make_flow(author, scripted_chain("a", "b")))
    gate.wait_entered()
    wait_for_status(run.pk, "running")
    control.pause(run, None)
    wait_for_status(run.pk, "pausing")
    gate.open()
    wait_for_status(run.pk, "paused")
    paused = row(run)
    assert (paused.lease_owner, paused.lease_until) == ("", None)
    control.resume(run, None)
    assert wait_for_status(run.pk) == "success"
    assert scripts.started == ["a", "b"]
    assert_whole(run)
    wait_taken(run)


def test_two_pauses_are_one_and_the_worker_rests(author: User, scripts: Scripts) -> None:
    gate = scripts["a"] = Gate()
    run = start(make_flow(author, scripted_chain("a", "b")))
    gate.wait_entered()
    wait_for_status(run.pk, "running")
    with transaction.atomic():
        control.pause(run, None)
        control.pause(run, None)
    wait_for_status(run.pk, "pausing")
    gate.open()
    wait_for_status(run.pk, "paused")
    wait_taken(run)
    # A pause that comes when the run has just paused: the status that was looked at was an older one.
    Command.objects.create(execution=run, kind="pause")
    runtime.executor().nudge()
    wait_taken(run)
    wait_until(lambda: row(run).lease_until is None)
    epoch = row(run).epoch
    for _ in range(20):
        runtime.executor().nudge()
        time.sleep(0.01)
    assert row(run).epoch == epoch <= 3, "a paused run is not taken again and again"
    control.resume(run, None)
    assert wait_for_status(run.pk) == "success"
    assert_whole(run)


def test_a_resume_at_the_very_moment_the_run_pauses_is_obeyed(
    author: User,
    scripts: Scripts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = claims.park
    parked: list[UUID] = []

    def resumed_meanwhile(execution_id: UUID, epoch: int, newest_command: int) -> None:
        if not parked:
            parked.append(execution_id)
            control.resume(Execution.objects.get(pk=execution_id), None)
        original(execution_id, epoch, newest_command)

    monkeypatch.setattr(claims, "park", resumed_meanwhile)
    gate = scripts["a"] = Gate()
    run = start(make_flow(author, scripted_chain("a", "b")))
    gate.wait_entered()
    wait_for_status(run.pk, "running")
    control.pause(run, None)
    wait_for_status(run.pk, "pausing")
    gate.open()
    assert wait_for_status(run.pk) == "success"
    assert parked == [run.pk]
    assert_whole(run)


def test_commands_in_quick_succession_leave_the_run_as_the_last_one_says(author: User) -> None:
    runs = [start(make_flow(author, graph_of(0.05, 0.05, 0.05), name=f"Flow {n}")) for n in range(8)]
    for run in runs:
        wait_for_status(run.pk, "running", "success")
    for _ in range(3):
        for run in runs:
            for act in (control.pause, control.resume):
                try:
                    act(run, None)
                except ControlRefused:
                    pass
    for run in runs:
        try:
            control.resume(run, None)
        except ControlRefused:
            pass
        assert wait_for_status(run.pk) == "success"
        assert_whole(run)


# Leases


def test_of_two_workers_one_takes_a_run(author: User, workers: Callable[[], EmbeddedExecutor]) -> None:
    one, other = workers(), workers()
    flow = make_flow(author, graph_of(0))
    runs = [start(flow, number=number) for number in range(20)]
    for run in runs:
        one.enqueue(run.pk)
        other.enqueue(run.pk)
    for run in runs:
        assert wait_for_status(run.pk) == "success"
        assert row(run).epoch == 1
        assert_whole(run)


def test_a_worker_that_lost_its_run_writes_nothing_and_leaves_it(
    author: User,
    scripts: Scripts,
    workers: Callable[[], EmbeddedExecutor],
) -> None:
    zombie = workers()
    gate = scripts["a"] = Gate()
    run = start(make_flow(author, scripted_chain("a", "b")))
    zombie.enqueue(run.pk)
    gate.wait_entered()
    wait_until(lambda: starts_of(run) == ["start", "a"])
    Execution.objects.filter(pk=run.pk).update(lease_until=datetime.now(UTC) - timedelta(seconds=1))
    heir = workers()
    heir.enqueue(run.pk)
    gate.wait_entered()  # the node, for the second time
    gate.open()
    assert wait_for_status(run.pk) == "success"
    assert_whole(run)
    assert starts_of(run) == ["start", "a", "a", "b"]
    attempts = NodeExecution.objects.filter(execution=run, node_id="a")
    assert [attempt.attempt for attempt in attempts] == [1], "at least once, as the same attempt"
    wait_until(lambda: zombie._worker.held == 0)
    ends = [data["nodeId"] for _, name, data in journal_of(run.pk) if name == "nodeExecutionAfter"]
    assert ends == ["start", "a", "b"]


def test_a_node_that_blocks_its_loop_past_the_lease_is_run_by_another_worker(
    author: User,
    scripts: Scripts,
    workers: Callable[[], EmbeddedExecutor],
    settings: Any,
) -> None:
    settings.WATAOMI_LEASE = 0.4
    blocked = threading.Event()
    calls: list[int] = []

    async def block_once(ctx: NodeContext) -> None:
        calls.append(1)
        if len(calls) == 1:
            blocked.set()
            time.sleep(2)

    scripts["a"] = block_once
    first = workers()
    run = start(make_flow(author, scripted_chain("a", "b")))
    first.enqueue(run.pk)
    assert blocked.wait(10)
    workers()  # it finds what is abandoned by itself
    assert wait_for_status(run.pk) == "success"
    wait_until(lambda: first._worker.held == 0)
    assert len(calls) == 2
    assert row(run).epoch == 2
    assert_whole(run)


def test_a_run_keeps_its_lease_while_it_goes_on(
    author: User, workers: Callable[[], EmbeddedExecutor], settings: Any
) -> None:
    settings.WATAOMI_LEASE = 0.5
    first, _ = workers(), workers()
    run = start(make_flow(author, graph_of(1.5)))
    first.enqueue(run.pk)
    assert wait_for_status(run.pk) == "success"
    assert row(run).epoch == 1


@pytest.mark.parametrize("errors", [0, 2], ids=["slow", "away"])
def test_a_run_whose_owner_could_not_renew_its_lease_either_is_left_to_it(
    author: User, settings: Any, monkeypatch: pytest.MonkeyPatch, errors: int
) -> None:
    """The database hangs for all. When it is back, who looks for dead workers first would find all of them dead."""
    settings.WATAOMI_LEASE = 3
    runtime.use(Nowhere())
    run = start(make_flow(author, graph_of(0)))
    (held,) = claims.claim([run.pk], "a living worker")
    Execution.objects.filter(pk=run.pk).update(status="running")
    looks = 0
    epochs: list[int] = []
    over = threading.Event()
    woken = due.woken

    def look() -> list[UUID]:
        nonlocal looks
        looks += 1
        if looks == 1:
            assert over.wait(20)
        if looks <= errors:
            raise OperationalError("the connection was closed")
        if looks == errors + 3:  # the second one after the hang at the earliest
            epochs.append(row(run).epoch)
        return woken()

    monkeypatch.setattr(due, "woken", look)
    runtime.use(None)
    runtime.executor(recover=True)
    wait_until(lambda: Execution.objects.filter(pk=run.pk, lease_until__lt=datetime.now(UTC)).exists())
    over.set()
    wait_until(lambda: bool(epochs), 20, lambda: f"a third look, and not {looks}")
    assert epochs == [held.epoch], "it is left to its owner for the length of a lease"
    assert wait_for_status(run.pk) == "success", "and then taken over"


@pytest.fixture
def renew(monkeypatch: pytest.MonkeyPatch) -> Callable[[EmbeddedExecutor], None]:
    """Return a function that has a worker renew its leases; by themselves they are not renewed."""

    async def never(caretaker: Caretaker) -> None:
        await asyncio.Event().wait()

    def renew(worker: EmbeddedExecutor) -> None:
        asyncio.run_coroutine_threadsafe(worker._caretaker._renew(), worker._loop).result(10)

    monkeypatch.setattr(Caretaker, "_look_after_leases", never)
    return renew


@pytest.fixture
def handed(author: User, workers: Callable[[], EmbeddedExecutor]) -> Callable[[], tuple[EmbeddedExecutor, Execution]]:
    """Return a function that hands a run of the scripted node `a` to a worker; both are returned."""

    def hand() -> tuple[EmbeddedExecutor, Execution]:
        worker = workers()
        run = start(make_flow(author, scripted_chain("a")))
        worker.enqueue(run.pk)
        return worker, run

    return hand


def takes_an_hour(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Until this function of `claims` is called, it is an hour earlier there."""
    original, behind = getattr(claims, name), 3600.0

    def call(*args: Any) -> Any:
        nonlocal behind
        behind = 0.0
        return original(*args)

    monkeypatch.setattr(claims, name, call)
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: time.monotonic() - behind))


def test_a_run_whose_claim_took_longer_than_the_lease_does_not_count_as_held(
    scripts: Scripts,
    handed: Callable[[], tuple[EmbeddedExecutor, Execution]],
    renew: Callable[[EmbeddedExecutor], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    takes_an_hour(monkeypatch, "admitted")
    gate = scripts["a"] = Gate()
    worker, run = handed()
    wait_until(lambda: run.pk in worker.worker._journals)
    assert not worker.worker._journals[run.pk].is_held
    renew(worker)
    gate.wait_entered()


def test_a_renewal_that_took_longer_than_the_lease_prolongs_nothing(
    scripts: Scripts,
    handed: Callable[[], tuple[EmbeddedExecutor, Execution]],
    renew: Callable[[EmbeddedExecutor], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = scripts["a"] = Gate()
    worker, run = handed()
    gate.wait_entered()
    takes_an_hour(monkeypatch, "renew")
    renew(worker)
    assert not worker.worker._journals[run.pk].is_held


def test_a_run_that_waits_for_its_lease_and_was_taken_over_leaves_its_worker(
    scripts: Scripts,
    handed: Callable[[], tuple[EmbeddedExecutor, Execution]],
    renew: Callable[[EmbeddedExecutor], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    takes_an_hour(monkeypatch, "admitted")
    worker, run = handed()
    wait_until(lambda: [name for _, name, _ in journal_of(run.pk)][-1:] == ["nodeExecutionAfter"])
    until = datetime.now(UTC) + timedelta(minutes=1)
    Execution.objects.filter(pk=run.pk).update(epoch=2, lease_owner="another", lease_until=until)
    renew(worker)
    wait_until(lambda: worker.worker.held == 0)
    assert scripts.started == []
    assert starts_of(run) == ["start"]


def test_a_run_that_was_given_back_is_taken_at_once_and_a_new_one_is_left_to_who_made_it(author: User) -> None:
    runtime.use(Nowhere())
    flow = make_flow(author, graph_of(0))
    returned, fresh, paused = start(flow), start(flow), start(flow)
    claims.claim([returned.pk, paused.pk], "worker")
    Execution.objects.filter(pk=paused.pk).update(status="paused")
    assert due.forgotten(Q()) == due.interrupted() == []
    given_on: list[UUID] = []
    claims.release("worker", give_on=given_on.extend)
    assert given_on == [returned.pk]
    assert due.forgotten(Q()) == [returned.pk]
    Execution.objects.filter(pk=fresh.pk).update(created_at=datetime.now(UTC) - timedelta(minutes=1))
    assert due.forgotten(Q()) == [returned.pk, fresh.pk]
    Execution.objects.filter(pk=returned.pk).update(status="running")
    assert due.interrupted() == [returned.pk]


def test_a_claim_whose_answer_was_lost_is_made_again(author: User) -> None:
    runtime.use(Nowhere())
    run = start(make_flow(author, graph_of(0)))
    claims.claim([run.pk], "worker")
    (again,) = claims.claim([run.pk], "worker")
    assert again.epoch == row(run).epoch == 2
    assert claims.claim([run.pk], "another") == []


def test_a_worker_that_stops_gives_back_what_it_has_not_ended(
    author: User,
    scripts: Scripts,
    workers: Callable[[], EmbeddedExecutor],
) -> None:
    gate = scripts["a"] = Gate()
    first = workers()
    run = start(make_flow(author, scripted_chain("a", "b")))
    first.enqueue(run.pk)
    gate.wait_entered()
    first.stop()
    left = row(run)
    assert (left.status, left.lease_owner, left.lease_until) == ("running", "", None)
    gate.open()
    workers()
    assert wait_for_status(run.pk) == "success"
    assert starts_of(run) == ["start", "a", "a", "b"]
    assert_whole(run)


def test_what_is_taken_while_a_worker_stops_is_given_back(
    author: User, workers: Callable[[], EmbeddedExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on = threading.Event(), threading.Event()
    original = claims.claim

    def slow(execution_ids: list[UUID], owner: str) -> Any:
        entered.set()
        go_on.wait(10)
        return original(execution_ids, owner)

    monkeypatch.setattr(claims, "claim", slow)
    first = workers()
    run = start(make_flow(author, graph_of(0)))
    first.enqueue(run.pk)
    assert entered.wait(10)
    stopping = threading.Thread(target=first.stop)
    stopping.start()
    wait_until(lambda: first._worker._stopping)
    go_on.set()
    stopping.join(10)
    wait_until(lambda: row(run).lease_until is None and row(run).epoch == 1)
    assert status_of(run.pk) == "queued"


def test_a_claim_that_ends_when_its_worker_has_given_everything_back_leaves_no_lease(
    author: User, workers: Callable[[], EmbeddedExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, released = threading.Event(), threading.Event()
    claim, release = claims.claim, claims.release

    def late(execution_ids: list[UUID], owner: str) -> Any:
        entered.set()
        assert released.wait(10)
        return claim(execution_ids, owner)

    def releasing(*args: Any) -> None:
        release(*args)
        released.set()

    monkeypatch.setattr(claims, "claim", late)
    monkeypatch.setattr(claims, "release", releasing)
    first = workers()
    run = start(make_flow(author, graph_of(0)))
    first.enqueue(run.pk)
    assert entered.wait(10)
    first.stop()
    wait_until(lambda: (row(run).epoch, row(run).lease_owner, row(run).lease_until) == (1, "", None))
    assert status_of(run.pk) == "queued"


def test_a_deleted_run_leaves_its_worker(
    author: User,
    scripts: Scripts,
    workers: Callable[[], EmbeddedExecutor],
) -> None:
    gate = scripts["a"] = Gate()
    worker = workers()
    flow = make_flow(author, scripted_chain("a", "b"))
    run = start(flow)
    worker.enqueue(run.pk)
    gate.wait_entered()
    Execution.objects.filter(pk=run.pk).delete()
    gate.open()
    wait_until(lambda: worker._worker.held == 0)
    assert scripts.started == ["a"], "nothing is run for nobody"
    assert NodeExecution.objects.count() == 0
    gate.open()
    after = start(flow)
    worker.enqueue(after.pk)
    assert wait_for_status(after.pk) == "success"


def test_an_executor_that_was_stopped_leaves_what_comes_in_to_the_next_one(author: User) -> None:
    flow = make_flow(author, graph_of(0))
    stopped = runtime.executor()
    stopped.stop()
    run = start(flow)  # as a request does that asked for its executor just before
    control.cancel(run, None)
    assert status_of(run.pk) == "queued"
    stopped.stop()
    runtime.shutdown()
    runtime.executor().enqueue(run.pk)
    assert wait_for_status(run.pk) == "canceled"


def test_a_command_for_a_run_that_is_deleted_at_that_moment_is_refused(author: User) -> None:
    runtime.use(Nowhere())
    run = start(make_flow(author, graph_of(0)))
    gone = row(run)
    Execution.objects.all().delete()
    for command in (control.pause, control.resume, control.cancel):
        with pytest.raises(ControlRefused, match="deleted"):
            command(gone, None)
    with pytest.raises(ControlRefused, match="deleted"):
        control.signal(gone, "wait", {}, None)


def test_what_a_node_does_with_the_database_in_threads_leaves_no_connection(author: User, scripts: Scripts) -> None:
    used: list[BaseDatabaseWrapper] = []

    def ask() -> None:
        assert Execution.objects.count() == 1
        used.append(connections[DEFAULT_DB_ALIAS])

    async def asks(ctx: NodeContext) -> None:
        await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(20)))

    scripts["a"] = asks
    run = start(make_flow(author, scripted_chain("a")))
    assert wait_for_status(run.pk) == "success"
    assert len(used) == 20
    assert {wrapper.connection for wrapper in used} == {None}


def test_a_worker_in_a_container_is_not_taken_for_a_process_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    own = worker_name()
    monkeypatch.setattr(Path, "readlink", lambda path: "pid:[4026532999]")
    contained = worker_name()
    assert contained.split(":")[0] == f"{socket.gethostname()[:60]}/4026532999"
    assert own.split(":")[1] == contained.split(":")[1]
    monkeypatch.setattr(Path, "readlink", lambda path: "pid:[4026531836]")
    assert worker_name().split(":")[0] == socket.gethostname()[:60]
