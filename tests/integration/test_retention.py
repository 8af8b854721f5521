"""Retention: which runs are deleted, by age and by count, with all that is theirs, and by several at once."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from executions import retention, runtime
from executions.dispatch import start_execution
from executions.models import Command, Execution, ExecutionEvent, Mode, NodeExecution
from executions.retention import Rule, count_old, prune, prune_by_settings
from executions.statuses import RUN_ENDED, RunStatus
from flows.models import Flow
from tests.integration.execution_data import make_flow, query_plan, wait_for_status
from tests.integration.flow_data import graph_of, make_user

NOW = datetime.now(UTC)


@pytest.fixture
def flow(transactional_db: None) -> Flow:
    return make_flow(make_user("author"), graph_of(0))


def make_run(flow: Flow, *, days: float = 0, status: str = "success", **fields: Any) -> Execution:
    """A run that ended that many days ago, with an event, a node and a command."""
    ended = NOW - timedelta(days=days) if status in RUN_ENDED else None
    run = Execution.objects.create(
        flow=flow,
        flow_version=flow.versions.get(),
        mode=Mode.API,
        status=status,
        finished_at=ended,
        last_seq=1,
        **fields,
    )
    ExecutionEvent.objects.create(execution=run, seq=1, type="x", data="{}", created_at=NOW)
    NodeExecution.objects.create(execution=run, node_id="start", status="success")
    Command.objects.create(execution=run, kind="pause")
    return run


def remaining() -> set[UUID]:
    """The runs that are there; what belongs to runs is there for these and for no others."""
    runs = set(Execution.objects.values_list("id", flat=True))
    for model in (ExecutionEvent, NodeExecution, Command):
        assert set(model.objects.values_list("execution_id", flat=True)) == runs, model
    return runs


def run_command(*arguments: str) -> str:
    output = StringIO()
    call_command("prune_executions", *arguments, stdout=output)
    return output.getvalue()


def test_runs_that_ended_longer_ago_go_and_no_others(flow: Flow) -> None:
    for status in ("success", "error", "canceled"):
        make_run(flow, days=8, status=status)
    kept = make_run(flow, days=6)
    assert prune(Rule(days=7)) == 3
    assert remaining() == {kept.id}


def test_the_age_of_a_run_is_that_by_the_database_s_clock(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, old = make_run(flow, days=6), make_run(flow, days=40)
    monkeypatch.setattr("executions.retention.database_now", lambda: NOW - timedelta(days=30))
    assert prune(Rule(days=7)) == 1
    assert remaining() == {kept.id} and old.id != kept.id


@pytest.mark.parametrize("status", sorted(set(RunStatus) - RUN_ENDED))
def test_a_run_that_has_not_ended_is_kept_however_old_it_is(flow: Flow, status: str) -> None:
    run = make_run(flow, status=status, started_at=NOW - timedelta(days=900))
    Execution.objects.update(created_at=NOW - timedelta(days=900))
    make_run(flow, days=800)
    assert prune(Rule(days=1, keep_runs=1)) == 1
    assert remaining() == {run.id}


def test_of_each_flow_the_newest_ended_runs_are_kept(flow: Flow) -> None:
    other = make_flow(flow.owner, graph_of(0), name="Other")
    runs = [make_run(flow) for _ in range(5)]
    waiting = make_run(flow, status="waiting")
    few = [make_run(other) for _ in range(2)]
    assert prune(Rule(keep_runs=2)) == 3
    assert remaining() == {run.id for run in [*runs[3:], waiting, *few]}


def test_one_flow_is_cleaned_up_and_the_others_left_alone(flow: Flow) -> None:
    other = make_flow(flow.owner, graph_of(0), name="Other")
    make_run(flow, days=9)
    kept = [make_run(other, days=9) for _ in range(3)]
    assert prune(Rule(days=7, keep_runs=1), flow=flow) == 1
    assert remaining() == {run.id for run in kept}


@pytest.mark.parametrize("rule", [Rule(days=7), Rule(keep_runs=1)])
@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_batches_of_any_size_find_all_of_them(flow: Flow, rule: Rule, batch: int) -> None:
    for _ in range(7):
        make_run(flow, days=8)
    newest = make_run(flow)
    told: list[int] = []
    assert prune(rule, batch=batch, on_batch=told.append) == 7
    assert remaining() == {newest.id}
    assert sum(told) == 7 and max(told) <= batch


def test_runs_that_ended_at_the_same_moment_are_all_found(flow: Flow) -> None:
    for _ in range(5):
        make_run(flow, days=8)
    Execution.objects.update(finished_at=NOW - timedelta(days=8))
    assert prune(Rule(days=7), batch=2) == 5


def test_a_child_stays_with_its_parent_and_goes_with_it(flow: Flow) -> None:
    young = make_run(flow, days=1)
    kept = make_run(flow, days=30, parent=young)
    old = make_run(flow, days=30)
    child = make_run(flow, days=1, parent=old)
    make_run(flow, days=1, parent=child)
    assert prune(Rule(days=7)) == 3
    assert remaining() == {young.id, kept.id}


def test_a_parent_waits_for_the_end_of_what_it_started(flow: Flow) -> None:
    old = make_run(flow, days=30)
    child = make_run(flow, days=30, parent=old)
    grandchild = make_run(flow, status="running", parent=child)
    make_run(flow, days=30)
    assert prune(Rule(days=7), batch=1) == 1
    assert remaining() == {old.id, child.id, grandchild.id}


def test_a_retry_outlives_the_run_that_it_was_made_of(flow: Flow) -> None:
    old = make_run(flow, days=30)
    retry = make_run(flow, days=1, retry_of=old)
    assert prune(Rule(days=7)) == 1
    retry.refresh_from_db()
    assert remaining() == {retry.id} and retry.retry_of_id is None


def test_whatever_refers_to_a_run_is_thought_of() -> None:
    """A new table with a reference to runs must be deleted from as well."""
    known = {(ExecutionEvent, "execution"), (NodeExecution, "execution"), (Command, "execution")}
    known |= {(Execution, "parent"), (Execution, "retry_of")}
    assert {(found.related_model, found.field.name) for found in Execution._meta.related_objects} == known


@pytest.mark.sqlite_only  # reads SQLite's query plans
@pytest.mark.parametrize(
    ("rule", "index"), [(Rule(days=7), "execution_by_end"), (Rule(keep_runs=1), "execution_by_flow")]
)
def test_the_next_ones_are_found_along_an_index(flow: Flow, rule: Rule, index: str) -> None:
    """SQLite took that of the parents, and sorted all runs for each batch."""
    for _ in range(3):
        make_run(flow, days=8)
    with CaptureQueriesContext(connection) as context:
        prune(rule, batch=1)
    chosen = [query["sql"] for query in context.captured_queries if "LIMIT 1" in query["sql"]]
    assert len(chosen) >= 3
    for sql in chosen:
        plan = query_plan(sql)
        assert index in plan and "USE TEMP B-TREE FOR ORDER BY" not in plan, plan


def test_it_stops_between_two_batches_when_it_is_told_to(flow: Flow) -> None:
    for _ in range(4):
        make_run(flow, days=8)
    told: list[int] = []
    assert prune(Rule(days=7), batch=1, stopping=lambda: len(told) == 2, on_batch=told.append) == 2
    assert len(remaining()) == 2


def test_several_at_once_delete_each_run_once(flow: Flow) -> None:
    for _ in range(40):
        make_run(flow, days=8)
    counts: list[int] = []

    def work() -> None:
        try:
            counts.append(prune(Rule(days=7, keep_runs=10), batch=3))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(counts) == 4 and sum(counts) == 40
    assert remaining() == set()


def test_a_batch_that_fails_leaves_whole_runs(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {make_run(flow, days=8).id for _ in range(3)}
    delete = retention._delete

    def broken(*args: Any) -> None:
        delete(*args)
        raise RuntimeError("the process ends here")

    monkeypatch.setattr(retention, "_delete", broken)
    with pytest.raises(RuntimeError):
        prune(Rule(days=7))
    assert remaining() == runs


def test_the_settings_say_what_is_kept(flow: Flow, settings: Any) -> None:
    for days in (9, 5, 4, 3):
        make_run(flow, days=days)
    settings.WATAOMI_KEEP_DAYS, settings.WATAOMI_KEEP_RUNS = 0, 0
    assert prune_by_settings() == 0
    settings.WATAOMI_KEEP_DAYS, settings.WATAOMI_KEEP_RUNS = 7, 2
    assert prune_by_settings() == 2
    assert prune_by_settings() == 0


def test_more_days_than_there_have_been_are_no_error(flow: Flow) -> None:
    make_run(flow, days=10_000)
    assert prune(Rule(days=999_999_999)) == 0


@pytest.mark.usefixtures("executor")
def test_a_real_run_is_deleted_whole(flow: Flow) -> None:
    run = start_execution(flow, input_data={}, requester=flow.owner, mode=Mode.API)
    wait_for_status(run.pk)
    runtime.shutdown()
    Execution.objects.update(finished_at=NOW - timedelta(days=8))
    with transaction.atomic():
        assert prune(Rule(days=7)) == 1
    assert remaining() == set()


# The command


def test_the_command_takes_its_options_before_the_settings(flow: Flow, settings: Any) -> None:
    settings.WATAOMI_KEEP_DAYS, settings.WATAOMI_KEEP_RUNS = 1, 1
    for days in (9, 5, 4, 3):
        make_run(flow, days=days)
    assert run_command("--days", "8") == "1 run deleted.\n"
    assert run_command("--keep", "2", "--flow", flow.slug, "--batch", "1") == "1 run deleted.\n"
    assert run_command() == "2 runs deleted.\n"


def test_a_dry_run_deletes_nothing(flow: Flow) -> None:
    other = make_flow(flow.owner, graph_of(0), name="Other")
    make_run(other)
    for days in (9, 5, 4, 3):
        make_run(flow, days=days)
    before = remaining()
    said = run_command("--days", "8", "--keep", "3", "--dry-run")
    assert said.splitlines() == [
        f"flow (flow {flow.pk}): 1 run",
        "1 run would be deleted, and those that they started.",
    ]
    assert run_command("--keep", "1", "--dry-run").splitlines()[-1].startswith("3 runs would be deleted")
    assert remaining() == before
    assert count_old(Rule(days=1, keep_runs=1)) == {flow.pk: 4}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "All runs are kept"),
        (["--days", "0", "--keep", "0"], "All runs are kept"),
        (["--days", "7", "--flow", "nowhere"], "There is no flow 'nowhere'"),
        (["--days", "-1"], "'-1' is not a whole number"),
        (["--days", "7", "--batch", "0"], "it must be 1 or more"),
    ],
)
def test_wrong_usage_ends_with_2(flow: Flow, arguments: list[str], said: str, settings: Any) -> None:
    settings.WATAOMI_KEEP_DAYS, settings.WATAOMI_KEEP_RUNS = 0, 0
    with pytest.raises(CommandError, match=re.escape(said)) as error:
        run_command(*arguments)
    # Django's parser of options raises a CommandError without a code of its own where it was called from Python.
    assert error.value.returncode == 2 or "argument" in str(error.value)
