"""Runs that wait: they hold no worker, survive restarts, and go on when their time has come or someone resumes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User

from executions import control, runtime
from executions.errors import ControlRefused
from executions.events import Event, empty_state, fold
from executions.models import Execution, NodeExecution
from executions.resume_links import resume_token, resume_url
from executions.runtime import EmbeddedExecutor
from executions.snapshot import snapshot
from flows.context import NodeContext, Suspend
from flows.node_types import registry
from tests.integration.execution_data import bearer, chain_of, journal_of, make_flow, wait_for_status
from tests.integration.flow_data import client_of, make_user
from tests.integration.scripted_nodes import Gate, Scripts, scripted_chain
from tests.integration.waiting_runs import approval, node, start, waiting
from tests.servers import StartServer, wait_until

pytestmark = pytest.mark.usefixtures("executor")


@pytest.fixture
def author(executor: None, settings: Any) -> User:
    settings.WATAOMI_PARK_AFTER = 0.05
    return make_user("author")


def output(run: Execution) -> Any:
    run.refresh_from_db()
    return run.output


# Delays


def test_a_long_delay_holds_no_worker_and_goes_on_by_itself(author: User) -> None:
    run = waiting(author, chain_of(("delay", {"seconds": 3}), ("noop", {})), n=1)
    assert (run.lease_owner, run.lease_until) == ("", None)
    row = node(run, "n0")
    assert row.status == "waiting"
    assert row.started_at is not None
    assert row.wait_until == run.wake_at == row.started_at + timedelta(seconds=3)

    assert wait_for_status(run.pk) == "success"
    row.refresh_from_db()
    assert row.finished_at is not None
    assert row.wait_until is None
    assert row.finished_at - row.started_at >= timedelta(seconds=3)
    assert output(run) == {"n1": {"main": [{"n": 1}]}}
    assert run.wake_at is None
    assert [name for _, name, data in journal_of(run.pk) if data.get("nodeId") == "n0"] == [
        "nodeExecutionBefore",
        "executionWaiting",
        "executionResumed",
        "nodeExecutionBefore",
        "nodeExecutionAfter",
    ]


def test_a_short_delay_stays_with_its_worker(author: User, settings: Any) -> None:
    settings.WATAOMI_PARK_AFTER = 10
    run = start(author, chain_of(("delay", {"seconds": 0.05})))
    assert wait_for_status(run.pk) == "success"
    assert "executionWaiting" not in [name for _, name, _ in journal_of(run.pk)]


def test_a_run_whose_time_has_come_while_nobody_was_there_goes_on_at_the_next_start(author: User) -> None:
    run = waiting(author, approval(timeout=30, unit="days"), n=1)
    runtime.shutdown()
    past = datetime.now(UTC) - timedelta(days=1)
    NodeExecution.objects.filter(execution=run, node_id="ask").update(wait_until=past)
    Execution.objects.filter(pk=run.pk).update(wake_at=past)
    runtime.executor(recover=True)
    assert wait_for_status(run.pk) == "success"
    assert output(run) == {"late": {"main": [{"n": 1}]}}


def test_a_wait_survives_a_restart_of_the_server_and_its_link_still_works(project_server: StartServer) -> None:
    author = make_user("author")
    flow = make_flow(author, approval(timeout=3, unit="days"))
    first = project_server()
    started = httpx.post(
        f"{first.url}/api/v1/executions", json={"flow_id": flow.pk}, headers=bearer(author), trust_env=False
    )
    run = Execution.objects.get(pk=started.json()["id"])
    wait_for_status(run.pk, "waiting")
    shown = httpx.get(
        f"{first.url}/api/v1/executions/{run.pk}/nodes/ask", headers=bearer(author), trust_env=False
    ).json()
    path = shown["resume_url"].removeprefix("http://localhost:8000")
    first.terminate()
    second = project_server()
    answer = httpx.post(second.url + path, json={"ok": True}, trust_env=False)
    assert answer.status_code == 202
    assert wait_for_status(run.pk) == "success"
    assert output(run) == {"yes": {"main": [{"resume": {"ok": True}}]}}
    assert httpx.post(second.url + path, json={"ok": True}, trust_env=False).status_code == 409
    logged = first.log() + second.log()
    assert "Traceback" not in logged
    assert path.removeprefix("/resume/") not in logged


# Commands


def test_a_run_that_waits_is_canceled(author: User) -> None:
    run = waiting(author, approval())
    assert run.wake_at is None
    control.cancel(run, author)
    assert wait_for_status(run.pk) == "canceled"
    row = node(run, "ask")
    assert (row.status, row.wait_until) == ("canceled", None)
    assert journal_of(run.pk)[-1][1] == "executionFinished"
    with pytest.raises(ControlRefused, match="ended"):
        control.signal(run, "ask", {}, None)


def test_a_run_that_waits_is_paused_and_its_wait_that_is_over_ends_when_it_is_resumed(author: User) -> None:
    run = waiting(author, approval(timeout=0.5, unit="seconds"))
    control.pause(run, author)
    wait_for_status(run.pk, "paused")
    run.refresh_from_db()
    assert run.wake_at is None
    until = node(run, "ask").wait_until
    assert until is not None
    wait_until(lambda: datetime.now(UTC) > until, what=lambda: "the wait to be over")
    assert node(run, "ask").status == "waiting"
    control.resume(run, author)
    assert wait_for_status(run.pk) == "success"
    assert node(run, "late").status == "success"


def test_a_signal_to_a_run_that_is_paused_counts_when_it_is_resumed(author: User) -> None:
    run = waiting(author, approval(timeout=1, unit="days"))
    control.pause(run, author)
    wait_for_status(run.pk, "paused")
    control.signal(run, "ask", {"approved": True}, author)
    with pytest.raises(ControlRefused, match="already"):
        control.signal(run, "ask", {"approved": False}, author)
    control.resume(run, author)
    assert wait_for_status(run.pk) == "success"
    assert output(run) == {"yes": {"main": [{"resume": {"approved": True}}]}}


def test_other_branches_go_on_while_a_node_waits(author: User, scripts: Scripts) -> None:
    gate = Gate()
    scripts["other"] = gate
    graph = approval()
    graph["nodes"].append({"id": "other", "type": "scripted", "name": "Other"})
    graph["edges"].append({"source": "start", "target": "other"})
    run = start(author, graph)
    gate.wait_entered()
    rows = NodeExecution.objects.filter(execution=run)
    wait_until(lambda: rows.filter(node_id="ask", status="waiting").exists())
    assert snapshot(run.pk)["status"] == "running"
    control.signal(run, "ask", {"n": 1}, author)
    wait_until(lambda: rows.filter(node_id="yes", status="success").exists())
    gate.open()
    assert wait_for_status(run.pk) == "success"


def test_a_node_that_was_running_again_when_its_worker_died_is_told_the_same_once_more(
    author: User, scripts: Scripts
) -> None:
    gate = Gate()
    told: list[Any] = []

    async def ask(ctx: NodeContext) -> None:
        if ctx.resumption is None:
            raise Suspend(reason="for an answer")
        told.append((ctx.resumption.kind, ctx.resumption.data, ctx.attempt, ctx.started_at))
        await gate(ctx)

    scripts["ask"] = ask
    run = waiting(author, scripted_chain("ask"))
    control.signal(run, "ask", {"n": 1}, author)
    gate.wait_entered()
    wait_until(lambda: node(run, "ask").status == "running")
    runtime.shutdown()
    gate.open()
    runtime.executor(recover=True)
    assert wait_for_status(run.pk) == "success"
    assert len(told) == 2
    assert told[0] == told[1]
    assert told[0][:3] == ("signal", {"n": 1}, 1)


def test_a_run_that_cannot_go_on_behind_its_wait_fails_and_what_waits_is_canceled(
    author: User, scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(ctx: NodeContext) -> None:
        raise Suspend(until=datetime.now(UTC) + timedelta(days=1))

    scripts["ask"] = ask
    run = waiting(author, scripted_chain("ask"))
    registry.unregister("scripted")
    monkeypatch.setattr("executions.plans._plans", {})
    control.signal(run, "ask", {}, author)
    assert wait_for_status(run.pk) == "error"
    assert (node(run, "ask").status, node(run, "ask").wait_until) == ("canceled", None)
    events = [Event(*event) for event in journal_of(run.pk)]
    assert reduce(fold, events, empty_state(str(run.pk), ["start", "ask"])) == snapshot(run.pk)
    run.refresh_from_db()
    assert run.wake_at is None


def test_a_back_off_that_is_long_holds_no_worker(author: User, scripts: Scripts) -> None:
    async def fails_once(ctx: NodeContext) -> None:
        if ctx.attempt == 1:
            raise ValueError("not yet")

    scripts["call"] = fails_once
    retry = {"retry": {"max_attempts": 2, "backoff": 1}}
    run = waiting(author, scripted_chain("call", call=retry))
    assert run.wake_at == NodeExecution.objects.get(execution=run, node_id="call").retry_at
    assert wait_for_status(run.pk) == "success"
    assert scripts.started == ["call", "call"]


# The API


def test_who_may_control_the_run_may_resume_a_node_of_it(author: User) -> None:
    run = waiting(author, approval())
    path = f"/api/v1/executions/{run.pk}/nodes/ask"
    other = client_of(make_user("other"))
    viewer = client_of(make_user("viewer", "executions.view_execution"))
    client = client_of(author)
    assert other.post(f"{path}/resume").status_code == 404
    assert viewer.post(f"{path}/resume").status_code == 403
    assert viewer.get(path).json()["resume_url"] is None
    shown = client.get(path).json()
    assert shown["resume_url"] == resume_url(run.pk, "ask")
    assert shown["status"] == "waiting"
    assert client.get(f"/api/v1/executions/{run.pk}/nodes/start").json()["resume_url"] is None
    assert client.post(f"/api/v1/executions/{run.pk}/nodes/none/resume").status_code == 404
    refused = client.post(f"/api/v1/executions/{run.pk}/nodes/start/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "control_refused")
    assert client.post(f"{path}/resume", {"data": [1]}).status_code == 400

    taken = client.post(f"{path}/resume", {"data": {"n": 1}})
    assert taken.status_code == 202
    assert wait_for_status(run.pk) == "success"
    assert output(run) == {"yes": {"main": [{"resume": {"n": 1}}]}}
    (command,) = run.commands.all()
    assert command.requester == author
    assert client.get(path).json()["resume_url"] is None
    assert client.post(f"{path}/resume").status_code == 409


def test_who_resumes_a_long_delay_ends_it_early(author: User) -> None:
    run = waiting(author, chain_of(("delay", {"seconds": 7 * 24 * 3600})))
    path = f"/api/v1/executions/{run.pk}/nodes/n0"
    assert client_of(author).get(path).json()["resume_url"] is None, "it is no link to send to anybody"
    control.signal(run, "n0", {}, author)
    assert wait_for_status(run.pk) == "success"


def test_the_state_of_a_run_that_waits_is_what_its_events_say(author: User) -> None:
    run = waiting(author, approval(timeout=2, unit="hours"))
    until = node(run, "ask").wait_until
    assert until is not None
    state = client_of(author).get(f"/api/v1/executions/{run.pk}").json()["state"]
    assert state["status"] == "waiting"
    (said,) = [data for _, name, data in journal_of(run.pk) if name == "executionWaiting"]
    assert state["nodes"]["ask"]["waitUntil"] == said["until"]
    assert (said["nodeId"], said["nodeName"], said["status"]) == ("ask", "Ask", "waiting")
    assert datetime.fromisoformat(said["until"]) == until


def test_expressions_know_the_link_before_the_node_waits(author: User, settings: Any) -> None:
    settings.WATAOMI_BASE_URL = "https://flows.example.org/"
    graph = chain_of(
        ("set", {"fields": {"link": '=execution["resumeUrls"]["Node 1"]'}}),
        ("wait_for_resume", {}),
    )
    run = waiting(author, graph)
    stored: Any = node(run, "n0").output
    assert stored["main"][0]["link"] == f"https://flows.example.org/resume/{resume_token(run.pk, 'n1')}"


def test_a_run_without_a_node_to_resume_has_no_links(author: User, scripts: Scripts) -> None:
    seen: dict[str, Any] = {}

    async def look(ctx: NodeContext) -> None:
        seen.update(ctx.scope.execution)

    scripts["look"] = look
    run = start(author, scripted_chain("look"))
    assert wait_for_status(run.pk) == "success"
    assert "resumeUrls" not in seen


def test_a_worker_that_holds_a_run_while_it_waits_a_moment_is_seen_to(author: User, settings: Any) -> None:
    """The wait is shorter than what a run leaves its worker for: it is held, and told at once."""
    settings.WATAOMI_PARK_AFTER = 30
    run = start(author, approval(timeout=20, unit="seconds"))
    wait_until(lambda: NodeExecution.objects.filter(execution=run, node_id="ask", status="waiting").exists())
    executor = runtime.executor()
    assert isinstance(executor, EmbeddedExecutor)
    assert executor.worker.held == 1
    control.signal(run, "ask", {}, None)
    assert wait_for_status(run.pk) == "success"
