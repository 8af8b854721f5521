"""Retries: from where they run, which version, and what they take over from the run before."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from executions import control
from executions.dispatch import retry_execution, start_execution
from executions.errors import FlowInactive, RetryRefused
from executions.models import Execution, Mode, NodeExecution
from flows.context import NodeContext, NodeError
from flows.models import Flow
from flows.versions import save_version
from tests.integration.execution_data import journal_of, make_flow, wait_for_status
from tests.integration.flow_data import make_user
from tests.integration.scripted_nodes import Gate, Scripts, scripted_chain

pytestmark = pytest.mark.usefixtures("executor")


@pytest.fixture
def author(executor: None) -> User:
    return make_user("author")


@pytest.fixture
def flow(author: User, scripts: Scripts) -> Flow:
    return make_flow(author, scripted_chain("a", "b", "c"))


async def fail(ctx: NodeContext) -> None:
    raise NodeError("not now")


@pytest.fixture
def failed(flow: Flow, scripts: Scripts) -> Execution:
    """A run that failed at b, which would succeed by now."""
    scripts["b"] = fail
    run = start_execution(flow, input_data={"number": 7}, requester=None, mode=Mode.API)
    assert wait_for_status(run.pk) == "error"
    del scripts["b"]
    scripts.started.clear()
    run.refresh_from_db()
    return run


def ended(run: Execution) -> Execution:
    wait_for_status(run.pk)
    run.refresh_from_db()
    return run


def listed(run: Execution) -> dict[str, str]:
    """The nodes and their statuses as the run's first event says them."""
    _, name, data = journal_of(run.pk)[0]
    assert name == "executionStarted"
    return {node["id"]: node["status"] for node in data["nodes"]}


def changed(flow: Flow, node_id: str, **change: Any) -> None:
    """Save a version in which one node is another."""
    graph = scripted_chain("a", "b", "c")
    next(node for node in graph["nodes"] if node["id"] == node_id).update(change)
    save_version(flow, graph, base=1, author=flow.owner)


def test_from_the_start_everything_runs_again(failed: Execution, scripts: Scripts, author: User) -> None:
    retry = ended(retry_execution(failed, requester=author))
    assert (retry.status, retry.mode, retry.retry_of_id, retry.requester) == ("success", "retry", failed.pk, author)
    assert retry.input == {"number": 7}
    assert retry.flow_version_id == failed.flow_version_id
    assert scripts.started == ["a", "b", "c"]
    assert set(listed(retry).values()) == {"idle"}


def test_from_the_failed_node_what_succeeded_is_taken_over(failed: Execution, scripts: Scripts) -> None:
    retry = ended(retry_execution(failed, requester=None, origin="failed"))
    assert retry.status == "success"
    assert scripts.started == ["b", "c"]
    assert listed(retry) == {"start": "success", "a": "success", "b": "idle", "c": "idle"}
    assert retry.output == {"c": {"main": [{"number": 7}]}}, "the items of the nodes that were taken over"
    befores = [data["nodeId"] for _, name, data in journal_of(retry.pk) if name == "nodeExecutionBefore"]
    assert befores == ["b", "c"]
    assert NodeExecution.objects.filter(execution=failed).count() == 3, "the run before is left as it was"
    assert NodeExecution.objects.filter(execution=retry).count() == 4
    failed.refresh_from_db()
    assert failed.status == "error"


def test_a_retry_of_a_retry_takes_over_from_that_one(failed: Execution, scripts: Scripts) -> None:
    scripts["c"] = fail
    retry = ended(retry_execution(failed, requester=None, origin="failed"))
    assert retry.status == "error"
    del scripts["c"]
    scripts.started.clear()
    again = ended(retry_execution(retry, requester=None, origin="failed"))
    assert again.status == "success"
    assert scripts.started == ["c"]
    assert again.retry_of_id == retry.pk


@pytest.mark.parametrize(("node_id", "expected"), [("a", ["a", "b", "c"]), ("b", ["b", "c"]), ("c", ["b", "c"])])
def test_in_the_newest_version_what_changed_runs_again_with_all_behind_it(
    failed: Execution, scripts: Scripts, flow: Flow, node_id: str, expected: list[str]
) -> None:
    changed(flow, node_id, name="Another")
    retry = ended(retry_execution(failed, requester=None, origin="failed", version="newest"))
    assert retry.status == "success"
    assert retry.flow_version.number == 2
    assert scripts.started == expected


def test_the_same_version_is_run_though_there_is_a_newer_one(failed: Execution, scripts: Scripts, flow: Flow) -> None:
    changed(flow, "a", name="Another")
    retry = ended(retry_execution(failed, requester=None, origin="failed"))
    assert retry.flow_version_id == failed.flow_version_id
    assert scripts.started == ["b", "c"]


def test_a_cancelled_run_goes_on_where_it_was_cancelled(flow: Flow, scripts: Scripts) -> None:
    gate = scripts["b"] = Gate()
    run = start_execution(flow, input_data={}, requester=None, mode=Mode.API)
    gate.wait_entered()
    control.cancel(run, None)
    assert ended(run).status == "canceled"
    del scripts["b"]
    scripts.started.clear()
    assert ended(retry_execution(run, requester=None, origin="failed")).status == "success"
    assert scripts.started == ["b", "c"]


def test_what_is_taken_over_stays_though_the_run_before_is_deleted(failed: Execution, scripts: Scripts) -> None:
    from executions import runtime

    class Nowhere:
        def enqueue(self, execution_id: object, priority: int = 0) -> None: ...

        def nudge(self) -> None: ...

        def stop(self) -> None: ...

    runtime.shutdown()
    runtime.use(Nowhere())
    retry = retry_execution(failed, requester=None, origin="failed")
    Execution.objects.filter(pk=failed.pk).delete()
    runtime.use(None)
    runtime.executor().enqueue(retry.pk)
    assert ended(retry).status == "success"
    assert scripts.started == ["b", "c"]


def test_what_cannot_be_retried_is_refused(failed: Execution, flow: Flow, scripts: Scripts) -> None:
    good = ended(retry_execution(failed, requester=None))
    with pytest.raises(RetryRefused, match="no failed node"):
        retry_execution(good, requester=None, origin="failed")
    gate = scripts["a"] = Gate()
    going = retry_execution(good, requester=None)
    gate.wait_entered()
    going.refresh_from_db()
    with pytest.raises(RetryRefused, match="has ended"):
        retry_execution(going, requester=None)
    gate.open()
    ended(going)
    Flow.objects.filter(pk=flow.pk).update(active=False)
    with pytest.raises(FlowInactive):
        retry_execution(Execution.objects.get(pk=failed.pk), requester=None)
    assert Execution.objects.count() == 3


def test_a_retry_of_a_run_that_is_deleted_at_that_moment_is_refused(failed: Execution, author: User) -> None:
    gone = Execution.objects.select_related("flow", "flow_version").get(pk=failed.pk)
    failed.delete()
    with pytest.raises(RetryRefused, match="deleted meanwhile"):
        retry_execution(gone, requester=author)
    assert Execution.objects.count() == 0
