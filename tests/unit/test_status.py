"""What the operator is told: what is wrong and what to do, the figures in words, on lines and as JSON."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import orjson
import pytest
from rich.console import Console

from executions.status.figures import DatabaseFigures, LayerFigures, ProcessFigures, TableFigures
from executions.status.page import page_of, services, tiles
from executions.status.problems import BACKLOG, CODES, problems_of
from executions.status.words import counted, milliseconds_words, rate_words, size_words, span_words
from executions.terminal.status_view import as_json, lines, screen
from tests.unit.status_figures import WEB, WORKER, figures, late


def codes(**different: Any) -> list[str]:
    return [problem.code for problem in problems_of(figures(**different))]


def the_problem(**different: Any) -> tuple[str, str]:
    (problem,) = problems_of(figures(**different))
    assert problem.code in CODES
    return problem.message, problem.hint


def test_nothing_is_wrong_where_all_is_well() -> None:
    assert codes() == []


def test_no_worker() -> None:
    message, hint = the_problem(processes=(WEB,))
    assert message == "No worker is alive." and hint == "Start one with manage.py run_worker."
    message, hint = the_problem(processes=(WEB,), executor="embedded")
    assert message == "No server is alive that executes runs."


def test_a_command_that_executes_its_own_run_is_no_worker() -> None:
    command = ProcessFigures(name="c:3:z", role="command", host="c", pid=3, held=1)
    assert codes(processes=(WEB, command)) == ["no_worker"]
    assert codes(processes=(WEB, WORKER, command)) == []


def test_a_process_that_is_not_seen() -> None:
    other = replace(WORKER, name="b:9:z", pid=9)
    message, hint = the_problem(processes=(WORKER, late(other, 20.4)))
    assert message == "The worker b:9:z has not been seen for 20 s."
    assert "process 9" in hint and "on b" in hint
    assert the_problem(processes=(WORKER, late(WEB, 20)))[0].startswith("The server a:1:x")
    assert codes(processes=(late(WORKER, 20),)) == ["no_worker", "process_late"]


@pytest.mark.parametrize(("seconds", "found"), [(None, False), (29.0, False), (31.0, True)])
def test_a_run_that_waits_too_long(seconds: float | None, found: bool) -> None:
    assert codes(queue={"oldest_unlimited_seconds": seconds}) == (["queue_old"] if found else [])


def test_the_oldest_run_s_wait_is_said_and_what_to_do_depends_on_the_room() -> None:
    message, hint = the_problem(queue={"depth": 1200, "oldest_unlimited_seconds": 150.0})
    assert message == "The oldest run has waited for 2 min; 1,200 runs wait for a worker."
    assert "have room" in hint
    full = (replace(WORKER, held=100),)
    assert "raise WATAOMI_WORKER_CONCURRENCY" in the_problem(processes=full, queue={"oldest_unlimited_seconds": 40})[1]
    hint = the_problem(processes=full, executor="embedded", queue={"oldest_unlimited_seconds": 40})[1]
    assert "raise WATAOMI_MAX_CONCURRENT_RUNS" in hint


def test_a_run_of_a_full_flow_may_wait() -> None:
    assert codes(queue={"oldest_seconds": 5000.0, "oldest_unlimited_seconds": None}) == []


@pytest.mark.parametrize(("seconds", "found"), [(19.0, False), (21.0, True)])
def test_runs_that_nobody_takes_over(seconds: float, found: bool) -> None:
    assert codes(queue={"lost": 3, "lost_seconds": seconds}) == (["runs_lost"] if found else [])


def test_runs_whose_wait_is_over() -> None:
    assert codes(queue={"overdue": 1, "overdue_seconds": 29}) == []
    message, _ = the_problem(queue={"overdue": 1, "overdue_seconds": 95})
    assert message == "1 run whose wait is over has not gone on, the first for 1 min."


def test_a_journal_that_is_behind() -> None:
    assert codes(processes=(replace(WORKER, backlog=BACKLOG - 1),)) == []
    assert "5,000 journal entries of b:2:y" in the_problem(processes=(replace(WORKER, backlog=BACKLOG),))[0]


def test_a_layer_that_is_away() -> None:
    layer = LayerFigures(name="RedisPubSubChannelLayer", joins_processes=True, fault="Connection refused")
    message, hint = the_problem(layer=layer)
    assert message == "The channel layer cannot be reached; streams follow by polling."
    assert hint.endswith("Connection refused")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (span_words(None), "–"),
        (span_words(-1), "0 s"),
        (span_words(89.9), "89 s"),
        (span_words(90), "1 min"),
        (span_words(5400), "1 h"),
        (span_words(48 * 3600), "2 days"),
        (size_words(0), "0 bytes"),
        (size_words(999), "999 bytes"),
        (size_words(1_500), "1.5 KB"),
        (size_words(999_600), "1.0 MB"),
        (size_words(12_345_678), "12 MB"),
        (size_words(9_960_000), "10 MB"),
        (rate_words(0), "0"),
        (rate_words(0.4), "0.4"),
        (rate_words(9.97), "10"),
        (rate_words(1234.5), "1,234"),
        (milliseconds_words(None), "–"),
        (milliseconds_words(0.84), "0.8 ms"),
        (milliseconds_words(1234.4), "1,234 ms"),
        (counted(1, "run", "runs"), "1 run"),
        (counted(2000, "run", "runs"), "2,000 runs"),
    ],
)
def test_words(said: str, expected: str) -> None:
    assert said == expected


def test_tiles() -> None:
    shown = {tile.label: (tile.value, tile.note) for tile in tiles(figures())}
    assert shown["Workers alive"] == ("1", "100 places for runs")
    assert shown["Runs held"] == ("40", "45 not ended")
    assert shown["Queue"] == ("2", "the oldest for 1 s")
    assert shown["Runs a minute"] == ("60", "5 min 20 · 15 min 10")
    assert shown["Failed"] == ("3", "of 153 runs in 15 min")
    assert shown["Readers"] == ("3", "open streams")
    assert shown["Journal commit"] == ("2.2 ms", "p99 30 ms, last minute")
    assert shown["Journal backlog"] == ("12", "entries to be written")
    empty = {tile.label: tile.note for tile in tiles(figures(queue={"depth": 0, "oldest_seconds": None}))}
    assert empty["Queue"] == "nobody waits"


def test_what_a_dead_process_said_last_is_not_counted() -> None:
    shown = {tile.label: tile.value for tile in tiles(figures(processes=(late(WEB, 99), late(WORKER, 99))))}
    assert (shown["Readers"], shown["Journal backlog"], shown["Journal commit"]) == ("0", "0", "–")


def test_services() -> None:
    tables = (TableFigures(name="executions", rows=1_000_000, bytes=600_000_000),)
    database = DatabaseFigures(vendor="PostgreSQL", bytes=1_500_000_000, tables=tables)
    shown = {service.label: (service.value, service.note) for service in services(figures(database=database))}
    assert shown["Database"] == ("PostgreSQL, 1.5 GB", "executions about 1,000,000 (600 MB)")
    young = DatabaseFigures(vendor="PostgreSQL", bytes=1, tables=(TableFigures(name="runs", rows=None, bytes=8_000),))
    assert next(iter(services(figures(database=young)))).note == "runs (8.0 KB)", "not counted yet"
    assert shown["Channel layer"] == ("reached", "RedisPubSubChannelLayer")
    assert shown["Executor"] == ("procrastinate", "2 jobs wait, 40 are under way")


def test_an_installation_of_one_process_has_no_layer_and_no_jobs() -> None:
    alone = figures(executor="embedded", jobs=None, layer=LayerFigures(name="none", joins_processes=False))
    shown = {service.label: service.value for service in services(alone)}
    assert (shown["Channel layer"], shown["Executor"]) == ("none", "embedded")


def test_rows_of_processes() -> None:
    command = ProcessFigures(name="c:3:z", role="command", host="c", pid=3, held=1)
    rows = page_of(figures(processes=(WEB, late(WORKER, 20), command)))["processes"]
    assert [(row.role, row.state, row.status) for row in rows] == [
        ("Server", "alive, seen 2 s ago", "success"),
        ("Worker", "not seen for 20 s", "error"),
        ("Command", "holds a run of its own", "success"),
    ]
    assert [row.runs for row in rows] == ["0", "40 of 100", "1"]
    assert [row.commits for row in rows] == ["–", "2.2 ms / 30 ms", "–"]


def test_lines_say_everything_in_one_line_each() -> None:
    said = list(lines(figures(processes=(late(replace(WORKER, host="b\x1b[31m"), 20),))))
    assert said[0] == "Status: 2 wrong, 2026-11-22 12:00:00 UTC"
    assert said[1] == "Problem: No worker is alive. Start one with manage.py run_worker."
    assert "Queue: 2 (the oldest for 1 s)" in said
    assert any(line.startswith("Worker b:2:y: not seen for 20 s, runs 40 of 100") for line in said)
    assert all(line.isprintable() for line in said)
    assert next(iter(lines(figures()))).startswith("Status: ok")


def test_json_has_all_figures_and_what_is_wrong() -> None:
    read = orjson.loads(orjson.dumps(as_json(figures(processes=(WEB,)))))
    assert read["healthy"] is False and [problem["code"] for problem in read["problems"]] == ["no_worker"]
    assert read["queue"]["depth"] == 2 and read["ended"]["5 min"] == {"success": 100, "error": 2}
    assert read["processes"][0]["readers"] == 3 and read["processes"][0]["state"] == "alive"
    assert orjson.loads(orjson.dumps(as_json(figures())))["healthy"] is True


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_screen_fits_a_terminal_of_any_width(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    console.print(screen(figures(processes=(WEB, WORKER, late(WEB, 30)))))
    console.print(screen(figures(processes=())))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Workers alive" in shown and "No worker is alive." in shown
