"""A run as plain lines, and as NDJSON."""

from __future__ import annotations

import io
import json

import pytest

from executions.events import Event
from executions.terminal.exit_codes import ExitCode, exit_code_of
from executions.terminal.ndjson import NdjsonView
from executions.terminal.plain import EventLines, PlainView
from executions.terminal.view import Heading
from tests.unit.terminal_events import RUN, Events, error_of, moment

HEADING = Heading(execution_id=RUN, flow_id=1, flow_name="Three\nwaits", flow_version=3, address="/admin/x/")


class Flushed(io.StringIO):
    """Counts what was flushed: a pipe's reader has seen that, and no more."""

    seen = 0

    def flush(self) -> None:
        self.seen = len(self.getvalue())


def lines_of(*events: Event) -> list[str]:
    lines = EventLines()
    return [lines.line(event) for event in events]


def test_each_event_is_one_line_with_the_seconds_since_the_start() -> None:
    run = Events("Start", "Wait")
    lines = lines_of(
        run.started(),
        run.before("n0"),
        run.after("n0", end=0.004),
        run.before("n1", at=0.004),
        run.progress("n1", 0.4, "thinking", "Once\nupon"),
        run.after("n1", begin=0.004, end=2.006, itemCounts={"true": 2, "false": 1}),
        run.finished(at=2.007),
    )
    assert lines == [
        "  +0.000 s  started: 2 nodes",
        "  +0.000 s  Start: running",
        "  +0.004 s  Start: success, 4 ms, 1 item (1 of 2)",
        "  +0.004 s  Wait: running",
        "            Wait: 40 %, thinking: Once upon",
        "  +2.006 s  Wait: success, 2.0 s, true 2 items, false 1 item (2 of 2)",
        "  +2.007 s  finished: success, 2.0 s (2 of 2 nodes)",
    ]


def test_a_retry_says_what_went_wrong_and_when_it_comes() -> None:
    run = Events("Fetch", "Other")
    lines = lines_of(
        run.started(),
        run.before("n0"),
        run.after("n0", "error", end=1, error=error_of("Http", "500.", "Ask again."), willRetryAt=moment(3)),
        run.before("n0", at=3, attempt=2),
        run.after("n0", "success", begin=3, end=3.5, attempt=2),
    )
    assert lines[2:] == [
        "  +1.000 s  Fetch: error, 1.0 s, attempt 1 (0 of 2): Http: 500. Hint: Ask again. Next attempt in 2.0 s.",
        "  +3.000 s  Fetch: running, attempt 2",
        "  +3.500 s  Fetch: success, 500 ms, 1 item, attempt 2 (1 of 2)",
    ]


def test_skipped_canceled_paused_and_failed_are_said() -> None:
    run = Events("One", "Two", "Three", statuses={"n2": "success"})
    lines = lines_of(
        run.started(),
        run.after("n0", "skipped"),
        run.paused("pausing"),
        run.paused("paused"),
        run.resumed(),
        run.after("n1", "canceled", end=1.5),
        run.failed("n1", error_of("Fault", "No."), at=2),
    )
    assert lines == [
        "  +0.000 s  started: 3 nodes, 1 of them taken over from the run before",
        "  +0.000 s  One: skipped (2 of 3)",
        "            pausing: running nodes come to their end",
        "            paused",
        "            resumed",
        "  +1.500 s  Two: canceled, 1.5 s (3 of 3)",
        "  +2.000 s  failed: 2.0 s (3 of 3 nodes): Two: Fault: No.",
    ]
    assert lines_of(run.failed(None, error_of("Gone", "x")))[0].endswith("Gone: x")


def test_lines_say_who_waits_for_what_and_what_ended_it() -> None:
    run = Events("Ask", "Call")
    lines = lines_of(
        run.started(),
        run.before("n0"),
        run.waiting("n0", 59, "to be\nresumed", status="running"),
        run.waiting(None, None, "nothing is left but to wait"),
        run.goes_on("n0", "signal"),
        run.waiting("n0", None),
        run.goes_on("n0", "timeout"),
        run.goes_on(None, "retry"),
    )
    assert lines[2:] == [
        f"            Ask: waiting until {moment(59)[:10]} {moment(59)[11:19]} UTC: to be resumed",
        "            waiting until it is resumed: nothing is left but to wait",
        "            Ask: resumed",
        "            Ask: waiting until it is resumed",
        "            Ask: its wait is over",
        "            its wait for the next attempt is over",
    ]


def test_names_and_texts_cannot_break_a_line() -> None:
    run = Events("Two\nlines\x1b[2J")
    lines = lines_of(run.started(), run.before("n0"), run.progress("n0", text="\n\x1b[31m\n"))
    assert lines[1:] == ["  +0.000 s  Two lines [2J: running", "            Two lines [2J: [31m"]


def test_the_first_line_says_which_run_it_is_and_each_line_is_flushed_at_once() -> None:
    output, messages = Flushed(), io.StringIO()
    view = PlainView(output, messages)
    view.begin(HEADING)
    assert output.getvalue() == f"Run {RUN}: Three waits (flow 1, version 3) /admin/x/\n"
    assert output.seen == len(output.getvalue())
    view.show(Events("Start").started())
    assert output.getvalue().endswith("started: 1 node\n") and output.seen == len(output.getvalue())
    view.say("aside")
    assert messages.getvalue() == "aside\n" and "aside" not in output.getvalue()


def test_ndjson_is_the_events_with_their_seq_and_nothing_else() -> None:
    output, messages = Flushed(), io.StringIO()
    view = NdjsonView(output, messages)
    run = Events("Écrivain\u2028\n")
    events = [run.started(), run.before("n0"), run.progress("n0", text="a\nb\x1b[0m"), run.finished()]
    view.begin(HEADING)
    for event in events:
        view.show(event)
        assert output.seen == len(output.getvalue())
    view.say("aside")
    view.end()
    *lines, rest = output.getvalue().split("\n")
    assert rest == ""
    assert [json.loads(line) for line in lines] == [
        {"type": event.type, "data": event.data, "seq": event.seq} for event in events
    ]


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (Events("A").finished("success"), ExitCode.SUCCESS),
        (Events("A").finished("canceled"), ExitCode.CANCELED),
        (Events("A").failed("n0", error_of("T", "m")), ExitCode.FAILED),
    ],
)
def test_the_exit_code_is_how_the_run_ended(last: Event, code: ExitCode) -> None:
    assert exit_code_of(last) is code
