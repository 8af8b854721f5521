"""How the installation is doing, for a terminal: tables, plain lines, and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from executions.status.figures import Figures
from executions.status.page import process_row, services, tiles
from executions.status.problems import problems_of
from executions.terminal.words import one_line


def as_json(figures: Figures) -> dict[str, Any]:
    """All figures, and what is wrong."""
    problems = [asdict(problem) for problem in problems_of(figures)]
    values = asdict(figures)
    values["ended"] = {f"{minutes} min": counts for minutes, counts in figures.ended.items()}
    return {"healthy": not problems, "problems": problems, **values}


def lines(figures: Figures) -> Iterator[str]:
    """One figure a line, and one process: `Queue: 3 (the oldest for 2 s)`."""
    problems = problems_of(figures)
    yield f"Status: {'ok' if not problems else f'{len(problems)} wrong'}, {figures.at:%Y-%m-%d %H:%M:%S} UTC"
    for problem in problems:
        yield one_line(f"Problem: {problem.message} {problem.hint}")
    for tile in tiles(figures):
        yield _line(tile.label, tile.value, tile.note)
    for process in figures.processes:
        row = process_row(process)
        note = f"readers {row.readers}, commits {row.commits}, backlog {row.backlog}"
        yield _line(f"{row.role} {row.name}", f"{row.state}, runs {row.runs}", note)
    for service in services(figures):
        yield _line(service.label, service.value, service.note)


def _line(label: str, value: str, note: str) -> str:
    return one_line(f"{label}: {value}" + (f" ({note})" if note else ""))


def screen(figures: Figures) -> RenderableType:
    """Tables for a terminal that can draw."""
    problems = problems_of(figures)
    wrong = [
        Text.assemble(("! ", "bold red"), (one_line(problem.message), "bold"), "\n  ", one_line(problem.hint))
        for problem in problems
    ]
    return Group(_heading(figures, len(problems)), *wrong, _figures(figures), _processes(figures), _services(figures))


def _heading(figures: Figures, wrong: int) -> Text:
    state = ("✓ all is well", "green") if not wrong else (f"! {wrong} wrong", "bold red")
    return Text.assemble(("WataOmi ", "bold"), state, (f"  {figures.at:%H:%M:%S} UTC", "dim"))


def _figures(figures: Figures) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for column in ("", "right", ""):
        table.add_column(justify="right" if column else "left")
    for tile in tiles(figures):
        table.add_row(tile.label, Text(tile.value, "bold"), Text(tile.note, "dim"))
    return table


def _processes(figures: Figures) -> RenderableType:
    if not figures.processes:
        return Text("No process has given a sign of life in the last ten minutes.", "dim")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("Process", "State"):
        table.add_column(name, overflow="fold")
    for name in ("Runs", "Readers", "Commit p50 / p99", "Backlog"):
        table.add_column(name, justify="right", no_wrap=True)
    for process in figures.processes:
        row = process_row(process)
        state = Text(row.state, "green" if row.status == "success" else "bold red")
        table.add_row(one_line(f"{row.role} {row.name}"), state, row.runs, row.readers, row.commits, row.backlog)
    return table


def _services(figures: Figures) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for service in services(figures):
        table.add_row(service.label, Text(service.value), Text(one_line(service.note), "dim"))
    return table
