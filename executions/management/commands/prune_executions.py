"""`manage.py prune_executions`: deletes old runs, as the settings or its options say."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError

from executions.retention import BATCH, Rule, count_old, prune, rule_of_settings
from executions.terminal.exit_codes import ExitCode
from executions.terminal.references import UnknownReference, find_flow
from executions.terminal.words import counted
from flows.models import Flow


class Command(BaseCommand):
    help = (
        "Delete runs that have ended, with their nodes and events: those that ended more than --days days ago, and of "
        "each flow those beyond its --keep newest ones. Without either, WATAOMI_KEEP_DAYS and WATAOMI_KEEP_RUNS say it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days", type=whole_number, metavar="N", help="Delete runs that ended before that; 0: none."
        )
        parser.add_argument("--keep", type=whole_number, metavar="N", help="Keep so many newest runs of a flow.")
        parser.add_argument("--flow", metavar="ID|SLUG", help="Only the runs of this flow.")
        parser.add_argument(
            "--batch", type=positive_number, metavar="N", default=BATCH, help=f"Runs in one transaction: {BATCH}."
        )
        parser.add_argument("--dry-run", action="store_true", help="Only say how many runs of which flow are old.")

    def handle(self, *args: Any, **options: Any) -> None:
        rule = _rule(options["days"], options["keep"])
        if rule.keeps_all:
            message = "All runs are kept: give --days or --keep, or set WATAOMI_KEEP_DAYS or WATAOMI_KEEP_RUNS."
            raise CommandError(message, returncode=ExitCode.USAGE)
        try:
            flow = find_flow(options["flow"]) if options["flow"] else None
            if options["dry_run"]:
                self._tell(count_old(rule, flow=flow))
            else:
                self._prune(rule, flow, options["batch"], options["verbosity"])
        except UnknownReference as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE) from error
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(f"The database cannot be used: {error}", returncode=ExitCode.FAILED) from error

    def _prune(self, rule: Rule, flow: Flow | None, batch: int, verbosity: int) -> None:
        def tell(deleted: int) -> None:
            if verbosity > 1:
                self.stdout.write(f"{counted(deleted, 'run')} deleted")

        total = prune(rule, flow=flow, batch=batch, on_batch=tell)
        self.stdout.write(f"{counted(total, 'run')} deleted.")

    def _tell(self, old: dict[int, int]) -> None:
        slugs = dict(Flow.objects.filter(pk__in=old).values_list("pk", "slug"))
        for flow_id, runs in old.items():
            self.stdout.write(f"{slugs[flow_id]} (flow {flow_id}): {counted(runs, 'run')}")
        self.stdout.write(f"{counted(sum(old.values()), 'run')} would be deleted, and those that they started.")


def _rule(days: int | None, keep: int | None) -> Rule:
    """What the options say; the settings only where neither is given."""
    if days is None and keep is None:
        return rule_of_settings()
    return Rule(days or 0, keep or 0)


def whole_number(text: str) -> int:
    """Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def positive_number(text: str) -> int:
    """Raises ArgumentTypeError."""
    number = whole_number(text)
    if number == 0:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return number
