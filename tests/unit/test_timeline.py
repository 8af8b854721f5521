"""The timeline of a run: rows, bars, captions and ticks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions.timeline import AXIS_HEIGHT, ROW_HEIGHT, Attempt, Bar, Timeline, make_ticks, make_timeline

START = datetime(2026, 11, 22, 16, 0, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def attempt(node_id: str, begun: float, ended: float | None = None, status: str = "success", **more: Any) -> Attempt:
    finished = None if ended is None else at(ended)
    return Attempt(node_id=node_id, **{"number": 1, **more}, status=status, started_at=at(begun), finished_at=finished)


def timeline(*attempts: Attempt, ended: float | None = None, now: float = 0, nodes: str = "a") -> Timeline:
    """Of a run that started at 0; `nodes` are ids of one letter, named by the capital."""
    listed = [(node, node.upper()) for node in nodes]
    finished = None if ended is None else at(ended)
    return make_timeline(listed, attempts, started_at=START, finished_at=finished, now=at(now))


def only_bar(drawn: Timeline, row: int = 0) -> Bar:
    (bar,) = drawn.rows[row].bars
    return bar


def test_bars_lie_where_their_attempts_were_in_the_run() -> None:
    drawn = timeline(attempt("a", 0, 2), attempt("b", 2, 5), ended=10, nodes="ab")
    assert drawn.span == 10_000
    assert drawn.now is None
    assert [(row.bars[0].x, row.bars[0].width, row.bars[0].status) for row in drawn.rows] == [
        (0, 20, "success"),
        (20, 30, "success"),
    ]


def test_rows_come_in_the_order_of_the_nodes_one_below_the_other() -> None:
    drawn = timeline(attempt("c", 0, 1), ended=1, nodes="cab")
    assert [(row.node_id, row.name, row.y) for row in drawn.rows] == [
        ("c", "C", AXIS_HEIGHT),
        ("a", "A", AXIS_HEIGHT + ROW_HEIGHT),
        ("b", "B", AXIS_HEIGHT + 2 * ROW_HEIGHT),
    ]
    assert drawn.height == AXIS_HEIGHT + 3 * ROW_HEIGHT


def test_a_node_that_has_not_run_has_a_row_and_no_bar() -> None:
    (row,) = timeline(ended=1).rows
    assert (row.status, row.bars, row.caption, row.label) == ("idle", [], None, "A: idle")


def test_a_node_that_waits_says_until_when() -> None:
    long = timeline(attempt("a", 1, None, "waiting", wait_until=at(3 * 24 * 3600)), now=2)
    assert long.span < 60_000, "the axis is not drawn out to the end of the wait"
    assert long.rows[0].label == ("A: waiting, attempt 1 waiting until 2026-11-25 16:00:00 UTC, from 1 s until now")
    bar = only_bar(long)
    assert (bar.status, bar.open, bar.start) == ("waiting", True, 1000)
    assert "until it is resumed, from" in timeline(attempt("a", 1, None, "waiting"), now=2).rows[0].label


def test_retries_and_the_waits_between_them_are_bars_of_one_row() -> None:
    drawn = timeline(
        attempt("a", 0, 1, "error", retry_at=at(3)),
        attempt("a", 3, 4, "error", number=2, retry_at=at(8)),
        attempt("a", 8, 10, "success", number=3),
        ended=10,
    )
    (row,) = drawn.rows
    by_time = sorted(row.bars, key=lambda bar: bar.x)
    assert [(bar.status, bar.x, bar.width) for bar in by_time] == [
        ("error", 0, 10),
        ("waiting", 10, 20),
        ("error", 30, 10),
        ("waiting", 40, 40),
        ("success", 80, 20),
    ]
    assert row.status == "success"
    assert "attempt 2 error from 3 s for 1.0 s; waiting for attempt 3 from 4 s for 4.0 s" in row.label


def test_an_attempt_that_took_no_time_is_drawn_on_the_wait_behind_it() -> None:
    (row,) = timeline(attempt("a", 1, 1, "error", retry_at=at(9)), now=2).rows
    assert [bar.status for bar in row.bars] == ["waiting", "error"]
    assert row.status == "waiting"


def test_what_took_no_time_is_still_seen_also_at_the_very_end() -> None:
    bar = only_bar(timeline(attempt("a", 10, 10, "skipped"), ended=10))
    assert bar.width > 0
    assert bar.x + bar.width == 100


def test_a_running_node_has_an_open_bar_up_to_the_present() -> None:
    drawn = timeline(attempt("a", 2, status="running"), now=6)
    bar = only_bar(drawn)
    assert bar.open
    assert bar.start == 2000
    assert drawn.now == 6000
    assert drawn.span > 6000
    assert drawn.now_x == pytest.approx(bar.x + bar.width, abs=0.01)
    assert bar.label == "attempt 1 running from 2 s until now"


def test_a_wait_that_goes_on_is_open_and_its_end_is_on_the_axis() -> None:
    drawn = timeline(attempt("a", 0, 1, "error", retry_at=at(60)), now=2)
    wait = next(bar for bar in drawn.rows[0].bars if bar.status == "waiting")
    assert wait.open
    assert drawn.span >= 60_000


def test_nothing_is_open_when_the_run_is_over() -> None:
    drawn = timeline(
        attempt("a", 0, status="running"), attempt("b", 0, 1, "error", retry_at=at(60)), ended=5, nodes="ab"
    )
    assert not any(bar.open for row in drawn.rows for bar in row.bars)
    assert only_bar(drawn).x + only_bar(drawn).width == 100


def test_a_run_that_has_not_started_has_rows_an_axis_and_no_present() -> None:
    drawn = make_timeline([("a", "A")], [], started_at=None, finished_at=None, now=START)
    assert drawn.now is None
    assert drawn.rows[0].bars == []
    assert drawn.ticks
    assert drawn.summary == "Timeline of 1 node, not started so far"


def test_a_run_that_took_no_time_can_be_drawn() -> None:
    drawn = timeline(attempt("a", 0, 0), ended=0)
    assert only_bar(drawn).width > 0
    assert drawn.ticks[0].label == "0"


def test_what_was_taken_over_from_an_earlier_run_has_no_bar() -> None:
    drawn = timeline(attempt("a", -20, -18), attempt("b", 0, 1), ended=1, nodes="ab")
    assert drawn.rows[0].reused
    assert drawn.rows[0].bars == []
    assert drawn.rows[0].label == "A: success, taken over from the run that this one retries"
    assert not drawn.rows[1].reused


def test_a_clock_that_went_back_leaves_bars_on_the_axis() -> None:
    bar = only_bar(timeline(attempt("a", -1, 3), ended=10))
    assert (bar.x, bar.width) == (0, 30)


def test_attempts_at_nodes_that_are_not_listed_are_left_out() -> None:
    assert [row.node_id for row in timeline(attempt("z", 0, 1), ended=1).rows] == ["a"]


@pytest.mark.parametrize(
    ("begun", "ended", "anchor", "inside"),
    [(0, 5, "start", False), (7, 10, "end", False), (0, 10, "end", True)],
)
def test_the_caption_stands_where_there_is_room(begun: float, ended: float, anchor: str, inside: bool) -> None:
    (row,) = timeline(attempt("a", begun, ended), ended=10).rows
    assert row.caption is not None
    assert (row.caption.text, row.caption.anchor, row.caption.inside) == (f"{ended - begun:.1f} s", anchor, inside)


def test_a_bar_that_still_grows_has_no_caption() -> None:
    assert timeline(attempt("a", 0, status="running"), now=1).rows[0].caption is None


def test_a_skipped_node_says_so_instead_of_a_duration() -> None:
    caption = timeline(attempt("a", 1, 1, "skipped"), ended=10).rows[0].caption
    assert caption is not None
    assert caption.text == "skipped"


@pytest.mark.parametrize(
    ("span", "labels"),
    [
        (5, ["0", "1 ms", "2 ms", "3 ms", "4 ms", "5 ms"]),
        (1538, ["0", "500 ms", "1 s", "1.5 s"]),
        (6006, ["0", "1 s", "2 s", "3 s", "4 s", "5 s", "6 s"]),
        (90_000, ["0", "15 s", "30 s", "45 s", "1 m", "1 m 15 s", "1 m 30 s"]),
        (7_200_000, ["0", "30 m", "1 h", "1 h 30 m", "2 h"]),
        (30 * 86_400_000, ["0", "5 d", "10 d", "15 d", "20 d", "25 d", "30 d"]),
    ],
)
def test_ticks_are_at_round_times(span: int, labels: list[str]) -> None:
    assert [tick.label for tick in make_ticks(span)] == labels


@given(st.integers(min_value=1, max_value=10**12))
def test_an_axis_has_some_ticks_and_never_many(span: int) -> None:
    ticks = make_ticks(span)
    assert 1 <= len(ticks) <= 7
    assert all(0 <= tick.x <= 100 for tick in ticks)
    assert len({tick.label for tick in ticks}) == len(ticks)


moments = st.integers(min_value=-100_000, max_value=400_000).map(lambda value: START + timedelta(milliseconds=value))
attempts = st.builds(
    Attempt,
    node_id=st.sampled_from("abc"),
    number=st.integers(min_value=1, max_value=5),
    status=st.sampled_from(["running", "waiting", "success", "error", "skipped", "canceled"]),
    started_at=st.none() | moments,
    finished_at=st.none() | moments,
    retry_at=st.none() | moments,
    wait_until=st.none() | moments,
)


@given(
    st.lists(attempts, max_size=8, unique_by=lambda attempt: (attempt.node_id, attempt.number)),
    st.none() | moments,
    st.none() | moments,
    moments,
)
def test_whatever_is_stored_stays_on_the_axis(
    stored: list[Attempt], started: datetime | None, finished: datetime | None, now: datetime
) -> None:
    drawn = make_timeline([(node, node) for node in "abc"], stored, started_at=started, finished_at=finished, now=now)
    for row in drawn.rows:
        for bar in row.bars:
            assert 0 <= bar.x <= 100
            assert bar.width > 0
            assert bar.x + bar.width <= 100.01
            assert not (bar.open and finished)
