"""The operator's figures as they are gathered, and who may see them where: /status, /metrics, engine_status."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from executions import runtime
from executions.dispatch import start_execution
from executions.models import Execution, Mode, Process
from executions.status import gathering, metrics
from executions.status.figures import Figures, ProcessState
from executions.status.gathering import gather
from executions.status.problems import CODES
from flows.models import Flow
from tests.integration.execution_data import make_flow, wait_for_status
from tests.integration.flow_data import graph_of, make_user
from tests.servers import PROJECT

NOW = datetime.now(UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Figures are asked for anew by each test."""
    gathering._newest = None
    yield
    gathering._newest = None


@pytest.fixture
def flow(db: None) -> Flow:
    return make_flow(make_user("author"), graph_of(0))


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("operator", is_staff=True))
    return client


def make_process(name: str, *, role: str = "worker", seen: float = 1.0, **fields: Any) -> Process:
    return Process.objects.create(
        name=name,
        role=role,
        host=name.split(":", maxsplit=1)[0],
        pid=int(name.split(":")[1]),
        started_at=NOW - timedelta(hours=1),
        seen_at=datetime.now(UTC) - timedelta(seconds=seen),
        **{"executes": role == "worker", "capacity": 100 if role == "worker" else 0, **fields},
    )


def make_run(flow: Flow, status: str = "queued", *, age: float = 0, **fields: Any) -> Execution:
    run = Execution.objects.create(flow=flow, flow_version=flow.versions.get(), mode=Mode.API, status=status, **fields)
    Execution.objects.filter(pk=run.pk).update(created_at=datetime.now(UTC) - timedelta(seconds=age))
    return run


def lease(owner: str, seconds: float = 10) -> dict[str, Any]:
    return {"lease_owner": owner, "lease_until": datetime.now(UTC) + timedelta(seconds=seconds)}


# The figures


def test_processes_are_alive_late_or_gone(flow: Flow) -> None:
    make_process("a:1:x", seen=14)
    make_process("b:2:y", seen=16)
    make_process("c:3:z", seen=601)
    found = {process.name: process.state for process in gather().processes}
    assert found == {"a:1:x": ProcessState.ALIVE, "b:2:y": ProcessState.LATE}


def test_runs_are_held_by_who_has_their_leases(flow: Flow) -> None:
    make_process("a:1:x", held=77)
    for _ in range(3):
        make_run(flow, "running", **lease("a:1:x"))
    make_run(flow, "running", **lease("a:1:x", -1))
    make_run(flow, "running", **lease("host:9:terminal"))
    held = {process.name: (process.role, process.held, process.pid) for process in gather().processes}
    assert held == {"a:1:x": ("worker", 3, 1), "host:9:terminal": ("command", 1, 9)}
    assert len(gather().workers) == 1


def test_the_queue_is_what_nobody_holds(flow: Flow) -> None:
    limited = make_flow(flow.owner, graph_of(0), name="Limited", max_concurrent_runs=1)
    make_run(flow, age=40)
    make_run(flow, age=20, **lease("a:1:x"))
    make_run(flow, age=70, **lease("gone:1:x", -1))
    make_run(limited, age=90)
    make_run(flow, "paused", age=500)
    queue = gather().queue
    assert queue.depth == 3
    assert queue.oldest_seconds == pytest.approx(90, abs=5)
    assert queue.oldest_unlimited_seconds == pytest.approx(70, abs=5)


def test_lost_and_overdue_runs(flow: Flow) -> None:
    now = datetime.now(UTC)
    make_run(flow, "running", **lease("gone:1:x", -30))
    make_run(flow, "pausing", **lease("gone:1:x", -50))
    make_run(flow, "running", **lease("a:1:x"))
    make_run(flow, "waiting", wake_at=now - timedelta(seconds=60))
    make_run(flow, "waiting", wake_at=now + timedelta(seconds=60))
    queue = gather().queue
    assert (queue.lost, queue.overdue) == (2, 1)
    assert queue.lost_seconds == pytest.approx(50, abs=5)
    assert queue.overdue_seconds == pytest.approx(60, abs=5)


def test_runs_by_status_and_those_that_ended_lately(flow: Flow) -> None:
    now = datetime.now(UTC)
    for seconds, status in ((10, "success"), (200, "success"), (200, "error"), (800, "canceled"), (1000, "success")):
        make_run(flow, status, finished_at=now - timedelta(seconds=seconds))
    make_run(flow, "success", finished_at=now + timedelta(seconds=300))  # of a machine whose clock was ahead
    make_run(flow, "waiting")
    figures = gather()
    assert figures.ended == {
        1: {"success": 1},
        5: {"success": 2, "error": 1},
        15: {"success": 2, "error": 1, "canceled": 1},
    }
    assert (figures.runs["waiting"], figures.runs["queued"]) == (1, 0)
    assert (figures.per_minute(5), figures.failed_in(15)) == (0.6, 1)


def test_the_database_and_its_tables(flow: Flow) -> None:
    database = gather().database
    assert database.bytes > 10_000
    if connection.vendor == "postgresql":
        assert database.vendor == "PostgreSQL"
        assert [table.name for table in database.tables] == ["executions", "node executions", "execution events"]
    else:
        assert (database.vendor, database.tables) == ("SQLite", ())


@pytest.mark.parametrize("host", ["redis://127.0.0.1:1/0", "nonsense", {"address": "redis://127.0.0.1:1/0"}])
def test_a_layer_that_cannot_be_reached_is_said(settings: Any, host: Any) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [host]}}
    }
    layer = gathering._layer()
    assert layer.joins_processes and layer.fault


def test_one_process_has_no_layer(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    layer = gathering._layer()
    assert not layer.joins_processes and not layer.fault


def test_each_question_is_answered_by_an_index(flow: Flow) -> None:
    """Whatever the number of runs: none of the statements reads the whole table of runs."""
    with CaptureQueriesContext(connection) as context:
        gather()
    about_runs = [query["sql"] for query in context.captured_queries if "executions_execution" in query["sql"]]
    about_runs = [sql for sql in about_runs if sql.startswith("SELECT") and "pg_class" not in sql]
    assert len(about_runs) == 6
    for sql in about_runs:
        plan = explain(sql)
        assert re.search(r"\bexecution_(by|unfinished)", plan), plan
        assert not WHOLE_TABLE.search(plan), plan


WHOLE_TABLE = re.compile(
    r"Seq Scan on executions_execution|"
    # An index that has only the runs that are looked for may be read whole.
    r"SCAN executions_execution(?! USING (COVERING )?INDEX execution_(unfinished|by_lease|by_owner|by_wake))"
)


def explain(sql: str) -> str:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {sql}")
        else:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return "; ".join(str(row[-1]) for row in cursor.fetchall())


def test_the_database_is_asked_once_a_second_however_many_ask(
    monkeypatch: pytest.MonkeyPatch, staff: Client, settings: Any
) -> None:
    asked: list[Figures] = []
    gather_once = gathering.gather

    def counted() -> Figures:
        asked.append(gather_once())
        return asked[-1]

    monkeypatch.setattr(gathering, "gather", counted)
    for address in ("/status", "/status?fragment=1", "/metrics", "/metrics"):
        assert staff.get(address).status_code == 200
    assert len(asked) == 1
    monkeypatch.setattr(gathering, "FRESH_SECONDS", 0.0)
    staff.get("/metrics")
    assert len(asked) == 2


# The page


def test_the_page_is_for_staff(staff: Client, flow: Flow) -> None:
    for client in (Client(), Client()):
        response = client.get("/status")
        assert response.status_code == 302 and response["Location"] == "/admin/login/?next=/status"
        client.force_login(flow.owner)
        assert client.get("/status?fragment=1").status_code == 302
    assert staff.get("/status").status_code == 200
    assert staff.post("/status").status_code == 405


def test_the_page_says_what_is_wrong_and_what_to_do(staff: Client, flow: Flow, settings: Any) -> None:
    make_process("b:2:y", seen=20)
    make_run(flow, age=150)
    page = staff.get("/status").content.decode()
    assert "The worker b:2:y has not been seen for" in page
    assert "The oldest run has waited for 2 min" in page
    assert 'data-code="no_worker"' in page and "3 problems" in page
    assert "no-store" in staff.get("/status")["Cache-Control"]


def test_all_is_well(staff: Client, flow: Flow) -> None:
    make_process("b:2:y", readers=5)
    make_run(flow, "running", **lease("b:2:y"))
    page = staff.get("/status").content.decode()
    assert "All is well" in page and "1 of 100" in page and 'class="problems"' not in page


def test_the_fragment_is_what_the_page_has_between_its_frame(staff: Client, flow: Flow) -> None:
    make_process("b:2:y")
    fragment = staff.get("/status?fragment=1").content.decode()
    assert "<html" not in fragment and "Workers alive" in fragment
    assert fragment.strip() in staff.get("/status").content.decode()


def test_what_a_process_says_of_itself_is_escaped(staff: Client) -> None:
    make_process("b:2:<script>alert(1)</script>", seen=30)
    assert "<script>alert" not in staff.get("/status").content.decode()


def test_staff_find_the_page_from_the_flows_and_the_admin(staff: Client, flow: Flow) -> None:
    assert 'href="/status"' in staff.get("/").content.decode()
    assert 'href="/status"' in staff.get("/admin/").content.decode()
    author = Client()
    author.force_login(flow.owner)
    assert 'href="/status"' not in author.get("/").content.decode()


# Metrics


def metrics_of(client: Client, **headers: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Samples by their name, and by the values of their labels."""
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200 and response["Content-Type"].startswith("text/plain; version=")
    samples: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(response.content.decode()):
        assert family.documentation, family.name
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return samples


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer ", 401),
        ("Basic secret", 401),
        ("Bearer secretäö", 401),
        ("Bearer secret-é".encode().decode("latin-1"), 200),
        ("bearer  secret-é ".encode().decode("latin-1"), 200),
    ],
)
def test_metrics_are_for_who_has_the_token(settings: Any, sent: str | None, status: int) -> None:
    """Headers are bytes, and come as Latin-1."""
    settings.WATAOMI_METRICS_TOKEN = "secret-é"
    response = Client().get("/metrics", headers={"Authorization": sent} if sent else {})
    assert response.status_code == status
    assert ("WWW-Authenticate" in response) is (status == 401)
    assert b"wataomi_" in response.content or status == 401


@pytest.mark.parametrize("sent", ["Bearer ", "Bearer", ""])
def test_without_a_token_in_the_settings_none_lets_in(settings: Any, sent: str) -> None:
    settings.WATAOMI_METRICS_TOKEN = ""
    assert Client().get("/metrics", headers={"Authorization": sent}).status_code == 401


def test_metrics_are_for_staff_and_nobody_else_who_is_logged_in(staff: Client, flow: Flow) -> None:
    author = Client()
    author.force_login(flow.owner)
    assert author.get("/metrics").status_code == 403
    assert staff.get("/metrics").status_code == 200


def test_metrics_have_the_figures_of_the_installation(staff: Client, flow: Flow) -> None:
    make_process("a:1:x", role="web", readers=5)
    make_process("b:2:y", commits=9, commit_p50_ms=2.0, commit_p99_ms=40.0, backlog=3)
    make_process("c:3:z", seen=30)
    make_run(flow, "running", **lease("b:2:y"))
    make_run(flow, age=60)
    make_run(flow, "error", finished_at=datetime.now(UTC))
    found = metrics_of(staff)
    assert found["wataomi_workers"] == {(): 1}
    assert found["wataomi_process_up"] == {("a:1:x", "web"): 1, ("b:2:y", "worker"): 1, ("c:3:z", "worker"): 0}
    assert found["wataomi_process_held_runs"][("b:2:y",)] == 1
    assert found["wataomi_process_readers"] == {("a:1:x",): 5, ("b:2:y",): 0}
    assert found["wataomi_process_commits_total"][("b:2:y",)] == 9
    assert found["wataomi_process_commit_seconds"] == {("b:2:y", "0.5"): 0.002, ("b:2:y", "0.99"): 0.04}
    assert found["wataomi_runs"][("queued",)] == 1 and found["wataomi_queue_runs"] == {(): 1}
    assert found["wataomi_queue_oldest_age_seconds"][()] == pytest.approx(60, abs=5)
    assert found["wataomi_queue_oldest_unlimited_age_seconds"][()] == pytest.approx(60, abs=5)
    assert found["wataomi_ended_runs"][("1", "error")] == 1
    assert found["wataomi_database_size_bytes"][()] > 0
    assert set(found["wataomi_problems"]) == {(code,) for code in CODES}
    assert found["wataomi_problems"][("process_late",)] == 1
    assert "process_resident_memory_bytes" in found, "of the process that answers"


def test_metrics_of_the_process_are_there_while_the_database_is_away(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> Figures:
        raise OperationalError("connection refused")

    settings.WATAOMI_METRICS_TOKEN = "secret"
    assert metrics_of(Client(), Authorization="Bearer secret")["wataomi_database_up"] == {(): 1}
    monkeypatch.setattr(metrics, "fresh_figures", away)
    found = metrics_of(Client(), Authorization="Bearer secret")
    assert found["wataomi_database_up"] == {(): 0}
    assert "wataomi_journal_backlog_entries" in found and "process_resident_memory_bytes" in found
    assert "wataomi_workers" not in found, "what is not known is not told"


def test_the_name_of_each_metric_ends_as_prometheus_wants_it(staff: Client) -> None:
    text = staff.get("/metrics").content.decode()
    types = dict(re.findall(r"^# TYPE (wataomi_\w+) (\w+)$", text, re.MULTILINE))
    assert len(types) > 20
    for name, kind in types.items():
        assert name.endswith("_total") is (kind == "counter"), name
        assert not re.search(r"_(ms|milliseconds|minutes|megabytes)(_|$)", name)


def test_each_metric_and_each_problem_is_documented(staff: Client) -> None:
    make_process("b:2:y")
    text = (PROJECT / "docs" / "howto" / "observe.md").read_text()
    documented = set(re.findall(r"`(_?[a-z_]+)[`{]", text))
    for name in re.findall(r"^# TYPE (wataomi_\w+)", staff.get("/metrics").content.decode(), re.MULTILINE):
        assert {name, f"_{name.removeprefix('wataomi_process_')}"} & documented, name
    assert set(CODES) <= documented


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("executor")
def test_metrics_have_the_commits_of_the_process_that_answers(staff: Client, flow: Flow) -> None:
    before = metrics_of(staff)
    run = start_execution(flow, input_data={}, requester=flow.owner, mode=Mode.API)
    wait_for_status(run.pk)
    runtime.shutdown()
    after = metrics_of(staff)
    run.refresh_from_db()
    assert after["wataomi_journal_entries_total"][()] - before["wataomi_journal_entries_total"][()] == run.last_seq
    name = "wataomi_journal_commit_seconds"
    commits = after[f"{name}_count"][()] - before[f"{name}_count"][()]
    assert commits >= 1
    assert after[f"{name}_bucket"][("+Inf",)] == after[f"{name}_count"][()]
    assert after[f"{name}_sum"][()] > before[f"{name}_sum"][()]
    assert list(after[f"{name}_bucket"].values()) == sorted(after[f"{name}_bucket"].values()), "cumulative"
    assert after["wataomi_journal_backlog_entries"] == {(): 0}


# The command


def run_command(*arguments: str) -> tuple[int, str]:
    output = StringIO()
    try:
        call_command("engine_status", *arguments, stdout=output)
    except SystemExit as end:
        return int(str(end.code)), output.getvalue()
    return 0, output.getvalue()


def test_the_command_ends_with_0_when_all_is_well_and_with_1_otherwise(flow: Flow) -> None:
    code, said = run_command()
    assert code == 1 and "Problem: No" in said
    make_process("b:2:y")
    code, said = run_command()
    assert code == 0 and said.startswith("Status: ok") and "Worker b:2:y: alive" in said


def test_the_command_s_json(flow: Flow) -> None:
    make_process("b:2:y")
    code, said = run_command("--json")
    read = json.loads(said)
    assert code == 0 and read["healthy"] is True and read["processes"][0]["name"] == "b:2:y"
    assert said.count("\n") == 1


def test_the_command_watches_until_it_is_interrupted(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 1:
            make_process("b:2:y")
        if len(sleeps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(connection, "close", lambda: None)  # it belongs to the test's transaction
    code, said = run_command("--json", "--watch", "0.5")
    assert [json.loads(line)["healthy"] for line in said.splitlines()] == [False, True, True]
    assert code == 0 and sleeps == [0.5] * 3


def test_the_command_says_when_the_database_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from executions.management.commands import engine_status

    def away() -> Figures:
        raise OperationalError("connection refused")

    monkeypatch.setattr(engine_status, "gather", away)
    with pytest.raises(CommandError, match=r"The database cannot be read: connection refused") as error:
        run_command()
    assert error.value.returncode == 1


# Health


async def test_health_sees_an_executor_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "is_executor_dead", lambda: True)
    from wataomi import health

    monkeypatch.setattr(health, "_read_one_row", lambda: None)
    response = await AsyncClient().get("/healthz")
    assert response.status_code == 503
    assert "executor" in response.json()["checks"] and "Restart the process" in response.json()["checks"]["executor"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("executor")
def test_an_executor_whose_thread_has_ended_is_dead() -> None:
    assert not runtime.is_executor_dead(), "there is none yet"
    executor = runtime.executor()
    assert isinstance(executor, runtime.EmbeddedExecutor) and not runtime.is_executor_dead()
    executor.stop()
    assert runtime.is_executor_dead() and not runtime.figures().executes
