"""Nodes per second, beside the same rows written with no engine: the limit."""

from __future__ import annotations

import statistics

from django.db import connection

from benchmarks import executors, limit
from benchmarks.world import chain, heading, row
from executions import runtime
from flows.models import Flow

NODES = 40
RUNS = (1, 20, 200)


def measure(repeats: int) -> None:
    where = connection.settings_dict["ENGINE"].rsplit(".", 1)[1]
    heading(
        f"Throughput on {where}, runs of {NODES} nodes, events and node rows committed (median of {repeats})",
        "executed by", "runs", "nodes", "nodes/s", "commits", "limit, as nodes/s", "ratio",
    )  # fmt: skip
    flows = {"pure": chain("bench.pure", NODES), "with an effect": chain("bench.effect", NODES)}
    with executors.embedded():
        limits = {key: _embedded(key, flows[key[0]], repeats) for key in ((kind, n) for kind in flows for n in RUNS)}
    if connection.vendor == "postgresql":
        for count in (1, 2):
            with executors.workers(count):
                for (kind, runs), raw in limits.items():
                    rate = statistics.median(_rates(flows[kind], runs, repeats))
                    label = f"{count} worker process{'es' if count > 1 else ''}"
                    row(label, runs, kind, f"{rate:,.0f}", "", f"{raw:,.0f}", f"{rate / raw:.2f}")


def _embedded(key: tuple[str, int], flow: Flow, repeats: int) -> float:
    """Prints the row of this case; returns its limit."""
    kind, runs = key
    executors.run_at_once(flow, runs)  # warm
    figures = [_pair(flow, runs) for _ in range(repeats)]
    rate, raw = (statistics.median(figure[index] for figure in figures) for index in (0, 2))
    ratio = statistics.median(figure[0] / figure[2] for figure in figures)
    row("this process", runs, kind, f"{rate:,.0f}", figures[-1][1], f"{raw:,.0f}", f"{ratio:.2f}")
    return raw


def _pair(flow: Flow, runs: int) -> tuple[float, int, float]:
    """Nodes per second through the engine, in how many commits, and of the bare rows in as many commits."""
    before = runtime.writer.commits
    seconds, ids = executors.run_at_once(flow, runs)
    commits = runtime.writer.commits - before
    return runs * NODES / seconds, commits, runs * NODES / limit.seconds(ids, commits)


def _rates(flow: Flow, runs: int, repeats: int) -> list[float]:
    executors.run_at_once(flow, runs)  # warm
    return [runs * NODES / executors.run_at_once(flow, runs)[0] for _ in range(repeats)]
