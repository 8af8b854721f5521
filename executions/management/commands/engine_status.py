"""`manage.py engine_status`: how the installation is doing, in a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

import orjson
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, connection
from rich.console import Console
from rich.live import Live

from executions.management.commands.run_flow import positive_seconds
from executions.status.figures import Figures
from executions.status.gathering import gather
from executions.status.problems import problems_of
from executions.terminal.console_logs import quiet_console
from executions.terminal.exit_codes import ExitCode
from executions.terminal.status_view import as_json, lines, screen


class Command(BaseCommand):
    help = (
        "Show workers, queue, rates, readers and journal latency: as tables on a terminal, as plain lines in a pipe. "
        "Exit code 0 when all is well, 1 when something is wrong."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON object (with --watch, one a line).")
        parser.add_argument(
            "--watch", metavar="SECONDS", type=positive_seconds, help="Show it again every so many seconds, to Ctrl-C."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        output: TextIO = options.get("stdout") or sys.stdout
        with quiet_console():
            try:
                healthy = self._show(output, options)
            except (DatabaseError, InterfaceError) as error:
                raise CommandError(f"The database cannot be read: {error}", returncode=ExitCode.FAILED) from error
        if not healthy:
            sys.exit(ExitCode.FAILED)

    def _show(self, output: TextIO, options: dict[str, Any]) -> bool:
        """Show it once, or until Ctrl-C; returns whether all was well at last."""
        console = Console(file=output, no_color=options["no_color"] or None)
        if options["json"]:
            return _repeat(lambda figures: _print_json(output, figures), options["watch"])
        if not console.is_terminal:
            return _repeat(lambda figures: _print_lines(output, figures), options["watch"])
        if options["watch"] is None:
            return _repeat(lambda figures: console.print(screen(figures)), None)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            return _repeat(lambda figures: live.update(screen(figures), refresh=True), options["watch"])


def _repeat(show: Any, seconds: float | None) -> bool:
    healthy = False
    try:
        while True:
            figures = gather()
            healthy = not problems_of(figures)
            show(figures)
            if seconds is None:
                return healthy
            connection.close()  # else it is kept from others between two looks
            time.sleep(seconds)
    except KeyboardInterrupt:
        return healthy


def _print_json(output: TextIO, figures: Figures) -> None:
    output.write(orjson.dumps(as_json(figures)).decode() + "\n")
    output.flush()


def _print_lines(output: TextIO, figures: Figures) -> None:
    output.write("\n".join(lines(figures)) + "\n\n")
    output.flush()
