"""What WataOmi and its peers are timed on, and how. Their environments import it too: only Python's own library."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

STEPS = 40
RUNS = (1, 20, 200)

CASE_SECONDS = 90.0
"""A case that would take longer is left out."""

REPEAT_SECONDS = 20.0
"""A case is not repeated beyond this."""

Item = dict[str, int]
ITEM: Item = {"number": 1}


@dataclass(frozen=True, slots=True)
class Case:
    runs: int
    seconds: float = 0.0
    left_out: str = ""
    """Why there is no figure."""

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self.runs * STEPS / self.seconds


def timed(execute: Callable[[int], object], repeats: int) -> Iterator[Case]:
    """`execute` starts so many runs at once, and returns when the last one has ended; both are timed."""
    execute(1)  # warm
    seconds_a_run = 0.0
    for runs in RUNS:
        expected = seconds_a_run * runs
        if expected > CASE_SECONDS:
            yield Case(runs, left_out=f"it would take about {expected:,.0f} s.")
        else:
            seconds = _median(execute, runs, repeats)
            seconds_a_run = seconds / runs
            yield Case(runs, seconds)


def _median(execute: Callable[[int], object], runs: int, repeats: int) -> float:
    taken = [_once(execute, runs)]
    while len(taken) < repeats and sum(taken) + max(taken) < REPEAT_SECONDS:
        taken.append(_once(execute, runs))
    return statistics.median(taken)


def _once(execute: Callable[[int], object], runs: int) -> float:
    began = time.perf_counter()
    execute(runs)
    return time.perf_counter() - began


def report(execute: Callable[[int], list[Item]]) -> None:
    """The main part of a peer's program: prints each case as JSON. `execute` returns what the runs have returned."""

    def checked(runs: int) -> None:
        if execute(runs) != [ITEM] * runs:
            raise RuntimeError("A run did not return the item.")

    for case in timed(checked, repeats=int(sys.argv[1])):
        print(json.dumps(asdict(case)), flush=True)


@contextmanager
def helper(*arguments: str) -> Iterator[None]:
    """A process of the same Python beside the program, stopped at the end. It prints where no JSON is expected."""
    process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=sys.stderr)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)
