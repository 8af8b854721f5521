"""Runs that lose their workers again and again."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from executions import claims, runtime
from executions.dispatch import start_execution
from executions.models import Execution, Mode, NodeExecution
from tests.integration.execution_data import journal_of, make_flow
from tests.integration.flow_data import graph_of, make_user
from tests.integration.test_worker import Nowhere


@pytest.fixture
def run(transactional_db: None, settings: Any) -> Execution:
    """A run that nobody executes."""
    settings.WATAOMI_MAX_TAKEOVERS = 3
    runtime.use(Nowhere())
    author: User = make_user("author")
    return start_execution(make_flow(author, graph_of(0)), input_data={}, requester=author, mode=Mode.API)


@pytest.fixture(autouse=True)
def nothing_left() -> Any:
    yield
    runtime.shutdown()


def lose(run: Execution, number: int) -> bool:
    """Have a worker take the run and die; whether it could take it."""
    claimed = claims.claim([run.pk], f"worker {number}")
    claims.end_leases_of(f"worker {number}")
    return len(claimed) == 1


def node(run: Execution, node_id: str, status: str) -> None:
    NodeExecution.objects.create(execution=run, node_id=node_id, status=status, started_at=timezone.now())


def test_a_run_that_ends_its_workers_is_failed_and_says_which_node_ran(run: Execution) -> None:
    node(run, "wait0", "running")
    Execution.objects.filter(pk=run.pk).update(status="running", last_seq=2)
    assert [lose(run, number) for number in range(4)] == [True, True, True, False]
    run.refresh_from_db()
    assert run.status == "error"
    assert run.error is not None
    assert run.error["type"] == "WorkersLost"
    assert "3 workers in a row while 'Wait 0' ran" in run.error["message"]
    assert "WATAOMI_MAX_TAKEOVERS" in run.error["hint"]
    assert journal_of(run.pk)[-1][1] == "executionError"
    assert NodeExecution.objects.get(execution=run).status == "canceled"
    assert (run.lease_owner, run.lease_until) == ("", None)


def test_a_node_that_ended_between_counts_as_progress(run: Execution) -> None:
    assert [lose(run, number) for number in range(3)] == [True] * 3
    node(run, "start", "success")
    assert [lose(run, number) for number in range(3, 6)] == [True, True, False], "it is counted anew"


def test_runs_that_are_given_back_lose_nothing(run: Execution) -> None:
    for number in range(6):
        assert claims.claim([run.pk], f"worker {number}")
        claims.release(f"worker {number}")
    run.refresh_from_db()
    assert (run.status, run.takeovers) == ("queued", 0)


def test_of_runs_that_lost_the_same_workers_one_at_a_time_gets_its_last_chance(run: Execution) -> None:
    """One of them ends its workers, and the other one only runs beside it."""
    beside = start_execution(run.flow, input_data={}, requester=run.requester, mode=Mode.API)
    ids = [run.pk, beside.pk]
    for number in range(2):
        assert len(claims.claim(ids, f"worker {number}")) == 2
        claims.end_leases_of(f"worker {number}")
    (first,) = claims.claim(ids, "worker 2")
    ids.remove(first.execution_id)
    assert claims.claim(ids, "worker 2") == [], "as long as it holds the first one"
    assert len(claims.claim(ids, "worker 3")) == 1, "another worker may take the other one"
    claims.end_leases_of("worker 2")
    claims.end_leases_of("worker 3")
    Execution.objects.filter(pk=first.execution_id).update(status="error", lease_owner="", lease_until=None)
    left = Execution.objects.exclude(pk=first.execution_id).get()
    assert left.takeovers == 2
    node(left, "start", "success")
    assert [claim.execution_id for claim in claims.claim(ids, "worker 2")] == [left.pk]


def test_a_run_that_has_made_progress_keeps_no_other_from_its_last_chance(run: Execution) -> None:
    beside = [start_execution(run.flow, input_data={}, requester=run.requester, mode=Mode.API) for _ in range(2)]
    ids = [run.pk, *(each.pk for each in beside)]
    for number in range(2):
        assert len(claims.claim(ids, f"worker {number}")) == 3
        claims.end_leases_of(f"worker {number}")
    (first,) = claims.claim(ids, "worker 2")
    ids.remove(first.execution_id)
    assert claims.claim(ids, "worker 2") == []
    node(Execution.objects.get(pk=first.execution_id), "start", "success")
    assert len(claims.claim(ids, "worker 2")) == 1
