"""The law of a run's state: what the database says at any moment, and the events behind it, make what it says later."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User

from executions import claims, control, runtime
from executions.dispatch import retry_execution, start_execution
from executions.errors import ControlRefused
from executions.events import Event, State, fold
from executions.models import Execution, Mode
from executions.snapshot import snapshot
from executions.statuses import RUN_ENDED
from flows.context import NodeContext, NodeError
from flows.models import FlowVersion
from tests.integration.execution_data import journal_of, make_flow, wait_for_status
from tests.integration.flow_data import graph_of, make_user
from tests.integration.scripted_nodes import Gate, Scripts, scripted_chain

pytestmark = pytest.mark.usefixtures("executor")


class Nowhere:
    def enqueue(self, execution_id: object, priority: int = 0) -> None: ...

    def nudge(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def author(executor: None) -> User:
    return make_user("author")


def random_graph(chance: random.Random) -> dict[str, Any]:
    """Branches that join, fail, are tried again, and are not taken."""
    nodes: list[dict[str, Any]] = [{"id": "start", "type": "manual", "name": "Start"}]
    edges = []
    for number in range(1, chance.randint(4, 10)):
        policy = chance.choice(["stop", "continue", "continue", "error_output"])
        retry = {"max_attempts": chance.choice([1, 1, 3]), "backoff": 0.02}
        settings: dict[str, Any] = {"retry": retry, "on_error": policy, "disabled": chance.random() < 0.1}
        nodes.append({"id": f"n{number}", "type": "scripted", "name": f"Node {number}", "settings": settings})
        for source in chance.sample(nodes[:-1], min(len(nodes) - 1, chance.randint(1, 2))):
            port = "error" if source.get("settings", {}).get("on_error") == "error_output" else "main"
            edges.append({"source": source["id"], "source_port": port, "target": f"n{number}"})
    return {"nodes": nodes, "edges": edges}


def unsteady(chance: random.Random) -> Callable[[NodeContext], Any]:
    async def work(ctx: NodeContext) -> None:
        for number in range(chance.randint(0, 4)):
            await ctx.progress(number / 4, f"step {number}", text="abc" * chance.randint(0, 900))
        if chance.random() < 0.3:
            raise NodeError("it happens")

    return work


def folded(state: State, run: Execution) -> State:
    for seq, name, data in journal_of(run.pk):
        state = fold(state, Event(seq, name, data))
    return state


def assert_law(run: Execution, seen: list[State]) -> None:
    final = snapshot(run.pk)
    for state in seen:
        assert folded(state, run) == final, f"from seq {state['seq']} on"


def act(run: Execution, command: Callable[[Execution, User | None], None]) -> None:
    """Send a command, which by now the run may not admit any more."""
    try:
        command(run, None)
    except ControlRefused:
        pass


@pytest.mark.parametrize("seed", range(12))
def test_from_any_moment_the_events_lead_to_the_end(author: User, scripts: Scripts, settings: Any, seed: int) -> None:
    chance = random.Random(seed)
    settings.WATAOMI_PROGRESS_INTERVAL = 0
    graph = random_graph(chance)
    for node in graph["nodes"][1:]:
        scripts[node["id"]] = unsteady(chance)
    run = start_execution(make_flow(author, graph), input_data={}, requester=None, mode=Mode.API)
    seen: list[State] = []
    deadline = time.monotonic() + 20
    while not seen or seen[-1]["status"] not in RUN_ENDED:
        seen.append(snapshot(run.pk))
        if seed % 3 == 0 and chance.random() < 0.1:
            act(run, chance.choice([control.pause, control.resume, control.resume, control.pause, control.cancel]))
        if seen[-1]["status"] == "paused":
            act(run, control.resume)
        assert time.monotonic() < deadline, seen[-1]
    assert_law(run, seen)
    assert seen[-1]["progress"]["total"] == len(graph["nodes"])


@pytest.mark.parametrize("graph", ["graph", {"nodes": 3}])
def test_the_law_holds_for_a_run_that_never_began(author: User, graph: Any) -> None:
    runtime.use(Nowhere())
    run = start_execution(make_flow(author, graph_of(0)), input_data={}, requester=None, mode=Mode.API)
    seen = [snapshot(run.pk)]
    if graph != "graph":
        FlowVersion.objects.filter(pk=run.flow_version_id).update(graph=graph, checksum=f"broken-{run.pk}")
        seen = [snapshot(run.pk)]
        assert claims.claim([run.pk], "worker") == []
    else:
        (held,) = claims.claim([run.pk], "worker")
        claims.fail(run.pk, held.epoch, {"type": "Fault", "message": "no", "hint": ""})
    assert_law(run, seen)
    assert snapshot(run.pk)["status"] == "error"


def test_the_law_holds_for_a_run_that_fails_outside_of_its_nodes(author: User, scripts: Scripts) -> None:
    gate = scripts["b"] = Gate()
    run = start_execution(
        make_flow(author, scripted_chain("a", "b", "c")), input_data={}, requester=None, mode=Mode.API
    )
    gate.wait_entered()
    wait_for_status(run.pk, "running")
    seen = [snapshot(run.pk)]
    while seen[-1]["nodes"]["b"]["status"] != "running":
        seen.append(snapshot(run.pk))
    epoch = Execution.objects.get(pk=run.pk).epoch
    claims.fail(run.pk, epoch, {"type": "Fault", "message": "no", "hint": ""})
    gate.open()
    assert_law(run, seen)
    final = snapshot(run.pk)
    assert final["status"] == "error"
    assert {node_id: node["status"] for node_id, node in final["nodes"].items()} == {
        "start": "success",
        "a": "success",
        "b": "canceled",
        "c": "idle",
    }, "nothing of a run that has ended is running"
    assert final["progress"] == {"done": 3, "total": 4}


def test_a_retry_that_is_waited_for_ends_with_a_run_that_fails_outside_of_its_nodes(
    author: User, scripts: Scripts
) -> None:
    async def fail(ctx: NodeContext) -> None:
        raise NodeError("not now")

    scripts["a"] = fail
    graph = scripted_chain("a", "b", a={"retry": {"max_attempts": 2, "backoff": 60, "max_delay": 60}})
    run = start_execution(make_flow(author, graph), input_data={}, requester=None, mode=Mode.API)
    deadline = time.monotonic() + 20
    seen = [snapshot(run.pk)]
    while seen[-1]["nodes"]["a"]["status"] != "waiting":
        seen.append(snapshot(run.pk))
        assert time.monotonic() < deadline
    claims.fail(run.pk, Execution.objects.get(pk=run.pk).epoch, {"type": "Fault", "message": "no", "hint": ""})
    assert_law(run, seen)
    final = snapshot(run.pk)
    assert (final["nodes"]["a"]["status"], final["nodes"]["a"]["attempt"]) == ("canceled", 2)
    assert final["progress"] == {"done": 2, "total": 3}


def test_the_law_holds_for_a_retry_also_before_its_first_event(author: User, scripts: Scripts) -> None:
    async def fail(ctx: NodeContext) -> None:
        raise NodeError("not now")

    scripts["b"] = fail
    run = start_execution(
        make_flow(author, scripted_chain("a", "b", "c")), input_data={}, requester=None, mode=Mode.API
    )
    assert wait_for_status(run.pk) == "error"
    del scripts["b"]
    runtime.shutdown()
    runtime.use(Nowhere())
    run.refresh_from_db()
    retry = retry_execution(run, requester=None, origin="failed")
    first = snapshot(retry.pk)
    assert (first["seq"], first["status"], first["progress"]) == (0, "queued", {"done": 2, "total": 4})
    runtime.use(None)
    runtime.executor(recover=True).enqueue(retry.pk)
    assert wait_for_status(retry.pk) == "success"
    assert_law(retry, [first, snapshot(retry.pk)])


def test_a_run_that_is_not_there_has_no_state(author: User) -> None:
    with pytest.raises(Execution.DoesNotExist):
        snapshot(uuid4())
