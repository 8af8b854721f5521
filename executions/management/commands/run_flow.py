"""`manage.py run_flow`: runs a flow in this process and shows it live, or watches a run of any process."""

from __future__ import annotations

import argparse
import asyncio
import io
import math
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db import DatabaseError, InterfaceError, connection
from django.urls import NoReverseMatch

from executions import control, runtime
from executions.dispatch import start_execution
from executions.errors import ControlRefused, ExecutionFault, FlowInactive, FlowInvalid
from executions.models import Execution, Mode
from executions.terminal.console_logs import quiet_console
from executions.terminal.exit_codes import ExitCode
from executions.terminal.following import BY_SIGNAL, Follower
from executions.terminal.inputs import InputUnreadable, read_input
from executions.terminal.ndjson import NdjsonView
from executions.terminal.plain import PlainView
from executions.terminal.references import UnknownReference, find_flow, find_run
from executions.terminal.signals import Signals
from executions.terminal.view import Heading, View
from flows.models import Flow

EPILOG = """exit codes:
  0    the run succeeded
  1    the run failed (or the database cannot be used, or the output cannot be written)
  2    wrong usage: no such flow or run, an input that is no JSON object
  3    the flow is invalid or inactive
  124  the run took longer than --timeout and was canceled
  130  the run was canceled, by Ctrl-C or by somebody else
"""


class Error(CommandError):
    """Ends the command with a message and an exit code. Django prints it as `Error: ...`."""


class HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's, with the lines of the epilog as they are."""


class Command(BaseCommand):
    help = (
        "Run a flow in this process and show it live: as a tree on a terminal, as plain lines in a pipe.\n"
        "Ctrl-C cancels the run; a second Ctrl-C leaves at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.formatter_class = HelpFormatter
        parser.epilog = EPILOG
        parser.add_argument("flow", nargs="?", metavar="ID|SLUG", help="The flow to run.")
        parser.add_argument(
            "--input", metavar="JSON|@FILE|-", help="The run's input, a JSON object; - is standard input. Default: {}"
        )
        parser.add_argument("--json", action="store_true", help="Print the run's events, one JSON object a line.")
        parser.add_argument(
            "--watch", metavar="ID", help="Show a run of any process from its first event, and leave it alone."
        )
        parser.add_argument(
            "--timeout",
            metavar="SECONDS",
            type=positive_seconds,
            help="Cancel the run (or stop watching) after that time.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        check_usage(options)
        output = prepared(options.get("stdout") or sys.stdout, options)
        messages = options.get("stderr") or sys.stderr or discarding()
        try:
            with ExitStack() as shown:
                if options["verbosity"] < 2:
                    shown.enter_context(quiet_console())
                code = run_or_watch(options, output, messages)
        except KeyboardInterrupt:
            code = ExitCode.CANCELED
        except (UnknownReference, InputUnreadable) as error:
            raise Error(str(error), returncode=ExitCode.USAGE) from error
        except (DatabaseError, InterfaceError) as error:
            raise Error(database_words(error), returncode=ExitCode.FAILED) from error
        if code:
            sys.exit(code)


def positive_seconds(text: str) -> float:
    """Raises ArgumentTypeError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds


def check_usage(options: dict[str, Any]) -> None:
    """Raises Error for options that do not go together."""
    if options["watch"] is None and options["flow"] is None:
        raise Error("Which flow? Name it by its id or slug, or a run with --watch ID.", returncode=ExitCode.USAGE)
    if options["watch"] is not None and options["input"] is not None:
        raise Error("--watch starts no run, so it takes no --input.", returncode=ExitCode.USAGE)


# -- the run ----------------------------------------------------------------------------------------------------------


def run_or_watch(options: dict[str, Any], output: TextIO, messages: TextIO) -> ExitCode:
    """Follow the run that the options ask for, and leave nothing of it in this process."""
    watched = watched_run(options)
    flow = None if watched else find_flow(options["flow"])
    given = read_input(options["input"], getattr(sys.stdin, "buffer", io.BytesIO()))
    view = make_view(output, messages, options)
    # From here on a signal is no exception: it would come between the run's start and what looks after it.
    with Signals(lambda number: leave(view, number)) as signals:
        try:
            run = watched or start(flow, given)
            cancel = None if watched else canceling(run)
            follower = Follower(run.pk, heading_of(run), view, signals, timeout=options["timeout"], cancel=cancel)
            code = follow(follower, view, messages)
            if cancel and code in BY_SIGNAL.values():
                messages.write(f"The run is handed over to a server. Watch it: manage.py run_flow --watch {run.pk}\n")
        finally:
            shut_down()
    if follower.stuck:
        # A thread still waits for the reader of the output, and Python would wait for that thread.
        os._exit(code)
    if follower.unread:
        discard_rest(output)
    return code


def watched_run(options: dict[str, Any]) -> Execution | None:
    """The run to watch, if one is. Raises UnknownReference."""
    if options["watch"] is None:
        return None
    run = find_run(options["watch"])
    if options["flow"] is not None and find_flow(options["flow"]) != run.flow:
        raise UnknownReference(f"The run {run.pk} is not one of the flow {options['flow']!r}; it is of {run.flow.pk}.")
    return run


def start(flow: Flow | None, given: object) -> Execution:
    """A run of the flow, which begins at once in this process. Raises Error."""
    assert flow is not None
    try:
        return start_execution(flow, input_data=given, requester=None, mode=Mode.CLI)
    except ExecutionFault as fault:
        is_about_flow = isinstance(fault, FlowInvalid | FlowInactive)
        code = ExitCode.INVALID if is_about_flow else ExitCode.USAGE
        raise Error(fault_words(fault, flow), returncode=code) from fault


def canceling(run: Execution) -> Callable[[], None]:
    """What asks for the run's cancellation; it does nothing to one that has ended."""

    def cancel() -> None:
        try:
            control.cancel(run, None)
        except ControlRefused:
            pass  # it ended meanwhile, and its last event is on its way

    return cancel


def heading_of(run: Execution) -> Heading:
    try:
        address = run.get_absolute_url()
    except NoReverseMatch:
        address = None
    return Heading(
        execution_id=str(run.pk),
        flow_id=run.flow.pk,
        flow_name=run.flow.name,
        flow_version=run.flow_version.number,
        address=address,
    )


def follow(follower: Follower, view: View, messages: TextIO) -> ExitCode:
    """Follow a run, and leave the terminal as it was."""
    # What a node prints must not come between the events.
    with redirect_stdout(messages):
        try:
            return asyncio.run(follower.follow())
        finally:
            if not follower.stuck:
                try:
                    view.end()
                except OSError:
                    follower.unread = True


def shut_down() -> None:
    """End all that runs in this process. Raises Error."""
    try:
        runtime.shutdown()
    except TimeoutError as error:
        raise Error(f"{error} What is missing is run again elsewhere.", returncode=ExitCode.FAILED) from error


def leave(view: View, number: int) -> None:
    """End this process now: what it holds is taken up by a server when its lease has ended."""
    view.abandon()
    os._exit(128 + number)


# -- words ------------------------------------------------------------------------------------------------------------


def fault_words(fault: ExecutionFault, flow: Flow) -> str:
    """The whole of what is wrong, with each problem of an invalid flow on a line of its own."""
    problems = fault.problems if isinstance(fault, FlowInvalid) else []
    if not problems:
        return " ".join(part for part in (fault.message, fault.hint) if part)
    listed = [f"  - {problem.message}" for problem in problems]
    return "\n".join([f"The flow {flow.name!r} ({flow.pk}) cannot be run:", *listed, fault.hint])


def database_words(error: Exception) -> str:
    """Which database, what is wrong with it, and what to do."""
    name, host = connection.settings_dict["NAME"], connection.settings_dict.get("HOST")
    which = f"{connection.display_name} database {str(name)!r}{f' on {host}' if host else ''}"
    what = " ".join(str(error).split()) or type(error).__name__
    if "no such table" in what or "does not exist" in what:
        return f"The {which} is not set up ({what}). Run `manage.py migrate` first."
    return f"The {which} cannot be used: {what}. DATABASE_URL says where it is."


# -- output -----------------------------------------------------------------------------------------------------------


def make_view(output: TextIO, messages: TextIO, options: dict[str, Any]) -> View:
    """The view that fits the output."""
    if options["json"]:
        return NdjsonView(output, messages)
    if output.isatty():
        from executions.terminal.live_tree import LiveTreeView, can_redraw

        if can_redraw(output):
            return LiveTreeView(output, no_color=options["no_color"])
    return PlainView(output, messages)


def prepared(output: TextIO | None, options: dict[str, Any]) -> TextIO:
    """The output, able to take all that is written: JSON is UTF-8 (RFC 8259, 8.1), a name may have any character."""
    if output is None:
        return discarding()
    if isinstance(output, io.TextIOWrapper):
        output.reconfigure(encoding="utf-8" if options["json"] else None, errors="backslashreplace")
    return output


def discarding() -> TextIO:
    """What stands for a standard stream that was closed before the start."""
    return Path(os.devnull).open("w", encoding="utf-8")


def discard_rest(output: TextIO) -> None:
    """Let what the output still holds go nowhere: at its end Python would try to write it once more, and complain."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, output.fileno())
    os.close(descriptor)
