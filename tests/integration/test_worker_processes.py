"""Workers that are processes of their own: killed, told to end, and commanded from another process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from django.contrib.auth.models import User

from executions import control, runtime
from executions.models import Execution, NodeExecution
from executions.snapshot import snapshot
from flows.models import Flow
from tests.integration.execution_data import EXECUTIONS, bearer, journal_of, make_flow, status_of, wait_for_status
from tests.integration.flow_data import graph_of, make_user
from tests.servers import ServerProcess, StartServer, wait_until, within

QUICK = {"WATAOMI_LEASE": "2", "WATAOMI_HTTP_ALLOW_PRIVATE": "1"}


class Elsewhere:
    """The executor of a process that executes nothing: its commands are only rows."""

    def enqueue(self, execution_id: UUID, priority: int = 0) -> None: ...

    def nudge(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture(autouse=True)
def no_executor_here(transactional_db: None) -> Iterator[None]:
    runtime.use(Elsewhere())
    yield
    runtime.shutdown()


@pytest.fixture
def author(no_executor_here: None) -> User:
    return make_user("author")


def start_on(server: ServerProcess, flow: Flow) -> Execution:
    body = {"flow_id": flow.pk, "input_data": {}}
    answer = httpx.post(f"{server.url}{EXECUTIONS}", json=body, headers=bearer(flow.owner), trust_env=False, timeout=20)
    assert answer.status_code == 202, answer.text
    return Execution.objects.get(pk=answer.json()["id"])


def starts_of(run: Execution) -> list[str]:
    return [data["nodeId"] for _, name, data in journal_of(run.pk) if name == "nodeExecutionBefore"]


def wait_started(run: Execution, node_id: str) -> None:
    wait_until(lambda: node_id in starts_of(run), 20, lambda: f"{node_id} to start")


def events_of(run: Execution, name: str) -> list[dict[str, Any]]:
    return [data for _, type_name, data in journal_of(run.pk) if type_name == name]


def assert_whole(run: Execution) -> None:
    events = journal_of(run.pk)
    assert [seq for seq, _, _ in events] == list(range(1, len(events) + 1))
    assert sum(name in {"executionFinished", "executionError"} for _, name, _ in events) == 1
    assert Execution.objects.get(pk=run.pk).last_seq == len(events)


def test_after_a_kill_another_process_goes_on_behind_the_last_commit(project_server: StartServer, author: User) -> None:
    first = project_server(environment=QUICK)
    run = start_on(first, make_flow(author, graph_of(0, 1.5, 0)))
    wait_started(run, "wait1")
    first.kill()
    assert status_of(run.pk) == "running"
    project_server(environment=QUICK)
    assert wait_for_status(run.pk) == "success"
    assert starts_of(run) == ["start", "wait0", "wait1", "wait1", "wait2"], "only what was running runs again"
    assert [row.attempt for row in NodeExecution.objects.filter(execution=run, node_id="wait1")] == [1]
    assert Execution.objects.get(pk=run.pk).epoch == 2
    assert snapshot(run.pk)["progress"] == {"done": 4, "total": 4}
    assert_whole(run)


def test_a_process_that_runs_already_takes_up_what_a_killed_one_left(project_server: StartServer, author: User) -> None:
    first, _ = project_server(environment=QUICK), project_server(environment=QUICK)
    runs = [start_on(first, make_flow(author, graph_of(0, 4), name=f"Flow {number}")) for number in range(3)]
    for run in runs:
        wait_started(run, "wait1")
    first.kill()
    for run in runs:
        assert wait_for_status(run.pk) == "success"
        assert starts_of(run) == ["start", "wait0", "wait1", "wait1"]
        assert_whole(run)


def test_sigterm_hands_a_run_over_between_its_nodes(project_server: StartServer, author: User) -> None:
    first = project_server(environment=QUICK)
    run = start_on(first, make_flow(author, graph_of(0.4, 0.4, 0.4, 0.4)))
    wait_started(run, "wait1")
    assert first.terminate() < within(5)
    left = Execution.objects.get(pk=run.pk)
    assert (left.status, left.lease_owner, left.lease_until) == ("running", "", None)
    assert not NodeExecution.objects.filter(execution=run, status="running").exists()
    project_server(environment=QUICK)
    assert wait_for_status(run.pk) == "success"
    assert starts_of(run) == ["start", "wait0", "wait1", "wait2", "wait3"], "no node ran twice"
    assert_whole(run)


def test_sigterm_does_not_wait_for_a_long_node(project_server: StartServer, author: User) -> None:
    first = project_server(environment=QUICK)
    run = start_on(first, make_flow(author, graph_of(0, 25)))
    wait_started(run, "wait1")
    assert first.terminate() < within(5)
    left = Execution.objects.get(pk=run.pk)
    assert (left.status, left.lease_owner, left.lease_until) == ("running", "", None)
    project_server(environment=QUICK)
    wait_until(lambda: starts_of(run) == ["start", "wait0", "wait1", "wait1"], 20)
    control.cancel(run, None)
    assert wait_for_status(run.pk) == "canceled"
    assert_whole(run)


def test_a_command_of_another_process_is_obeyed_within_half_a_second(project_server: StartServer, author: User) -> None:
    server = project_server()
    run = start_on(server, make_flow(author, graph_of(30)))
    wait_started(run, "wait0")
    control.cancel(run, None)
    assert wait_for_status(run.pk) == "canceled"
    asked = run.commands.get().created_at
    finished = datetime.fromisoformat(events_of(run, "executionFinished")[0]["finishedAt"])
    assert (finished - asked).total_seconds() < 0.5
    assert run.commands.get().taken_at is not None


def test_a_run_is_paused_in_one_process_and_resumed_in_another(project_server: StartServer, author: User) -> None:
    first = project_server(environment=QUICK)
    run = start_on(first, make_flow(author, graph_of(0, 0.8, 0)))
    wait_started(run, "wait1")
    control.pause(run, None)
    assert wait_for_status(run.pk, "paused") == "paused"
    first.terminate()
    project_server(environment=QUICK)
    control.resume(run, None)
    assert wait_for_status(run.pk) == "success"
    assert starts_of(run) == ["start", "wait0", "wait1", "wait2"]
    assert [data["status"] for data in events_of(run, "executionPaused")] == ["pausing", "paused"]
    assert len(events_of(run, "executionResumed")) == 1
    assert_whole(run)


def test_a_cancel_that_a_killed_process_had_not_carried_out_is_not_forgotten(
    project_server: StartServer, author: User
) -> None:
    first = project_server(environment=QUICK)
    run = start_on(first, make_flow(author, graph_of(0, 60)))
    wait_started(run, "wait1")
    first.process.send_signal(signal.SIGSTOP)  # frozen, it obeys nothing
    control.cancel(run, None)
    first.kill()
    project_server(environment=QUICK)
    assert wait_for_status(run.pk) == "canceled"
    assert_whole(run)
