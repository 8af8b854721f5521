"""What the operator's page shows: tiles, processes and services, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from executions.status.figures import WINDOWS, Figures, ProcessFigures, TableFigures
from executions.status.problems import problems_of
from executions.status.words import NOTHING, counted, milliseconds_words, rate_words, size_words, span_words
from executions.statuses import RunStatus

ROLES = {"web": "Server", "worker": "Worker", "command": "Command"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One figure, what it is, and what stands behind it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessRow:
    role: str
    name: str
    place: str
    state: str
    status: str
    """Whose colours it has."""
    runs: str
    readers: str
    commits: str
    backlog: str


def page_of(figures: Figures) -> dict[str, Any]:
    """The context of the page's template."""
    return {
        "at": figures.at,
        "problems": problems_of(figures),
        "tiles": tuple(tiles(figures)),
        "processes": tuple(process_row(process) for process in figures.processes),
        "unended": tuple((status, count) for status, count in figures.runs.items() if count),
        "windows": WINDOWS,
        "ended": tuple(
            (status, tuple(figures.ended[minutes].get(status, 0) for minutes in WINDOWS))
            for status in (RunStatus.SUCCESS.value, RunStatus.ERROR.value, RunStatus.CANCELED.value)
        ),
        "services": tuple(services(figures)),
    }


def tiles(figures: Figures) -> Iterator[Tile]:
    queue = figures.queue
    places = counted(figures.capacity, "place", "places")
    yield Tile(label="Workers alive", value=f"{len(figures.workers):,}", note=f"{places} for runs")
    yield Tile(label="Runs held", value=f"{figures.held:,}", note=f"{sum(figures.runs.values()):,} not ended")
    oldest = "nobody waits" if queue.oldest_seconds is None else f"the oldest for {span_words(queue.oldest_seconds)}"
    yield Tile(label="Queue", value=f"{queue.depth:,}", note=oldest)
    rates = " · ".join(f"{minutes} min {rate_words(figures.per_minute(minutes))}" for minutes in WINDOWS[1:])
    yield Tile(label="Runs a minute", value=rate_words(figures.per_minute(1)), note=rates)
    ended = counted(figures.ended_in(15), "run", "runs")
    yield Tile(label="Failed", value=f"{figures.failed_in(15):,}", note=f"of {ended} in 15 min")
    yield Tile(label="Readers", value=f"{figures.readers:,}", note="open streams")
    yield Tile(
        label="Journal commit",
        value=milliseconds_words(figures.commit_p50_ms),
        note=f"p99 {milliseconds_words(figures.commit_p99_ms)}, last minute",
    )
    yield Tile(label="Journal backlog", value=f"{figures.backlog:,}", note="entries to be written")


def process_row(process: ProcessFigures) -> ProcessRow:
    speaks = process.role != "command"
    measured = process.commit_p50_ms is not None
    times = f"{milliseconds_words(process.commit_p50_ms)} / {milliseconds_words(process.commit_p99_ms)}"
    return ProcessRow(
        role=ROLES.get(process.role, process.role),
        name=process.name,
        place=f"process {process.pid} on {process.host}",
        state=_state(process) if speaks else "holds a run of its own",
        status="success" if process.is_alive else "error",
        runs=f"{process.held:,} of {process.capacity:,}" if process.capacity else f"{process.held:,}",
        readers=f"{process.readers:,}" if speaks else NOTHING,
        commits=times if measured else NOTHING,
        backlog=f"{process.backlog:,}" if speaks else NOTHING,
    )


def _state(process: ProcessFigures) -> str:
    if not process.is_alive:
        return f"not seen for {span_words(process.seen_seconds)}"
    return f"alive, seen {span_words(process.seen_seconds)} ago"


def _rows(table: TableFigures) -> str:
    return "" if table.rows is None else f"about {table.rows:,} "


def services(figures: Figures) -> Iterator[Tile]:
    """What the runs stand on."""
    database = figures.database
    tables = " · ".join(f"{table.name} {_rows(table)}({size_words(table.bytes)})" for table in database.tables)
    yield Tile(label="Database", value=f"{database.vendor}, {size_words(database.bytes)}", note=tables)
    layer = figures.layer
    if not layer.joins_processes:
        yield Tile(label="Channel layer", value="none", note="each process is told of its own runs only")
    else:
        yield Tile(label="Channel layer", value="cannot be reached" if layer.fault else "reached", note=layer.name)
    yield Tile(label="Executor", value=figures.executor, note=_executor_note(figures))


def _executor_note(figures: Figures) -> str:
    if figures.jobs is None:
        return "runs are executed in the servers"
    return f"{figures.jobs['todo']:,} jobs wait, {figures.jobs['doing']:,} are under way"
