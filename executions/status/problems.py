"""What is wrong with the installation, as its figures tell. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from executions.status.figures import Figures, ProcessFigures
from executions.status.words import counted, span_words

WAITS_LONG = 30.0
"""Seconds in the queue that are too many."""

LATE_LEASES = 2.0
"""Leases that may pass before a lost run must have been taken up."""

OVERDUE_SECONDS = 30.0
"""Seconds that a run may stay behind the end of its wait."""

BACKLOG = 5_000
"""Journal entries that wait to be written, at which runs begin to wait too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """What is wrong, and what to do."""

    code: str
    message: str
    hint: str


CODES = ("no_worker", "process_late", "runs_lost", "queue_old", "wake_overdue", "journal_behind", "layer_away")


def problems_of(figures: Figures) -> tuple[Problem, ...]:
    """The gravest first; none when all is well."""
    finders = (_no_worker, _late, _lost, _queue, _overdue, _backlog, _layer)
    return tuple(problem for find in finders for problem in find(figures))


def _no_worker(figures: Figures) -> Iterator[Problem]:
    if figures.workers:
        return
    if figures.executor == "embedded":
        message, hint = "No server is alive that executes runs.", "Start the server; its log says why it ended."
    else:
        message, hint = "No worker is alive.", "Start one with manage.py run_worker."
    yield Problem(code="no_worker", message=message, hint=hint)


def _late(figures: Figures) -> Iterator[Problem]:
    for process in figures.processes:
        if not process.is_alive:
            yield Problem(
                code="process_late",
                message=f"{_called(process)} has not been seen for {span_words(process.seen_seconds)}.",
                hint=f"See whether process {process.pid} still runs on {process.host}, and what its log says. "
                "What it held is taken over when its leases have ended.",
            )


def _called(process: ProcessFigures) -> str:
    kind = "The worker" if process.role == "worker" else "The server"
    return f"{kind} {process.name}"


def _lost(figures: Figures) -> Iterator[Problem]:
    queue = figures.queue
    if queue.lost_seconds is not None and queue.lost_seconds > LATE_LEASES * figures.lease_seconds:
        lost = counted(queue.lost, "run has lost its worker", "runs have lost their worker")
        yield Problem(
            code="runs_lost",
            message=f"{lost}, and nobody has taken over for {span_words(queue.lost_seconds)}.",
            hint=_more_room(figures),
        )


def _queue(figures: Figures) -> Iterator[Problem]:
    waited = figures.queue.oldest_unlimited_seconds
    if waited is not None and waited > WAITS_LONG:
        depth = counted(figures.queue.depth, "run waits", "runs wait")
        yield Problem(
            code="queue_old",
            message=f"The oldest run has waited for {span_words(waited)}; {depth} for a worker.",
            hint=_more_room(figures),
        )


def _overdue(figures: Figures) -> Iterator[Problem]:
    late = figures.queue.overdue_seconds
    if late is not None and late > OVERDUE_SECONDS:
        waiting = counted(figures.queue.overdue, "run whose wait is over has", "runs whose wait is over have")
        yield Problem(
            code="wake_overdue",
            message=f"{waiting} not gone on, the first for {span_words(late)}.",
            hint=_more_room(figures),
        )


def _more_room(figures: Figures) -> str:
    if not figures.workers:
        return "There is nobody to execute it."
    if sum(worker.held for worker in figures.workers) < figures.capacity:
        return "The workers have room and do not take it: see what their logs say."
    setting = "WATAOMI_MAX_CONCURRENT_RUNS" if figures.executor == "embedded" else "WATAOMI_WORKER_CONCURRENCY"
    return f"All {figures.capacity:,} places are taken: start more workers, or raise {setting}."


def _backlog(figures: Figures) -> Iterator[Problem]:
    for process in figures.alive:
        if process.backlog >= BACKLOG:
            yield Problem(
                code="journal_behind",
                message=f"{process.backlog:,} journal entries of {process.name} wait to be written.",
                hint="Its runs wait for the database: see whether that is slow or away.",
            )


def _layer(figures: Figures) -> Iterator[Problem]:
    if figures.layer.fault:
        yield Problem(
            code="layer_away",
            message="The channel layer cannot be reached; streams follow by polling.",
            hint=f"See whether Redis is up, and whether REDIS_URL is right: {figures.layer.fault}",
        )
