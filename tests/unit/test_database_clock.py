"""The database's time, kept without asking: set right by how much the clocks were seen to differ."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from executions.database_clock import DatabaseClock


def learn(clock: DatabaseClock, ahead: float, took: float = 0.001) -> None:
    """The database is asked, and answers; this machine's clock is so many seconds ahead of its."""
    asked = datetime.now(UTC)
    answered = asked + timedelta(seconds=took)
    clock.learn(answered - timedelta(seconds=ahead), asked=asked, answered=answered)


def difference(clock: DatabaseClock) -> float:
    """Seconds by which this machine's clock is ahead of the one that is shown."""
    return (datetime.now(UTC) - clock.now()).total_seconds()


@pytest.mark.parametrize(
    ("ahead", "expected"), [(0, 0), (0.9, 0), (-0.9, 0), (1.5, 1.5), (-600, -600), (86_400, 86_400)]
)
def test_what_differs_by_more_than_a_second_is_set_right(ahead: float, expected: float) -> None:
    clock = DatabaseClock()
    learn(clock, ahead)
    assert difference(clock) == pytest.approx(expected, abs=0.1)


def test_a_clock_that_was_set_is_followed_and_each_change_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = DatabaseClock()
    with caplog.at_level(logging.WARNING):
        for ahead in (0, 30, 30.2, 29.9, 0.1, 0):
            learn(clock, ahead)
    assert difference(clock) == pytest.approx(0, abs=0.1)
    assert [message.split()[6] for message in caplog.messages] == ["30.0", "0.0"]


def test_an_answer_that_came_late_tells_nothing() -> None:
    """The process was frozen, or the database: how long the answer was under way is not known."""
    clock = DatabaseClock()
    learn(clock, 5, took=5)
    assert difference(clock) == pytest.approx(0, abs=0.1)
