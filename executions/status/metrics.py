"""The figures in the form of Prometheus: those of the process that answers, and those of the whole installation.

Names and units follow https://prometheus.io/docs/practices/naming/.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from django.db import DatabaseError, InterfaceError
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from executions import runtime
from executions.hub import hub
from executions.journal.commit_times import BUCKETS
from executions.status.figures import Figures, ProcessFigures
from executions.status.gathering import fresh_figures
from executions.status.problems import CODES, problems_of

logger = logging.getLogger(__name__)

Metric = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class OwnCollector(Collector):
    """What the process that answers knows of itself; nothing is asked of the database."""

    def collect(self) -> Iterator[Metric]:
        yield _gauge("wataomi_readers", "Open streams of this process.", hub.readers)
        yield _gauge("wataomi_journal_backlog_entries", "Entries that wait to be written.", runtime.writer.backlog)
        yield _counter("wataomi_journal_entries", "Entries that were dealt with.", runtime.writer.written)
        yield _commits()


def _commits() -> HistogramMetricFamily:
    histogram = runtime.writer.times.histogram()
    bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
    return HistogramMetricFamily(
        "wataomi_journal_commit_seconds",
        "From the first entry that was queued to all of a commit durable.",
        buckets=list(zip(bounds, accumulate(histogram.counts), strict=True)),
        sum_value=histogram.seconds,
    )


class InstallationCollector(Collector):
    """What the database says of all processes and runs, a second old at most.

    While it cannot be read only that is told: the figures of the process itself are wanted just then.
    """

    def collect(self) -> Iterator[Metric]:
        try:
            figures = fresh_figures()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("metrics: the database cannot be read (%s)", error)
            yield _database_up(False)
            return
        yield _database_up(True)
        yield from _processes(figures)
        yield from _runs(figures)
        yield from _services(figures)
        found = [problem.code for problem in problems_of(figures)]
        yield _labelled(
            "wataomi_problems", "What is wrong, by its code; see /status.", "code", {c: found.count(c) for c in CODES}
        )


def _database_up(is_up: bool) -> Metric:
    return _gauge("wataomi_database_up", "1 when the process that answers can read the database.", float(is_up))


def _processes(figures: Figures) -> Iterator[Metric]:
    alive = figures.alive
    up = GaugeMetricFamily("wataomi_process_up", "1 for a process that is alive.", labels=["process", "role"])
    for process in figures.processes:
        up.add_metric([process.name, process.role], float(process.is_alive))
    yield up
    yield _gauge("wataomi_workers", "Processes alive that execute runs.", len(figures.workers))
    yield _by_process("held_runs", "Runs that it holds.", [(p, p.held) for p in figures.processes])
    yield _by_process("capacity_runs", "Runs that it executes at once.", [(p, p.capacity) for p in alive])
    yield _by_process("readers", "Its open streams.", [(p, p.readers) for p in alive])
    yield _by_process("backlog_entries", "Journal entries that wait.", [(p, p.backlog) for p in alive])
    seen = [(p, p.seen_seconds) for p in figures.processes]
    yield _by_process("seen_age_seconds", "Since its last sign of life.", seen)
    commits = CounterMetricFamily("wataomi_process_commits", "Commits of its journal.", labels=["process"])
    times = GaugeMetricFamily(
        "wataomi_process_commit_seconds", "Its commits of the last minute.", labels=["process", "quantile"]
    )
    for process in alive:
        commits.add_metric([process.name], process.commits)
        for quantile, value in (("0.5", process.commit_p50_ms), ("0.99", process.commit_p99_ms)):
            if value is not None:
                times.add_metric([process.name, quantile], value / 1000)
    yield commits
    yield times


def _runs(figures: Figures) -> Iterator[Metric]:
    queue = figures.queue
    yield _labelled("wataomi_runs", "Runs that have not ended.", "status", figures.runs)
    yield _gauge("wataomi_queue_runs", "Runs that wait for a worker.", queue.depth)
    yield _gauge("wataomi_queue_oldest_age_seconds", "Of the run that waits longest.", queue.oldest_seconds or 0)
    unlimited = queue.oldest_unlimited_seconds or 0
    yield _gauge("wataomi_queue_oldest_unlimited_age_seconds", "Of those whose flow has no limit of runs.", unlimited)
    yield _gauge("wataomi_lost_runs", "Runs whose lease has ended, and nobody took over.", queue.lost)
    yield _gauge("wataomi_overdue_runs", "Runs whose wait is over, and nobody goes on.", queue.overdue)
    ended = GaugeMetricFamily(
        "wataomi_ended_runs", "Runs that ended in the last minutes.", labels=["status", "minutes"]
    )
    for minutes, counts in figures.ended.items():
        for status in ("success", "error", "canceled"):
            ended.add_metric([status, str(minutes)], counts.get(status, 0))
    yield ended


def _services(figures: Figures) -> Iterator[Metric]:
    yield _gauge("wataomi_database_size_bytes", "Size of the database.", figures.database.bytes)
    tables = {table.name.replace(" ", "_"): table for table in figures.database.tables}
    if tables:
        rows = {name: table.rows for name, table in tables.items() if table.rows is not None}
        yield _labelled("wataomi_table_rows", "Rows, as PostgreSQL estimates them.", "table", rows)
        sizes = {name: table.bytes for name, table in tables.items()}
        yield _labelled("wataomi_table_size_bytes", "Size with indexes.", "table", sizes)
    if figures.layer.joins_processes:
        yield _gauge("wataomi_channel_layer_up", "1 when it can be reached.", float(not figures.layer.fault))
    if figures.jobs is not None:
        yield _labelled("wataomi_jobs", "Jobs of Procrastinate.", "status", figures.jobs)


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)


def _counter(name: str, documentation: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, documentation, value=value)


def _labelled(name: str, documentation: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _by_process(name: str, documentation: str, values: Iterable[tuple[ProcessFigures, float]]) -> GaugeMetricFamily:
    return _labelled(f"wataomi_process_{name}", documentation, "process", {p.name: value for p, value in values})


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    for collector in (OwnCollector(), InstallationCollector()):
        registry.register(collector)
    ProcessCollector(registry=registry)  # memory, file descriptors and CPU time of the process that answers
    return registry


REGISTRY = _registry()


def exposition() -> bytes:
    """All of it as text, in the format 0.0.4."""
    return generate_latest(REGISTRY)
