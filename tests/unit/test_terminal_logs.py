"""Log records and what a command shows: kept apart on the console, untouched in files."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from executions.terminal.console_logs import console_through, quiet_console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Terminal]:
    """What stands for standard error, with a handler on it and one on a file beside it."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "__stderr__", terminal)
    handlers: list[logging.Handler] = [logging.StreamHandler(), logging.FileHandler(tmp_path / "app.log", delay=True)]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    for handler in handlers:
        root.addHandler(handler)
    yield terminal
    for handler in handlers:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def log_all() -> None:
    logging.getLogger("executions.runs").info("a run started")
    logging.getLogger("executions.runs").error("a run failed")
    logging.getLogger("executions.journal").warning("a little slow")
    logging.getLogger("executions.journal").error("the database is gone")


def test_the_console_gets_errors_only_and_none_that_is_shown_anyway(console: Terminal, tmp_path: Path) -> None:
    with quiet_console():
        log_all()
    assert console.getvalue() == "the database is gone\n"
    assert len((tmp_path / "app.log").read_text().splitlines()) == 4
    log_all()
    assert len(console.getvalue().splitlines()) == 1 + 4


def test_while_a_terminal_is_redrawn_its_records_go_where_they_do_not_disturb(console: Terminal) -> None:
    above = io.StringIO()
    with console_through(above):
        logging.getLogger("executions").info("above")
    logging.getLogger("executions").info("behind")
    assert (above.getvalue(), console.getvalue()) == ("above\n", "behind\n")
