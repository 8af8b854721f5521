"""How many runs of a flow are executed at once, over all workers, and which of those that wait come first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from executions import claims, control, due, limits, runtime
from executions.dispatch import retry_execution, start_execution
from executions.errors import FlowBusy
from executions.models import Execution, Mode
from executions.runtime import EmbeddedExecutor
from flows.context import NodeContext
from flows.models import Flow
from tests.integration.execution_data import EXECUTIONS, make_flow, status_of, wait_for_status
from tests.integration.flow_data import graph_of, make_user
from tests.integration.scripted_nodes import Gate, Scripts, scripted_chain
from tests.integration.test_worker import Nowhere
from tests.servers import wait_until

pytestmark = pytest.mark.usefixtures("executor")


@pytest.fixture
def author(executor: None) -> User:
    return make_user("author")


@pytest.fixture
def workers(executor: None) -> Iterator[Callable[[], EmbeddedExecutor]]:
    """Return a function that starts a worker beside the others of this process; a run is brought to all of them, as it
    can happen to a job. All are stopped behind the test."""
    started: list[EmbeddedExecutor] = []

    class All(Nowhere):
        def enqueue(self, execution_id: Any, priority: int = 0) -> None:
            for worker in started:
                worker.enqueue(execution_id, priority)

        def nudge(self) -> None:
            for worker in started:
                worker.nudge()

    def start() -> EmbeddedExecutor:
        started.append(EmbeddedExecutor(recover=True))
        return started[-1]

    runtime.use(All())
    yield start
    for worker in started:
        worker.stop()


def start(flow: Flow, **input_data: Any) -> Execution:
    return start_execution(flow, input_data=input_data, requester=flow.owner, mode=Mode.API)


def test_two_workers_together_execute_no_more_runs_of_a_flow_than_it_may_have(
    author: User, scripts: Scripts, workers: Callable[[], EmbeddedExecutor]
) -> None:
    at_once: list[int] = []
    inside = 0
    pass_on = Gate()

    async def counted(ctx: NodeContext) -> None:
        nonlocal inside
        inside += 1
        at_once.append(inside)
        await pass_on(ctx)
        inside -= 1

    scripts["a"] = counted
    flow = make_flow(author, scripted_chain("a"), max_concurrent_runs=2)
    workers(), workers()
    runs = [start(flow) for _ in range(8)]
    pass_on.wait_entered()
    pass_on.wait_entered()
    assert sorted(status_of(run.pk) for run in runs) == ["queued"] * 6 + ["running"] * 2
    pass_on.open()
    assert [wait_for_status(run.pk) for run in runs] == ["success"] * 8
    assert max(at_once) == 2


def test_runs_that_wait_for_a_place_come_in_the_order_of_their_start(author: User, scripts: Scripts) -> None:
    gate = scripts["a"] = Gate()
    flow = make_flow(author, scripted_chain("a"), max_concurrent_runs=1)
    runs = [start(flow, number=number) for number in range(5)]
    gate.wait_entered()
    gate.open()
    for run in runs:
        assert wait_for_status(run.pk) == "success"
    begun = Execution.objects.order_by("started_at").values_list("id", flat=True)
    assert list(begun) == [run.pk for run in runs]


def test_a_limit_of_one_flow_does_not_hold_up_another(author: User, scripts: Scripts) -> None:
    gate = scripts["a"] = Gate()
    limited = make_flow(author, scripted_chain("a"), max_concurrent_runs=1)
    held, waiting = start(limited), start(limited)
    gate.wait_entered()
    other = start(make_flow(author, graph_of(0), name="Other"))
    assert wait_for_status(other.pk) == "success"
    assert status_of(waiting.pk) == "queued"
    gate.open()
    assert [wait_for_status(run.pk) for run in (held, waiting)] == ["success"] * 2


def test_a_paused_run_gives_its_place_to_another_and_waits_for_one_when_it_is_resumed(
    author: User, scripts: Scripts
) -> None:
    first_gate, second_gate = Gate(), Gate()

    async def gated(ctx: NodeContext) -> None:
        await (first_gate if ctx.scope.input["number"] == 1 else second_gate)(ctx)

    scripts["a"] = gated
    flow = make_flow(author, scripted_chain("a", "b"), max_concurrent_runs=1)
    first, second = start(flow, number=1), start(flow, number=2)
    first_gate.wait_entered()
    control.pause(first, None)
    wait_for_status(first.pk, "pausing")
    first_gate.open()
    assert wait_for_status(first.pk, "paused") == "paused"
    second_gate.wait_entered()
    control.resume(first, None)
    wait_until(lambda: Execution.objects.get(pk=first.pk).commands.filter(kind="resume", taken_at=None).exists())
    assert limits.free_places(flow) == 0
    assert claims.claim([first.pk], "another") == [], "its place is taken"
    second_gate.open()
    assert [wait_for_status(run.pk) for run in (first, second)] == ["success"] * 2


def test_a_run_in_line_is_cancelled_at_once(author: User, scripts: Scripts) -> None:
    gate = scripts["a"] = Gate()
    flow = make_flow(author, scripted_chain("a"), max_concurrent_runs=1)
    held, waiting = start(flow), start(flow)
    gate.wait_entered()
    control.cancel(waiting, None)
    assert wait_for_status(waiting.pk) == "canceled"
    assert status_of(held.pk) == "running"
    gate.open()
    assert wait_for_status(held.pk) == "success"


def test_a_run_whose_worker_died_keeps_its_place(author: User) -> None:
    runtime.use(Nowhere())
    flow = make_flow(author, graph_of(0), max_concurrent_runs=1)
    first, second = start(flow), start(flow)
    (held,) = claims.claim([first.pk, second.pk], "dead")
    assert held.execution_id == first.pk
    claims.end_leases_of("dead")
    assert claims.claim([second.pk], "heir") == []
    assert due.interrupted() == [first.pk]
    assert [claim.execution_id for claim in claims.claim([first.pk], "heir")] == [first.pk]


def test_a_limit_that_is_raised_is_used_at_once(author: User, scripts: Scripts) -> None:
    gate = scripts["a"] = Gate()
    flow = make_flow(author, scripted_chain("a"), max_concurrent_runs=1)
    runs = [start(flow) for _ in range(3)]
    gate.wait_entered()
    Flow.objects.filter(pk=flow.pk).update(max_concurrent_runs=None)
    runtime.executor().nudge()
    Flow.objects.filter(pk=flow.pk).update(max_concurrent_runs=3)
    gate.wait_entered()
    gate.wait_entered()
    gate.open()
    assert [wait_for_status(run.pk) for run in runs] == ["success"] * 3


def test_a_flow_that_refuses_says_so_and_makes_no_run(author: User, scripts: Scripts) -> None:
    gate = scripts["a"] = Gate()
    flow = make_flow(author, scripted_chain("a"), name="Busy", max_concurrent_runs=1, when_full="refuse")
    client = APIClient()
    client.force_authenticate(author)
    first = client.post(EXECUTIONS, {"flow_id": flow.pk, "input_data": {}})
    assert first.status_code == 202, first.content
    gate.wait_entered()
    refused = client.post(EXECUTIONS, {"flow_id": flow.pk, "input_data": {}})
    assert (refused.status_code, refused.json()["code"]) == (409, "flow_busy")
    assert "'Busy'" in refused.json()["detail"]
    assert Execution.objects.count() == 1
    gate.open()
    run = Execution.objects.get()
    assert wait_for_status(run.pk) == "success"
    run.refresh_from_db()
    assert wait_for_status(retry_execution(run, requester=author).pk) == "success"


def test_runs_that_were_started_at_one_time_are_refused_beyond_the_limit(author: User) -> None:
    runtime.use(Nowhere())
    flow = make_flow(author, graph_of(0), max_concurrent_runs=2, when_full="refuse")
    start(flow), start(flow)
    with pytest.raises(FlowBusy):
        start(flow)
    assert Execution.objects.count() == 2


def test_of_the_runs_that_wait_for_a_worker_those_of_a_higher_priority_come_first(
    author: User, scripts: Scripts, settings: Any
) -> None:
    settings.WATAOMI_MAX_CONCURRENT_RUNS = 1
    gate = scripts["a"] = Gate()
    held = start(make_flow(author, scripted_chain("a"), name="Held"))
    gate.wait_entered()
    flows = [make_flow(author, graph_of(0), name=f"P{number}", priority=number) for number in (-5, 0, 7)]
    runs = [start(flow) for flow in flows]
    assert [run.priority for run in runs] == [-5, 0, 7]
    gate.open()
    for run in (held, *runs):
        assert wait_for_status(run.pk) == "success"
    begun = Execution.objects.exclude(pk=held.pk).order_by("started_at").values_list("priority", flat=True)
    assert list(begun) == [7, 0, -5]


def test_in_line_those_of_a_higher_priority_come_first(author: User) -> None:
    runtime.use(Nowhere())
    flow = make_flow(author, graph_of(0), max_concurrent_runs=1)
    low, high = start(flow), start(flow)
    Execution.objects.filter(pk=high.pk).update(priority=5)
    assert limits.next_in_line() == [high.pk]
    assert claims.claim([low.pk], "worker") == []
    assert [held.execution_id for held in claims.claim([low.pk, high.pk], "worker")] == [high.pk]


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_concurrent_runs", 0), ("max_concurrent_runs", -1), ("when_full", "drop"), ("priority", 101)],
)
def test_a_limit_that_makes_no_sense_is_refused_with_its_name(author: User, field: str, value: object) -> None:
    client = APIClient()
    client.force_authenticate(author)
    answer = client.post("/api/v1/flows", {"name": "Flow", field: value})
    assert answer.status_code == 400
    assert list(answer.json()) == [field]


def test_limits_are_set_and_read_by_the_api(author: User) -> None:
    client = APIClient()
    client.force_authenticate(author)
    given = {"max_concurrent_runs": 3, "when_full": "refuse", "priority": -10}
    made = client.post("/api/v1/flows", {"name": "Flow", **given}).json()
    assert {name: made[name] for name in given} == given
    address = f"/api/v1/flows/{made['id']}"
    assert client.patch(address, {"max_concurrent_runs": None}).json()["max_concurrent_runs"] is None
