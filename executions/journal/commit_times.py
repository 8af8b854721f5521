"""How long commits of the journal have taken: from the first entry that was queued to all of them durable."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram, in seconds; what takes longer is in one more bucket."""

KEPT = 4096
"""Newest commits that percentiles are made of, if there were so many in the time asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """All commits since the process started. `counts` are by bucket, the last one beyond all bounds."""

    counts: tuple[int, ...]
    seconds: float


class CommitTimes:
    """Written by the journal's thread, read by any."""

    def __init__(self) -> None:
        self._newest: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._counts = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self._guard = threading.Lock()

    def add(self, seconds: float) -> None:
        """Note a commit that is done just now."""
        with self._guard:
            self._newest.append((time.monotonic(), seconds))
            self._counts[bisect_left(BUCKETS, seconds)] += 1
            self._seconds += seconds

    def histogram(self) -> Histogram:
        with self._guard:
            return Histogram(counts=tuple(self._counts), seconds=self._seconds)

    def newest(self, within: float) -> list[float]:
        """Seconds of the commits of the last `within` seconds, in ascending order."""
        since = time.monotonic() - within
        with self._guard:
            return sorted(seconds for finished, seconds in self._newest if finished >= since)


def percentile(ascending: Sequence[float], share: float) -> float | None:
    """The smallest value that `share` of all do not exceed (nearest rank); None of nothing."""
    if not ascending:
        return None
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]
