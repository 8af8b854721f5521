"""A run as a tree: what is drawn of it, at which width and height, and in which colours."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime

import pytest
from rich.console import Console
from rich.text import Text

from executions.events import Event
from executions.statuses import NodeStatus, RunStatus
from executions.terminal.run_tree import Branch, RunTree, fitting
from executions.terminal.signs import ASCII, STYLES, UNICODE, Signs, signs_for
from tests.unit.terminal_events import Events, error_of, moment


def drawn(*events: Event, width: int = 80, height: int = 30, whole: bool = False, signs: Signs = UNICODE) -> list[str]:
    """The lines of the tree, four seconds behind the run's start; the events count in the order they are given in."""
    output = io.StringIO()
    console = Console(file=output, width=width, height=height, color_system=None)
    tree = RunTree(signs, lambda: datetime.fromisoformat(moment(4)).timestamp())
    tree.title, tree.whole = "Flow v3", whole
    for seq, event in enumerate(events, 1):
        tree.take(replace(event, seq=seq))
    console.print(tree)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_nodes_are_drawn_in_order_with_what_they_do_now() -> None:
    run = Events("Start", "Écrivain", "Later")
    lines = drawn(
        run.started(),
        run.before("n0"),
        run.after("n0", end=0.004),
        run.before("n1", at=1.5),
        run.progress("n1", 0.4, "thinking", "Once upon a time\nthere was"),
    )
    assert lines == [
        "⠋ Flow v3  running  4.0 s  ━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌  1/3",
        "├── ✓ Start          4 ms  1 item",
        "├── ⠋ Écrivain      2.5 s  ━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌  40 %",
        "│   ├── thinking",
        "│   └── there was",
        "└── ○ Later",
    ]


def test_a_narrow_terminal_gets_the_same_without_bars() -> None:
    run = Events("Start", "A name that is longer than the line")
    lines = drawn(
        run.started(),
        run.after("n0"),
        run.before("n1"),
        run.progress("n1", 0.4, "", "a text that goes on and on"),
        width=40,
    )
    assert lines == [
        "⠋ Flow v3  running  4.0 s  1/2",
        "├── ✓ Start                         0 ms",
        "└── ⠋ A name that is longer…       4.0 s",
        "    ├── 40 %",
        "    └── a text that goes on and on",
    ]


@pytest.mark.parametrize("width", [20, 33, 40, 60, 80, 200])
@pytest.mark.parametrize("whole", [False, True])
def test_no_line_is_wider_than_the_terminal(width: int, whole: bool) -> None:
    run = Events("Start", "長い名前のノード" * 8, "Fails " * 20)
    lines = drawn(
        run.started(),
        run.after("n0", itemCounts={"true": 100_000, "false": 100_000, "error": 3}),
        run.before("n1"),
        run.progress("n1", 0.999, "message " * 30, "text " * 90),
        run.after("n2", "error", end=1, error=error_of("Type", "words " * 50, "hint " * 30)),
        width=width,
        whole=whole,
        height=200,
    )
    assert max(Text(line).cell_len for line in lines) <= width
    if not whole:
        assert len(lines) == 7


@pytest.mark.parametrize(
    ("width", "root"),
    [
        (30, "⠋ Flow v3  running  4.0 s  1/2"),
        (28, "⠋ Flow…  running  4.0 s  1/2"),
        (24, "⠋ …  running  4.0 s  1/2"),
        (23, "⠋ running  4.0 s  1/2"),
        (20, "⠋ Flow…   4.0 s  1/2"),
    ],
)
def test_on_a_very_narrow_terminal_the_title_gives_way_to_the_count(width: int, root: str) -> None:
    run = Events("Start", "Later")
    assert drawn(run.started(), run.after("n0"), width=width)[0] == root


def test_a_node_that_waits_says_until_when_below_it() -> None:
    run = Events("Ask", "Later")
    begun = (run.started(), run.before("n0"))
    lines = drawn(*begun, run.waiting("n0", 59), width=60)
    assert "Flow v3  waiting" in lines[0]
    assert any(f"waiting until {moment(59)[:10]} {moment(59)[11:19]} UTC" in line for line in lines)
    assert any("waiting until it is resumed" in line for line in drawn(*begun, run.waiting("n0", None), width=60))


def test_retries_skipped_and_failed_nodes_are_told_apart_by_their_signs() -> None:
    run = Events("Fetch", "Skip", "Broken")
    lines = drawn(
        run.started(),
        run.after("n0", "error", end=1, error=error_of("Http", "500."), willRetryAt=moment(6.5)),
        run.after("n1", "skipped"),
        run.after("n2", "error", end=1, attempt=2, error=error_of("Fault", "No.", "Mend it.")),
    )
    assert lines[1:] == [
        "├── ‖ Fetch       1.0 s",
        "│   ├── Http: 500.",
        "│   └── attempt 2 in 2.5 s",
        "├── ↷ Skip      skipped",
        "└── ! Broken      1.0 s  attempt 2",
        "    └── Fault: No. Hint: Mend it.",
    ]


def test_the_end_says_how_it_ended_and_the_whole_error() -> None:
    run = Events("Start")
    said = "It broke because of " + "many words " * 12 + "indeed."
    broken = run.after("n0", "error", end=1, error=error_of("Fault", said))
    lines = drawn(run.started(), broken, run.failed("n0", error_of("Fault", said), at=2), whole=True)
    assert lines[0] == "! Flow v3  error  2.0 s  1/1"
    assert " ".join(line.strip(" └─") for line in lines[2:]) == f"Fault: {said}"
    nobody = drawn(run.started(), run.failed(None, error_of("Gone", "The node type is gone.")), whole=True)
    assert nobody[-1] == "└── Gone: The node type is gone."


def test_what_does_not_fit_is_counted_and_what_works_is_shown() -> None:
    run = Events(*(f"Node {number}" for number in range(100)))
    done = [run.after(f"n{number}") for number in range(60)]
    lines = drawn(run.started(), *done, run.before("n60"), run.before("n99"), height=12)
    assert len(lines) == 11
    assert lines[-1] == "└── … 91 more: 56 success, 35 idle"
    assert any("⠋ Node 60 " in line for line in lines) and any("⠋ Node 99 " in line for line in lines)


def test_in_the_end_all_is_drawn_and_the_result_is_on_the_screen() -> None:
    run = Events(*(f"Node {number}" for number in range(100)))
    lines = drawn(run.started(), *(run.after(node) for node in run.names), run.finished(), height=12, whole=True)
    assert len(lines) == 102
    assert lines[0] == lines[-1] == "✓ Flow v3  success  6.0 s  100/100"


@pytest.mark.parametrize("rows", range(-2, 12))
def test_the_branches_that_are_chosen_fit_and_keep_their_order(rows: int) -> None:
    branches = [Branch(Text(str(place)), [Text("below")] * (place % 3), rank=place % 4) for place in range(12)]
    chosen = fitting(branches, rows)
    places = [branches.index(branch) for branch in chosen]
    assert places == sorted(places)
    assert sum(1 + len(branch.below) for branch in chosen) <= max(0, rows - 1)


def test_before_the_first_event_the_run_is_queued() -> None:
    assert drawn() == ["… Flow v3  queued"]


def test_a_run_that_pauses_says_so() -> None:
    run = Events("Start")
    assert drawn(run.started(), run.paused("pausing"))[0].startswith("⠋ Flow v3  pausing")
    assert drawn(run.started(), run.paused("paused"))[0].startswith("‖ Flow v3  paused")


def test_an_encoding_without_these_signs_gets_ascii() -> None:
    assert signs_for("utf-8") is signs_for("UTF8") is UNICODE
    assert signs_for("ascii") is signs_for("iso-8859-1") is ASCII
    run = Events("Start", "Wait")
    lines = drawn(run.started(), run.after("n0"), run.before("n1"), run.progress("n1", 0.5), signs=ASCII)
    assert lines[0][0] in ASCII.spinner and "##########----------" in lines[2]


@pytest.mark.parametrize("signs", [UNICODE, ASCII])
def test_each_status_has_a_sign_one_cell_wide_and_a_style(signs: Signs) -> None:
    for status in {*NodeStatus, *RunStatus}:
        assert Text(signs.of(status, 0.3)).cell_len == 1
        assert status in STYLES
    # Never colour alone: what looks the same must mean the same.
    by_sign: dict[str, set[str]] = {}
    for status in NodeStatus:
        by_sign.setdefault(signs.of(status, 0), set()).add(status)
    assert all(len(statuses) == 1 for statuses in by_sign.values())


def test_a_bar_is_full_only_for_what_is_complete() -> None:
    assert UNICODE.bar(0.999, 4) == "━━━╌" and UNICODE.bar(1, 4) == "━━━━" and UNICODE.bar(-1, 4) == "╌╌╌╌"
