"""Runs as jobs: made with their run, taken by worker processes, given on when these end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from procrastinate import App
from procrastinate.contrib.django.utils import connector_params
from procrastinate.jobs import Status
from procrastinate.psycopg_connector import PsycopgConnector

from executions import control, due, runtime
from executions.database_threads import DatabaseThreads
from executions.dispatch import start_execution
from executions.hub import hub
from executions.models import Execution, Mode
from executions.queue.batches import BatchingJobManager
from executions.worker import Worker
from flows.models import Flow, FlowVersion
from tests.integration.execution_data import chain_of, journal_of, make_flow, status_of, wait_for_status
from tests.integration.flow_data import graph_of, make_user
from tests.servers import PROJECT, ServerProcess, start_process, wait_until, within
from tests.services import test_environment as services_environment

pytestmark = pytest.mark.services_only

StartWorker = Callable[..., ServerProcess]


@pytest.fixture
def queue(transactional_db: None, settings: Any) -> Iterator[None]:
    """Runs become jobs, and are executed by workers that a test starts."""
    settings.WATAOMI_EXECUTOR = "procrastinate"
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE")
    yield
    runtime.shutdown()


@pytest.fixture
def author(queue: None) -> User:
    return make_user("author")


@pytest.fixture
def worker(queue: None, tmp_path: Path) -> Iterator[StartWorker]:
    """Return a function that starts `manage.py run_worker`, and returns when it takes runs; all are killed behind the
    test."""
    started: list[ServerProcess] = []

    def start(*arguments: str, environment: Mapping[str, str] | None = None) -> ServerProcess:
        variables = {**services_environment(), "WATAOMI_EXECUTOR": "procrastinate", **(environment or {})}
        command = [sys.executable, "manage.py", "run_worker", *arguments]
        process = start_process(command, tmp_path / f"worker-{len(started)}.log", 0, environment=variables)
        started.append(process)
        process.wait_for_log("runs at once", 30)
        return process

    yield start
    for process in started:
        process.kill()


def start(flow: Flow, **input_data: Any) -> Execution:
    return start_execution(flow, input_data=input_data, requester=flow.owner, mode=Mode.API)


def jobs() -> list[tuple[str, str, int]]:
    """Lock, status and priority of each job that executes a run."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT queueing_lock, status, priority FROM procrastinate_jobs"
            " WHERE task_name = 'executions.execute' ORDER BY id"
        )
        return [tuple(row) for row in cursor.fetchall()]


def holder_of(run: Execution) -> str:
    return Execution.objects.values_list("lease_owner", flat=True).get(pk=run.pk)


def starts_of(run: Execution) -> list[str]:
    return [data["nodeId"] for _, name, data in journal_of(run.pk) if name == "nodeExecutionBefore"]


def assert_whole(run: Execution) -> None:
    events = journal_of(run.pk)
    assert [seq for seq, _, _ in events] == list(range(1, len(events) + 1))
    assert [name in {"executionFinished", "executionError"} for _, name, _ in events].count(True) == 1


def test_a_run_and_its_job_are_there_together_or_not_at_all(author: User) -> None:
    flow = make_flow(author, graph_of(0), priority=7)
    with transaction.atomic():
        start(flow)
        assert len(jobs()) == 1
        transaction.set_rollback(True)
    assert (jobs(), Execution.objects.count()) == ([], 0)
    run = start(flow)
    assert jobs() == [(str(run.pk), "todo", 7)]


def test_a_worker_executes_runs_and_leaves_no_job(author: User, worker: StartWorker) -> None:
    flow = make_flow(author, graph_of(0, 0.1))
    before = start(flow)
    worker()
    runs = [before, *(start(flow) for _ in range(20))]
    assert [wait_for_status(run.pk) for run in runs] == ["success"] * 21
    for run in runs:
        assert_whole(run)
    wait_until(lambda: jobs() == [], what=lambda: f"no job, and not {jobs()}")


def test_a_worker_executes_a_hundred_runs_at_once(author: User, worker: StartWorker) -> None:
    flow = make_flow(author, graph_of(30))
    worker()
    runs = [start(flow) for _ in range(101)]
    wait_until(lambda: Execution.objects.filter(status="running").count() == 100, 30)
    assert Execution.objects.filter(status="queued").count() == 1
    for run in runs:
        control.cancel(run, None)
    assert {wait_for_status(run.pk) for run in runs} == {"canceled"}


def test_those_of_a_higher_priority_come_first_to_any_worker(author: User, worker: StartWorker) -> None:
    flows = [make_flow(author, graph_of(0), name=f"P{number}", priority=number) for number in (-3, 0, 9)]
    runs = [start(flow) for flow in flows for _ in range(2)]
    worker("--concurrency", "1")
    assert [wait_for_status(run.pk) for run in runs] == ["success"] * 6
    begun = Execution.objects.order_by("started_at").values_list("priority", flat=True)
    assert list(begun) == [9, 9, 0, 0, -3, -3]


def test_the_limit_of_a_flow_holds_over_several_workers(author: User, worker: StartWorker) -> None:
    flow = make_flow(author, graph_of(0.15), max_concurrent_runs=2)
    worker(), worker()
    runs = [start(flow) for _ in range(10)]
    assert [wait_for_status(run.pk) for run in runs] == ["success"] * 10
    spans = Execution.objects.values_list("started_at", "finished_at")
    moments = sorted([(began, 1) for began, _ in spans] + [(ended, -1) for _, ended in spans])
    at_once = [sum(change for _, change in moments[: index + 1]) for index in range(len(moments))]
    assert max(at_once) == 2


def test_sigterm_hands_runs_over_between_their_nodes(author: User, worker: StartWorker) -> None:
    first = worker(environment={"WATAOMI_SHUTDOWN_GRACE": "3"})
    run = start(make_flow(author, graph_of(1, 1, 0)))
    wait_until(lambda: "wait0" in starts_of(run), 20)
    worker()
    took = first.terminate()
    assert wait_for_status(run.pk) == "success"
    assert starts_of(run) == ["start", "wait0", "wait1", "wait2"], "no node ran twice"
    assert Execution.objects.get(pk=run.pk).takeovers == 0
    assert took < 5
    assert_whole(run)


def test_sigterm_does_not_wait_for_a_long_node_and_another_worker_takes_the_run_at_once(
    author: User, worker: StartWorker
) -> None:
    first = worker(environment={"WATAOMI_SHUTDOWN_GRACE": "0.1"})
    run = start(make_flow(author, graph_of(25)))
    wait_until(lambda: "wait0" in starts_of(run), 20)
    owner = holder_of(run)
    worker()
    assert first.terminate() < 5
    wait_until(lambda: holder_of(run) not in ("", owner), 5, lambda: "another worker to take the run")
    control.cancel(run, None)
    assert wait_for_status(run.pk) == "canceled"


def test_a_run_that_is_given_back_on_sigterm_has_a_job_at_once(author: User, worker: StartWorker) -> None:
    # Longer than its job is waited for: it cannot give the run on.
    only = worker(environment={"WATAOMI_SHUTDOWN_GRACE": "2"})
    run = start(make_flow(author, graph_of(25)))
    wait_until(lambda: "wait0" in starts_of(run), 20)
    only.terminate()
    assert (status_of(run.pk), holder_of(run)) == ("running", "")
    assert (str(run.pk), "todo", 1) in jobs()


def test_a_run_goes_on_behind_its_last_committed_node_when_its_worker_is_killed(
    author: User, worker: StartWorker
) -> None:
    quick = {"WATAOMI_LEASE": "2"}
    both = [worker(environment=quick), worker(environment=quick)]
    run = start(make_flow(author, graph_of(0, 4, 0)))
    wait_until(lambda: "wait1" in starts_of(run), 20)
    (holder,) = [process for process in both if f":{process.pid}:" in holder_of(run)]
    holder.kill()
    assert wait_for_status(run.pk) == "success"
    assert starts_of(run) == ["start", "wait0", "wait1", "wait1", "wait2"]
    assert Execution.objects.get(pk=run.pk).takeovers == 1
    assert_whole(run)
    wait_until(lambda: [job for job in jobs() if job[1] == "todo"] == [])


def test_a_run_whose_job_was_lost_is_found(author: User, worker: StartWorker) -> None:
    run = start(make_flow(author, graph_of(0)))
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs CASCADE")
        cursor.execute("UPDATE executions_execution SET created_at = now() - interval '1 minute'")
    worker(environment={"WATAOMI_LEASE": "1"})
    assert wait_for_status(run.pk) == "success"


def test_a_paused_run_holds_no_worker_and_no_job_and_goes_on_when_it_is_resumed(
    author: User, worker: StartWorker
) -> None:
    worker()
    run = start(make_flow(author, graph_of(2, 0)))
    wait_until(lambda: "wait0" in starts_of(run), 20)
    control.pause(run, None)
    assert wait_for_status(run.pk, "paused") == "paused"
    wait_until(lambda: holder_of(run) == "" and jobs() == [])
    control.resume(run, None)
    assert wait_for_status(run.pk) == "success"


def test_a_run_in_the_queue_is_cancelled_by_a_worker_without_room(author: User, worker: StartWorker) -> None:
    worker("--concurrency", "1")
    held = start(make_flow(author, graph_of(20)))
    wait_for_status(held.pk, "running")
    waiting = start(make_flow(author, graph_of(0), name="Waiting"))
    control.cancel(waiting, None)
    assert wait_for_status(waiting.pk) == "canceled"
    assert status_of(held.pk) == "running"
    control.cancel(held, None)
    assert wait_for_status(held.pk) == "canceled"


def test_a_worker_needs_the_executor_of_workers(transactional_db: None) -> None:
    command = [sys.executable, "manage.py", "run_worker"]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "WATAOMI_EXECUTOR=procrastinate" in ended.stderr


def test_ctrl_c_ends_a_worker_that_has_nothing_to_do(worker: StartWorker) -> None:
    assert worker().stop(signal.SIGINT) < 4


def test_a_run_in_a_terminal_says_that_no_worker_is_alive_and_shows_the_run_when_there_is_one(
    author: User, worker: StartWorker, tmp_path: Path
) -> None:
    flow = make_flow(author, graph_of(0))
    variables = {**services_environment(), "WATAOMI_EXECUTOR": "procrastinate"}
    command = [sys.executable, "manage.py", "run_flow", str(flow.pk)]
    terminal = start_process(command, tmp_path / "terminal.log", 0, environment=variables)
    terminal.wait_for_log("no worker is alive: start one with manage.py run_worker", 30)
    worker()
    terminal.wait_for_log("finished: success", 20)
    assert terminal.process.wait(10) == 0


@pytest.mark.parametrize(
    ("node_type", "code", "bound"), [("terminal_app.threaded", 0, 8.0), ("terminal_app.stuck", 1, 15.0)]
)
def test_a_worker_ends_in_bounded_time_whatever_a_node_does(
    author: User, worker: StartWorker, node_type: str, code: int, bound: float
) -> None:
    environment = {"WATAOMI_EXTRA_APPS": "tests.integration.terminal_app", "WATAOMI_SHUTDOWN_GRACE": "0.2"}
    first = worker(environment=environment)
    with transaction.atomic():
        run = start(make_flow(author, chain_of(("noop", {}))))
        # Its type is known where the worker runs, and not here.
        FlowVersion.objects.filter(flow=run.flow).update(graph=chain_of((node_type, {})))
    wait_until(lambda: "n0" in starts_of(run), 20)
    first.process.send_signal(signal.SIGTERM)  # a second one changes nothing
    assert first.stop(signal.SIGTERM) < within(bound)
    assert first.process.returncode == code, first.log()
    assert status_of(run.pk) == "running"
    if node_type == "terminal_app.threaded":
        assert holder_of(run) == "", "it was given back before the end"


def test_a_run_that_goes_on_does_not_queue_up_behind_new_ones(author: User, worker: StartWorker) -> None:
    from executions.queue.jobs import JobQueue  # its tables are there in this half of the tests only

    flow = make_flow(author, graph_of(0, 0))
    without_job, *new, with_job = (start(flow) for _ in range(4))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs WHERE queueing_lock = %s", [str(without_job.pk)])
    queue = JobQueue()
    for _ in range(2):
        with transaction.atomic():
            queue.put(due.priorities([without_job.pk, with_job.pk]))
    assert sorted(priority for _, _, priority in jobs()) == [0, 0, 1, 1]
    worker("--concurrency", "1")
    assert {wait_for_status(run.pk) for run in (without_job, *new, with_job)} == {"success"}
    started = list(Execution.objects.order_by("started_at").values_list("id", flat=True))
    assert (set(started[:2]), started[2:]) == ({without_job.pk, with_job.pk}, [run.pk for run in new])


@asynccontextmanager
async def opened_jobs(room: int) -> AsyncIterator[tuple[BatchingJobManager, int]]:
    """Jobs as a worker fetches them, and the id under which it is registered."""
    connector = PsycopgConnector(kwargs=connector_params())
    async with App(connector=connector).open_async():
        jobs = BatchingJobManager(connector, capacity=100, room=lambda: room, stopping=lambda: True)
        yield jobs, await jobs.register_worker()


def test_jobs_that_are_fetched_together_come_by_priority_and_are_deleted_together(author: User) -> None:
    flows = [make_flow(author, graph_of(0), name=f"P{number}", priority=number) for number in (0, 5)]
    low, high = ([start(flow) for _ in range(4)] for flow in flows)

    async def take_all() -> list[str | None]:
        async with opened_jobs(room=3) as (manager, worker_id):
            fetched = []
            while job := await manager.fetch_job(["executions"], worker_id):
                fetched.append(job)
            await asyncio.gather(*(manager.finish_job(job, Status.SUCCEEDED, True) for job in fetched))
            await manager.finish_job(fetched[0], Status.SUCCEEDED, True)  # it is gone, which is no error
            return [job.queueing_lock for job in fetched]

    assert asyncio.run(take_all()) == [str(run.pk) for run in high + low]
    assert jobs() == []


def test_a_second_job_of_a_run_that_is_executed_takes_no_place(author: User, worker: StartWorker) -> None:
    from executions.queue.jobs import JobQueue

    worker("--concurrency", "2")
    run = start(make_flow(author, graph_of(30)))
    wait_for_status(run.pk, "running")
    for _ in range(2):
        JobQueue().put({run.pk: 1})
        wait_until(lambda: len(jobs()) == 1, what=lambda: f"one job, and not {jobs()}")
    other = start(make_flow(author, graph_of(0), name="Other"))
    assert wait_for_status(other.pk) == "success"
    control.cancel(run, None)
    assert wait_for_status(run.pk) == "canceled"


def test_a_worker_that_lost_its_connection_to_the_queue_leaves_what_it_has_no_room_for_to_others(
    author: User, worker: StartWorker
) -> None:
    first = worker("--concurrency", "2")
    long = [start(make_flow(author, graph_of(30), name=f"Long {number}")) for number in range(2)]
    for run in long:
        wait_for_status(run.pk, "running")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE '%%procrastinate%%' AND pid <> pg_backend_pid()"
        )
        assert cursor.rowcount > 0
    first.wait_for_log("queue: the connection was lost", 20)
    short = [start(make_flow(author, graph_of(0), name=f"Short {number}")) for number in range(4)]
    time.sleep(3)  # what it should not do has no event to wait for
    assert [status_of(run.pk) for run in short] == ["queued"] * 4
    assert [status for lock, status, _ in jobs() if lock in {str(run.pk) for run in short}] == ["todo"] * 4
    worker("--concurrency", "2")
    assert [wait_for_status(run.pk, timeout=8) for run in short] == ["success"] * 4
    assert [status_of(run.pk) for run in long] == ["running"] * 2
    for run in long:
        control.cancel(run, None)
        assert wait_for_status(run.pk) == "canceled"


def test_what_a_worker_has_fetched_ahead_goes_to_another_one_at_once_when_it_stops(author: User) -> None:
    from executions.queue.consumer import Consumer
    from executions.queue.jobs import JobQueue

    runs = [start(make_flow(author, graph_of(0), priority=2)) for _ in range(3)]
    threads = DatabaseThreads("test", 1)
    consumer = Consumer(Worker(runtime.writer, hub, threads, capacity=1), JobQueue(), threads)

    async def fetch_one_and_stop() -> None:
        async with opened_jobs(room=2) as (manager, worker_id):
            await manager.fetch_job(["executions"], worker_id)
            await manager.fetch_job(["executions"], worker_id)
            await consumer._give_on_unused(manager.unused)

    asyncio.run(fetch_one_and_stop())
    threads.close()
    by_run = {run.pk: [status for lock, status, _ in jobs() if lock == str(run.pk)] for run in runs}
    assert list(by_run.values()) == [["doing"], ["doing"], ["doing", "todo"]]


def test_a_job_that_its_worker_could_not_note_as_done_is_deleted_soon_and_that_of_a_living_run_is_not(
    author: User, worker: StartWorker
) -> None:
    from executions.queue.jobs import drop_stale_jobs

    worker()
    run = start(make_flow(author, graph_of(8)))
    wait_for_status(run.pk, "running")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_events SET at = at - interval '1 minute'")
        cursor.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, worker_id)"
            " SELECT queue_name, task_name, jsonb_build_object('execution_id', gen_random_uuid()), 'doing', worker_id"
            " FROM procrastinate_jobs WHERE queueing_lock = %s",
            [str(run.pk)],
        )
    assert (drop_stale_jobs(30), len(jobs())) == (1, 1)
    assert jobs()[0][0] == str(run.pk)
    control.cancel(run, None)
    wait_until(lambda: jobs() == [], what=lambda: f"no job, and not {jobs()}")
