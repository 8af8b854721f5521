"""Times of commits: percentiles of the newest ones, and a histogram of all."""

from __future__ import annotations

import time

import pytest

from executions.journal import commit_times
from executions.journal.commit_times import BUCKETS, CommitTimes, percentile


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([7.0], 0.5, 7.0),
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 101)], 1.0, 100.0),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_a_percentile_is_the_nearest_rank(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


def test_only_the_newest_commits_count_for_percentiles_and_all_of_them_for_the_histogram(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    times = CommitTimes()
    times.add(3.0)
    now = 150.0
    times.add(0.002)
    times.add(0.001)
    now = 170.0
    assert times.newest(60) == [0.001, 0.002]
    assert times.newest(1000) == [0.001, 0.002, 3.0]
    histogram = times.histogram()
    assert sum(histogram.counts) == 3 and histogram.seconds == pytest.approx(3.003)


def test_a_bound_belongs_to_its_bucket_and_what_is_beyond_all_bounds_to_the_last_one() -> None:
    times = CommitTimes()
    times.add(BUCKETS[1])
    times.add(BUCKETS[-1] + 1)
    counts = times.histogram().counts
    assert len(counts) == len(BUCKETS) + 1
    assert (counts[0], counts[1], counts[-1]) == (0, 1, 1)


def test_no_more_than_the_newest_are_kept() -> None:
    times = CommitTimes()
    for number in range(commit_times.KEPT + 10):
        times.add(float(number))
    newest = times.newest(1000)
    assert len(newest) == commit_times.KEPT and newest[0] == 10.0
