"""From the start of a run to its first event, and how many short runs are executed in a second."""

from __future__ import annotations

import statistics
import time
from contextlib import AbstractContextManager

from django.db import connection

from benchmarks import executors
from benchmarks.world import chain, heading, row, user
from executions import dispatch
from executions.journal.statements import RUNS, plain_cursor
from executions.models import Mode
from flows.models import Flow

STARTS = 200
AT_ONCE = 500


def measure(repeats: int) -> None:
    heading(
        f"Runs of one node on PostgreSQL: {STARTS} one after the other, and {AT_ONCE} at once (median of {repeats})",
        "executed by", "start p50 ms", "picked up p50 ms", "p99 ms", "runs/s",
    )  # fmt: skip
    flow = chain("bench.pure", 1)
    cases: dict[str, AbstractContextManager[None]] = {
        "this process": executors.embedded(),
        "1 worker process": executors.workers(1),
        "2 worker processes": executors.workers(2),
    }
    for label, executor in cases.items():
        with executor:
            _one(flow)  # warm
            starts, pick_ups = zip(*(_one(flow) for _ in range(STARTS)), strict=True)
            executors.run_at_once(flow, AT_ONCE)
            rates = [AT_ONCE / executors.run_at_once(flow, AT_ONCE)[0] for _ in range(repeats)]
            p99 = sorted(pick_ups)[int(STARTS * 0.99)]
            row(
                label,
                f"{statistics.median(starts) * 1000:.1f}",
                f"{statistics.median(pick_ups) * 1000:.1f}",
                f"{p99 * 1000:.1f}",
                f"{statistics.median(rates):,.0f}",
            )


def _one(flow: Flow) -> tuple[float, float]:
    """Seconds that the start took, and then until the run's first event was committed."""
    began = time.perf_counter()
    execution = dispatch.start_execution(flow, input_data={}, requester=user(), mode=Mode.API)
    started = time.perf_counter()
    with plain_cursor(connection) as cursor:
        while True:
            cursor.execute(f"SELECT last_seq FROM {RUNS} WHERE id = %s", [execution.id])
            if cursor.fetchone()[0] > 0:
                break
            time.sleep(0.0005)
    picked_up = time.perf_counter()
    executors.wait_for([execution.id])
    return started - began, picked_up - started
