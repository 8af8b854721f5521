"""A run as a tree that is redrawn on the terminal while the run goes on."""

from __future__ import annotations

import os
import select
import sys
from contextlib import ExitStack
from typing import Any, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from executions.events import Event
from executions.terminal.console_logs import console_through
from executions.terminal.run_tree import RunTree
from executions.terminal.signs import signs_for
from executions.terminal.view import Heading
from executions.terminal.words import one_line

REDRAWS_PER_SECOND = 12

SHOW_CURSOR = b"\x1b[?25h\n"


class LiveTreeView:
    """The tree on a terminal: redrawn while the run goes on, whole at its end.

    What nodes print, and errors that are logged, appear above it.
    """

    def __init__(self, output: TextIO, *, no_color: bool = False) -> None:
        self._console = make_console(output, no_color=no_color)
        self._output = output
        self._tree = RunTree(signs_for(self._console.encoding))
        self._errors_here = sys.stderr is not None and sys.stderr.isatty()
        self._live = Live(
            self._tree,
            console=self._console,
            refresh_per_second=REDRAWS_PER_SECOND,
            redirect_stderr=self._errors_here,
            vertical_overflow="crop",
        )
        self._while_live = ExitStack()

    def begin(self, heading: Heading) -> None:
        self._tree.title = f"{one_line(heading.flow_name)} v{heading.flow_version}"
        self._print(f"Run {heading.execution_id}")
        if heading.address:
            self._print(heading.address, style="dim")
        self._live.start(refresh=True)
        self._while_live.callback(self._live.stop)
        if self._errors_here:
            self._while_live.enter_context(console_through(sys.stderr))

    def show(self, event: Event) -> None:
        self._tree.take(event)

    def say(self, text: str) -> None:
        self._print(text)

    def end(self) -> None:
        self._tree.whole = True
        self._while_live.close()

    def abandon(self) -> None:
        """Give the cursor back, without waiting for anything."""
        descriptor = self._output.fileno()
        # A terminal that was stopped (Ctrl-S) takes nothing, and would hold whoever writes to it.
        if select.select([], [descriptor], [], 0)[1]:
            os.write(descriptor, SHOW_CURSOR)

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)


def make_console(output: TextIO, *, no_color: bool) -> Console:
    """A console on `output`; without colours when that is asked for here or by NO_COLOR (https://no-color.org)."""
    options: dict[str, Any] = {"no_color": True} if no_color else {}
    return Console(file=output, highlight=False, markup=False, emoji=False, **options)


def can_redraw(output: TextIO) -> bool:
    """Whether `output` is a terminal on which lines can be drawn again."""
    return output.isatty() and make_console(output, no_color=False).is_interactive
