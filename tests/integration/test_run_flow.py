"""`manage.py run_flow`: real processes in pipes and on terminals, what they show, and what they leave behind."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from executions import control, runtime, stream
from executions.events import Event
from executions.models import Execution, Mode
from executions.statuses import RUN_ENDED
from flows.models import Flow, FlowVersion
from tests.integration.execution_data import chain_of, executor, journal_of, status_of, wait_for_status  # noqa: F401
from tests.integration.flow_data import cyclic_graph
from tests.integration.terminal_command import Command, command_environment
from tests.servers import PROJECT, wait_until

Start = Callable[..., Command]
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
UNKNOWN = "01890000-0000-7000-8000-000000000000"

TALK: tuple[str, dict[str, Any]] = ("terminal_app.talk", {})
LONG: tuple[str, dict[str, Any]] = ("delay", {"seconds": 25})
"""Longer than any test takes, and not so long that the run would leave its worker to wait (`WATAOMI_PARK_AFTER`)."""

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def command(transactional_db: None) -> Iterator[Start]:
    """Starts `run_flow`; what it started is ended before the database is emptied."""
    started: list[Command] = []

    def start(*arguments: str, **options: Any) -> Command:
        started.append(Command(*arguments, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


def make_flow(*nodes: tuple[str, dict[str, Any]], slug: str = "a-flow", **settings: Any) -> Flow:
    """A chain, saved unseen: its node types are known where the command runs, and not here."""
    return make_drawn(chain_of(*nodes), slug, **settings)


def make_drawn(graph: dict[str, Any], slug: str = "a-flow", **settings: Any) -> Flow:
    owner, _ = User.objects.get_or_create(username="owner")
    flow = Flow.objects.create(name="A flow", slug=slug, owner=owner, head=1)
    for node in graph["nodes"][1:]:
        node["settings"] = settings
    FlowVersion.objects.create(flow=flow, number=1, graph=graph, checksum=slug[:64], author=owner)
    return flow


def run_of(flow: Flow) -> Execution:
    return Execution.objects.get(flow=flow)


def events_of(lines: list[str]) -> list[tuple[int, str, dict[str, Any]]]:
    """As `journal_of` has them."""
    return [(event["seq"], event["type"], event["data"]) for event in map(json.loads, lines)]


def failure_of(*arguments: str, **options: Any) -> CommandError:
    with pytest.raises(CommandError) as failed:
        call_command("run_flow", *arguments, stdout=io.StringIO(), stderr=io.StringIO(), **options)
    return failed.value


# -- in a pipe ---------------------------------------------------------------------------------------------------------


def test_in_a_pipe_each_event_is_a_line_the_moment_it_happens(command: Start, tmp_path: Path) -> None:
    flow = make_flow(TALK)
    until = tmp_path / "until"
    shown = command(str(flow.pk), TALK_UNTIL=str(until))
    shown.wait_for("Node 0: 40 %, thinking: Once upon a time there was a [31mflow\n")
    run = run_of(flow)
    assert (run.status, run.mode, run.requester) == ("running", Mode.CLI, None)
    until.touch()
    assert shown.end() == 0
    first, *lines = shown.lines
    address = f"/admin/executions/execution/{run.pk}/change/"
    assert first == f"Run {run.pk}: A flow (flow {flow.pk}, version 1) {address}"
    assert len(lines) == len(journal_of(run.pk))
    assert [re.sub(r"^ *(\+[\d.]+ s)? *|[\d.]+ m?s, ", "", line) for line in lines] == [
        "started: 2 nodes",
        "Start: running",
        "Start: success, 1 item (1 of 2)",
        "Node 0: running",
        "Node 0: 40 %, thinking: Once upon a time there was a [31mflow",
        "Node 0: success, 1 item (2 of 2)",
        "finished: success, " + lines[-1].split("success, ")[1].split(", ")[-1],
    ]
    # What a node prints is not lost, and not between the events.
    assert shown.stderr == "printed by a node\n"


def test_json_is_exactly_the_events_of_the_stream_one_a_line(command: Start) -> None:
    flow = make_flow(TALK, slug="by-slug")
    shown = command("by-slug", "--json", "--input", '{"name": "Zoë"}', WATAOMI_LOG_LEVEL="DEBUG")
    assert shown.end() == 0
    run = run_of(flow)
    assert run.input == {"name": "Zoë"}
    assert events_of(shown.lines) == journal_of(run.pk)
    assert shown.stdout.isascii() is False
    assert shown.stderr == "printed by a node\n"


def test_with_verbosity_the_log_is_on_standard_error(command: Start) -> None:
    shown = command(str(make_flow(("noop", {})).pk), "--json", "-v", "2")
    assert shown.end() == 0
    assert "executions.runs execution" in shown.stderr
    assert all(line.startswith('{"type":') for line in shown.lines)


def test_the_input_comes_from_standard_input(command: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = make_flow(("noop", {}))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"n": 1}')))
    output = io.StringIO()
    call_command("run_flow", str(flow.pk), "--input", "-", stdout=output)
    assert run_of(flow).input == {"n": 1}
    assert "finished: success" in output.getvalue()


def test_a_run_that_fails_ends_with_1_and_says_which_node_and_why(command: Start) -> None:
    shown = command(str(make_flow(("fail", {"message": "Out of paper."})).pk))
    assert shown.end() == 1
    assert "failed:" in shown.lines[-1] and "Node 0: Failed: Out of paper." in shown.lines[-1]
    assert shown.stderr == ""


def test_a_node_that_failed_is_tried_again_and_said_so(command: Start) -> None:
    shown = command(str(make_flow(("terminal_app.moody", {}), retry={"max_attempts": 2, "backoff": 0.1}).pk))
    assert shown.end() == 0
    assert re.search(r"Node 0: error, .*attempt 1 .*Mood: Not in the mood\. Hint: Ask again\. Next", shown.stdout)
    assert "Node 0: running, attempt 2" in shown.stdout


# -- what cannot be run ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{flow}", "--input", "{"], "--input is not JSON"),
        (["{flow}", "--input", "[1]"], "must be a JSON object"),
        (["{flow}", "--input", "@/nowhere"], "cannot be read"),
        (["{flow}", "--input", '{"a":' * 70 + "1" + "}" * 70], "nested deeper"),
        (["a-flw"], "Did you mean a-flow"),
        (["987654321"], "no flow '987654321'. Flows: "),
        (["9" * 30], "no flow"),
        (["²"], "no flow"),
        ([], "Which flow"),
        (["--watch", "1"], "is not the id of a run"),
        (["--watch", ""], "is not the id of a run"),
        (["--watch", UNKNOWN], f"no run {UNKNOWN}"),
        (["--watch", UNKNOWN, "--input", "{}"], "takes no --input"),
        (["{flow}", "--timeout", "0"], "not a number of seconds above 0"),
        (["{flow}", "--timeout", "soon"], "not a number of seconds above 0"),
        (["{flow}", "--timeout", "nan"], "not a number of seconds above 0"),
    ],
)
def test_wrong_usage_is_said_and_nothing_is_started(arguments: list[str], message: str) -> None:
    flow = make_flow(("noop", {}))
    failure = failure_of(*(argument.replace("{flow}", str(flow.pk)) for argument in arguments))
    assert message in str(failure)
    if "--timeout" not in arguments:  # which argparse refuses, with 2 where it is a process
        assert failure.returncode == 2
    assert not Execution.objects.exists()


def test_a_slug_that_is_very_long_is_told_by_its_id_and_its_beginning() -> None:
    flow = make_flow(("noop", {}), slug="long-" * 39 + "slug")
    shown = f"{flow.pk} {('long-' * 39)[:37]}..."
    assert f"Flows: {shown}." in str(failure_of("elsewhere"))
    meant = str(failure_of(flow.slug[:-1]))
    assert f"Did you mean {shown}?" in meant and len(meant) < 150


def test_a_run_of_another_flow_is_not_watched_as_one_of_this() -> None:
    one, other = make_flow(("noop", {})), make_flow(("noop", {}), slug="other")
    call_command("run_flow", str(one.pk), stdout=io.StringIO())
    assert failure_of(str(other.pk), "--watch", str(run_of(one).pk)).returncode == 2
    call_command("run_flow", "a-flow", "--watch", str(run_of(one).pk), stdout=io.StringIO())


def test_an_invalid_flow_is_refused_with_all_its_problems_and_the_path_of_its_cycle() -> None:
    graph = cyclic_graph()
    graph["nodes"].append({"id": "odd", "type": "unheard.of", "name": "Odd one"})
    failure = failure_of(str(make_drawn(graph).pk))
    assert failure.returncode == 3
    assert "Wait 0 -> Wait 1 -> Wait 0" in str(failure) and "'Odd one' is of the unknown type" in str(failure)
    assert not Execution.objects.exists()


def test_a_flow_that_is_inactive_or_was_never_saved_is_refused() -> None:
    flow = make_flow(("noop", {}))
    Flow.objects.update(active=False)
    failure = failure_of(str(flow.pk))
    assert failure.returncode == 3 and "is not active" in str(failure)
    Flow.objects.update(active=True, head=0)
    FlowVersion.objects.all().delete()
    assert failure_of(str(flow.pk)).returncode == 3


@pytest.mark.parametrize(("arguments", "code"), [(["nothing"], 2), (["--timeout", "x"], 2), (["cyclic"], 3)])
def test_what_is_refused_is_said_on_standard_error_alone(command: Start, arguments: list[str], code: int) -> None:
    make_drawn(cyclic_graph(), "cyclic")
    shown = command(*arguments)
    assert shown.end() == code
    assert shown.stdout == "" and "Traceback" not in shown.stderr
    assert re.search("^(Error|manage.py run_flow: error): ", shown.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("address", "said"),
    [("sqlite:////nowhere/db.sqlite3", "cannot be used"), ("sqlite:///{empty}", "manage.py migrate")],
)
def test_a_database_that_is_not_there_is_said_in_a_line(
    command: Start, tmp_path: Path, address: str, said: str
) -> None:
    shown = command("1", DATABASE_URL=address.format(empty=tmp_path / "empty.sqlite3"))
    assert shown.end() == 1
    assert said in shown.stderr and len(shown.stderr.splitlines()) == 1


# -- how it ends before its end ----------------------------------------------------------------------------------------


def test_ctrl_c_cancels_the_run_and_waits_for_its_end(command: Start) -> None:
    flow = make_flow(LONG)
    shown = command(str(flow.pk), "--json")
    shown.wait_for("nodeExecutionProgress")
    began = time.monotonic()
    shown.signal(signal.SIGINT)
    assert shown.end() == 130
    assert time.monotonic() - began < 5
    assert events_of(shown.lines) == journal_of(run_of(flow).pk)
    assert status_of(run_of(flow).pk) == "canceled"
    assert shown.stderr == "Canceling the run; Ctrl-C again leaves at once.\n"


def test_ctrl_c_before_the_command_has_begun_needs_no_traceback(command: Start) -> None:
    shown = command("1", DJANGO_SETTINGS_MODULE="tests.integration.terminal_app.interrupted_settings")
    assert shown.end() == 130
    assert (shown.stdout, shown.stderr) == ("", "")


def test_a_second_ctrl_c_leaves_at_once(command: Start) -> None:
    flow = make_flow(("terminal_app.stuck", {}))
    shown = command(str(flow.pk))
    shown.wait_for("Node 0: running")
    shown.signal(signal.SIGINT)
    shown.read_until(lambda: "Canceling" in shown.stderr)
    time.sleep(0.3)  # two presses of a person, not one signal that came twice
    began = time.monotonic()
    shown.signal(signal.SIGINT)
    assert shown.end() == 130
    assert time.monotonic() - began < 2
    # Who takes the run up finds what was asked of it.
    assert run_of(flow).commands.get().kind == "cancel"


def test_a_run_that_takes_too_long_is_canceled(command: Start) -> None:
    flow = make_flow(LONG)
    shown = command(str(flow.pk), "--timeout", "0.5")
    assert shown.end() == 124
    assert status_of(run_of(flow).pk) == "canceled"
    assert "Timed out after 0.5 s; canceling the run." in shown.stderr
    assert "finished: canceled" in shown.lines[-1]


def test_a_run_that_somebody_else_cancels_ends_with_130(command: Start, executor: None) -> None:  # noqa: F811
    flow = make_flow(LONG)
    shown = command(str(flow.pk))
    shown.wait_for("Node 0: running")
    control.cancel(run_of(flow), User.objects.get())
    assert shown.end() == 130
    assert "finished: canceled" in shown.lines[-1] and shown.stderr == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_terminated_it_hands_the_run_over_and_another_process_ends_it(
    command: Start,
    executor: None,  # noqa: F811
    number: signal.Signals,
    code: int,
) -> None:
    flow = make_flow(("delay", {"seconds": 3}), ("noop", {}))
    shown = command(str(flow.pk), "--json")
    shown.wait_for('"nodeId":"n0"')
    shown.signal(number)
    assert shown.end() == code
    run = run_of(flow)
    assert run.status == "running" and run.lease_until is None
    assert f"--watch {run.pk}" in shown.stderr
    runtime.executor().enqueue(run.pk)
    assert wait_for_status(run.pk) == "success"
    assert [seq for seq, _, _ in journal_of(run.pk)] == list(range(1, run_of(flow).last_seq + 1))
    assert events_of(shown.lines) == journal_of(run.pk)[: len(shown.lines)]


def test_when_nobody_reads_the_output_the_run_goes_on_without_a_word(command: Start, tmp_path: Path) -> None:
    flow = make_flow(TALK)
    until = tmp_path / "until"
    shown = command(str(flow.pk), "--json", TALK_UNTIL=str(until))
    shown.wait_for("nodeExecutionProgress")
    shown.stop_reading()
    until.touch()
    assert shown.end() == 0
    assert status_of(run_of(flow).pk) == "success"
    assert shown.stderr == "printed by a node\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="There is no /dev/full here.")
@pytest.mark.parametrize("watched", [False, True])
def test_an_output_that_cannot_be_written_ends_it_with_1_though_the_run_succeeds(
    watched: bool, transactional_db: None
) -> None:
    flow = make_flow(("noop", {}))
    if watched:
        call_command("run_flow", str(flow.pk), stdout=io.StringIO())
    arguments = ["--watch", str(run_of(flow).pk)] if watched else [str(flow.pk)]
    command = [sys.executable, "manage.py", "run_flow", *arguments, "--json"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command,
            cwd=PROJECT,
            env=command_environment(),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=-1,
            timeout=60,
        )
    assert (ended.returncode, ended.stderr.decode().count("The output cannot be written: ")) == (1, 1)
    assert status_of(run_of(flow).pk) == "success"


def test_a_reader_that_does_not_read_keeps_no_signal_from_being_obeyed(command: Start) -> None:
    flow = make_flow(("terminal_app.flood", {}))
    shown = command(str(flow.pk), "--json", WATAOMI_PROGRESS_INTERVAL="0")
    shown.wait_for("nodeExecutionProgress")
    wait_for_events(flow, 50)  # more than the pipe holds
    shown.signal(signal.SIGTERM)
    assert shown.process.wait(20) == 143
    assert run_of(flow).lease_until is None


def wait_for_events(flow: Flow, count: int) -> None:
    deadline = time.monotonic() + 30
    while run_of(flow).last_seq < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- runs of other processes -------------------------------------------------------------------------------------------


def test_a_reader_in_another_process_sees_the_run_live(command: Start, tmp_path: Path) -> None:
    """As a page does that is open while a run goes on in a terminal."""
    flow = make_flow(TALK)
    until = tmp_path / "until"
    shown = command(str(flow.pk), "--json", TALK_UNTIL=str(until))
    shown.wait_for('"seq":1}')
    run = run_of(flow)
    seen: list[tuple[Event, str]] = []

    async def read() -> None:
        async for event in stream.events(run.pk):
            seen.append((event, await asyncio.to_thread(status_with_own_connection, run.pk)))
            if event.type == "nodeExecutionProgress":
                until.touch()

    asyncio.run(asyncio.wait_for(read(), 30))
    runtime.shutdown()
    assert shown.end() == 0
    assert [(event.seq, event.type, event.data) for event, _ in seen] == journal_of(run.pk) == events_of(shown.lines)
    # The node ended only when its progress had been seen here: that was live.
    assert [status for event, status in seen if event.type == "nodeExecutionProgress"] == ["running"]


def status_with_own_connection(execution_id: UUID) -> str:
    try:
        return status_of(execution_id)
    finally:
        connection.close()


def test_a_run_of_another_process_is_watched_from_its_first_event_and_not_executed(
    command: Start, tmp_path: Path
) -> None:
    flow = make_flow(TALK)
    until = tmp_path / "until"
    running = command(str(flow.pk), "--json", TALK_UNTIL=str(until))
    running.wait_for("nodeExecutionProgress")
    run = run_of(flow)
    watching = command("--watch", str(run.pk), "--json")
    watching.wait_for("nodeExecutionProgress")
    assert run_of(flow).epoch == 1 and run_of(flow).status == "running"
    until.touch()
    assert running.end() == watching.end() == 0
    assert watching.stdout == running.stdout
    assert run_of(flow).epoch == 1
    # And when it is over, just the same.
    again = command("--watch", str(run.pk).upper(), "--json")
    assert again.end() == 0
    assert again.stdout == running.stdout


@pytest.mark.parametrize(
    ("how", "code", "said"), [("signal", 130, "Not watched any longer"), ("timeout", 124, "Timed out after 1 s")]
)
def test_who_stops_watching_leaves_the_run_alone(
    command: Start,
    executor: None,  # noqa: F811
    how: str,
    code: int,
    said: str,
) -> None:
    flow = make_flow(LONG)
    run = Execution.objects.create(flow=flow, flow_version=flow.versions.get(), mode=Mode.API.value)
    runtime.executor().enqueue(run.pk)
    # So that it is seen within the time for which it is watched.
    wait_until(lambda: run.node_executions.filter(node_id="n0").exists(), 20)
    watching = command("--watch", str(run.pk), *(["--timeout", "1"] if how == "timeout" else []))
    watching.wait_for("Node 0: running")
    if how == "signal":
        watching.signal(signal.SIGINT)
    assert watching.end() == code
    assert said in watching.stderr and "the run goes on" in watching.stderr
    assert status_of(run.pk) == "running" and not run.commands.exists()


def test_a_watched_run_ends_with_its_own_exit_code(command: Start, executor: None) -> None:  # noqa: F811
    flow = make_flow(("fail", {"message": "No."}))
    run = Execution.objects.create(flow=flow, flow_version=flow.versions.get(), mode=Mode.API.value)
    runtime.executor().enqueue(run.pk)
    watching = command("--watch", str(run.pk))
    assert watching.end() == 1
    assert f"Run {run.pk}:" in watching.lines[0]


def test_a_watcher_whose_output_nobody_reads_ends(command: Start, executor: None) -> None:  # noqa: F811
    flow = make_flow(LONG)
    run = Execution.objects.create(flow=flow, flow_version=flow.versions.get(), mode=Mode.API.value)
    runtime.executor().enqueue(run.pk)
    watching = command("--watch", str(run.pk))
    watching.wait_for("Node 0: running")
    watching.stop_reading()
    assert watching.end() == 141
    assert watching.stderr == "" and status_of(run.pk) == "running"


def test_the_commands_of_a_server_s_runs_are_left_to_the_server(command: Start, tmp_path: Path) -> None:
    """A run that pauses elsewhere and is resumed must not move into a terminal that may be closed at any moment."""
    flow, other = make_flow(TALK), make_flow(("noop", {}), slug="other")
    paused = Execution.objects.create(
        flow=other, flow_version=other.versions.get(), mode=Mode.API.value, status="paused"
    )
    until = tmp_path / "until"
    shown = command(str(flow.pk), TALK_UNTIL=str(until))
    shown.wait_for("Node 0: running")
    paused.commands.create(kind="resume")
    # It looks for commands: one that is for its own run is obeyed, behind the other.
    run_of(flow).commands.create(kind="cancel")
    assert shown.end() == 130
    paused.refresh_from_db()
    assert (paused.status, paused.epoch) == ("paused", 0)


def test_its_own_run_goes_on_when_it_is_paused_and_resumed_elsewhere(command: Start) -> None:
    flow = make_flow(("delay", {"seconds": 1.7}), ("noop", {}))
    shown = command(str(flow.pk))
    shown.wait_for("Node 0: running")
    # It must be found while the node still waits, so sooner than an idle worker looks for commands.
    run_of(flow).commands.create(kind="pause")
    shown.wait_for("paused\n")
    assert wait_for_status(run_of(flow).pk, "paused") == "paused"
    run_of(flow).commands.create(kind="resume")
    assert shown.end() == 0
    assert "pausing: running nodes come to their end" in shown.stdout and "resumed" in shown.stdout


# -- on a terminal -----------------------------------------------------------------------------------------------------


def test_on_a_terminal_it_is_a_tree_that_is_redrawn(command: Start, tmp_path: Path) -> None:
    flow = make_flow(TALK)
    until = tmp_path / "until"
    shown = command(str(flow.pk), terminal=(80, 24), TALK_UNTIL=str(until), WATAOMI_LOG_LEVEL="DEBUG")
    shown.wait_for("there was a")
    spinners = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
    # It moves, and the time runs.
    shown.read_until(lambda: len({sign for sign in spinners if f"{sign} Node 0" in shown.words}) > 3, "movement")
    shown.read_until(lambda: len(set(re.findall(r"Node 0 +([\d.]+ s)", shown.words))) > 3, "time")
    assert "━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌  40 %" in shown.words and "thinking" in shown.words
    assert "\x1b[?25l" in shown.stdout and "\x1b[32m" in shown.stdout
    until.touch()
    assert shown.end() == 0
    rows = shown.rows
    assert rows[0] == f"Run {run_of(flow).pk}"
    assert rows[1] == f"/admin/executions/execution/{run_of(flow).pk}/change/"
    assert re.match(r"✓ A flow v1  success  [\d.]+ m?s  2/2$", rows[-3])
    assert re.match(r"├── ✓ Start +\d+ ms  1 item$", rows[-2])
    assert re.match(r"└── ✓ Node 0 +[\d.]+ m?s  1 item$", rows[-1])
    # The cursor is back, what the node printed stands above the tree, and nothing was logged.
    assert shown.stdout.rindex("\x1b[?25h") > shown.stdout.rindex("\x1b[?25l")
    assert "printed by a node" in rows and "logged by a node" not in shown.words and "DEBUG" not in shown.words


def test_without_colours_it_has_none(command: Start) -> None:
    shown = command(str(make_flow(("delay", {"seconds": 0.3})).pk), terminal=(40, 24), NO_COLOR="1")
    assert shown.end() == 0
    assert re.findall(r"\x1b\[(?:\d+;)*(?:3|4|9|10)[0-7]m|\x1b\[38", shown.stdout) == []
    assert "✓ A flow v1  success" in shown.words


@pytest.mark.parametrize("environment", [{"TEST_TERM": "dumb"}, {"TTY_INTERACTIVE": "0"}])
def test_a_terminal_that_cannot_redraw_gets_lines(command: Start, environment: dict[str, str]) -> None:
    shown = command(str(make_flow(("noop", {})).pk), terminal=(80, 24), **environment)
    assert shown.end() == 0
    assert "\x1b" not in shown.stdout and "Node 0: running" in shown.stdout


def test_ctrl_c_on_a_terminal_leaves_the_tree_as_it_ended_and_the_cursor_where_it_was(command: Start) -> None:
    flow = make_flow(LONG)
    shown = command(str(flow.pk), terminal=(80, 24))
    shown.wait_for("Node 0")
    shown.signal(signal.SIGINT)
    assert shown.end() == 130
    rows = shown.rows
    assert "Canceling the run; Ctrl-C again leaves at once." in rows
    assert re.match("⊘ A flow v1  canceled", rows[-3]) and rows[-1].startswith("└── ⊘ Node 0")
    assert shown.stdout.rindex("\x1b[?25h") > shown.stdout.rindex("\x1b[?25l")


def test_who_leaves_at_once_gets_the_cursor_back(command: Start) -> None:
    shown = command(str(make_flow(("terminal_app.stuck", {})).pk), terminal=(80, 24))
    shown.wait_for("Node 0")
    shown.signal(signal.SIGINT)
    shown.wait_for("Canceling")
    shown.signal(signal.SIGTERM)
    assert shown.end() == 130
    assert shown.stdout.rindex("\x1b[?25h") > shown.stdout.rindex("\x1b[?25l")


def test_json_on_a_terminal_is_json(command: Start) -> None:
    flow = make_flow(("noop", {}))
    shown = command(str(flow.pk), "--json", terminal=(80, 24))
    assert shown.end() == 0
    assert events_of(shown.stdout.replace("\r", "").splitlines()) == journal_of(run_of(flow).pk)


def test_nothing_of_a_run_is_lost_when_the_command_is_killed(command: Start, executor: None) -> None:  # noqa: F811
    flow = make_flow(("noop", {}), ("delay", {"seconds": 2}))
    shown = command(str(flow.pk), "--json")
    shown.wait_for('"nodeId":"n1"')
    os.kill(shown.process.pid, signal.SIGKILL)
    assert shown.end() == -signal.SIGKILL
    run = run_of(flow)
    assert run.status not in RUN_ENDED
    assert events_of(shown.lines) == journal_of(run.pk)[: len(shown.lines)]
