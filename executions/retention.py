"""Deletes old runs with all that belongs to them, in small transactions.

A run that another one started goes together with that one: it stays while its parent stays, whatever its own age, and a
parent stays while a run that it started is under way. A retry outlives the run that it was made of.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Count, Q, QuerySet

from executions.conf import execution_settings
from executions.database_clock import database_now
from executions.journal.transactions import write_transaction
from executions.models import Command, Execution, ExecutionEvent, NodeExecution
from executions.statuses import RUN_ENDED, RunStatus
from flows.models import Flow

logger = logging.getLogger(__name__)

BATCH = 500
"""Runs that one transaction deletes."""

PAUSE = 0.01
"""Seconds between two transactions: on SQLite the next writer would hardly get its turn between them."""

NOT_ENDED = [status for status in RunStatus if status not in RUN_ENDED]

LONGEST_PAST = timedelta(days=365 * 1000)

NOT_STOPPING: Callable[[], bool] = lambda: False  # noqa: E731 - a default


class Rule(NamedTuple):
    """Which runs are old; 0 leaves either out."""

    days: int = 0
    """A run that ended longer ago than that."""
    keep_runs: int = 0
    """A run of a flow that has so many newer ones which have ended."""

    @property
    def keeps_all(self) -> bool:
        return not (self.days or self.keep_runs)


def rule_of_settings() -> Rule:
    settings = execution_settings()
    return Rule(settings.keep_days, settings.keep_runs)


def prune_by_settings(stopping: Callable[[], bool] = NOT_STOPPING) -> int:
    """Delete what `WATAOMI_KEEP_DAYS` and `WATAOMI_KEEP_RUNS` say; returns how many runs. Several may do it at once.

    `stopping` is asked between two batches; where it says so, the rest is left to the next time.
    """
    return prune(rule_of_settings(), stopping=stopping)


def prune(
    rule: Rule,
    *,
    flow: Flow | None = None,
    batch: int = BATCH,
    stopping: Callable[[], bool] = NOT_STOPPING,
    on_batch: Callable[[int], None] = lambda deleted: None,
) -> int:
    """Delete the runs that are old (of one flow only, if it is given), oldest first; returns how many.

    `batch` runs go in one transaction, and `on_batch` is told of each how many it has deleted.
    """
    total = 0
    started = time.monotonic()
    for candidates in _old(rule, flow):
        position: _Position | None = None
        while not stopping():
            deleted, position = _delete_next(candidates, position, batch)
            if position is None:
                break
            total += deleted
            on_batch(deleted)
            time.sleep(PAUSE)
    if total:
        logger.info("retention: %d runs deleted in %.1f s", total, time.monotonic() - started)
    return total


def count_old(rule: Rule, *, flow: Flow | None = None) -> dict[int, int]:
    """How many runs `prune` would look at, by the id of their flow. Reads all of them."""
    old = Q(finished_at__lt=_since(rule.days)) if rule.days else Q(pk__in=())
    for each in _flows(flow) if rule.keep_runs else ():
        kept = _oldest_kept(each, rule.keep_runs)
        if kept is not None:
            old |= Q(flow=each, id__lt=kept)
    rows = _ended(flow).filter(old).order_by("flow").values_list("flow").annotate(runs=Count("id"))
    return dict(rows)


# -- which ones ---------------------------------------------------------------------------------------------------


class _Position(NamedTuple):
    """The run that was looked at last."""

    finished_at: datetime | None
    id: UUID


class _Candidates(NamedTuple):
    runs: QuerySet[Execution]
    by_end: bool


def _old(rule: Rule, flow: Flow | None) -> Iterable[_Candidates]:
    """Each in the order of an index, so that the next ones are found where the last ones were."""
    if rule.days:
        yield _Candidates(_ended(flow).filter(finished_at__lt=_since(rule.days)), by_end=True)
    for each in _flows(flow) if rule.keep_runs else ():
        kept = _oldest_kept(each, rule.keep_runs)
        if kept is not None:
            yield _Candidates(_ended(each).filter(id__lt=kept), by_end=False)


def _ended(flow: Flow | None) -> QuerySet[Execution]:
    # Said by what they are not: SQLite would take the index of statuses or parents, and sort all runs each time.
    ended = Execution.objects.exclude(status__in=NOT_ENDED).exclude(parent__isnull=False)
    return ended.filter(finished_at__isnull=False) if flow is None else ended.filter(flow=flow)


def _flows(flow: Flow | None) -> Iterable[Flow]:
    return Flow.objects.only("id").order_by("id") if flow is None else (flow,)


def _oldest_kept(flow: Flow, keep_runs: int) -> UUID | None:
    """None when the flow has no more than these."""
    newest = _ended(flow).order_by("-id").values_list("id", flat=True)
    return next(iter(newest[keep_runs - 1 : keep_runs]), None)


def _since(days: int) -> datetime:
    return database_now() - min(timedelta(days=min(days, 10**6)), LONGEST_PAST)


# -- how ----------------------------------------------------------------------------------------------------------


def _delete_next(candidates: _Candidates, position: _Position | None, batch: int) -> tuple[int, _Position | None]:
    """Delete the batch behind `position`; returns how many runs that were, and where it ended: None when there was
    nothing any more."""
    with write_transaction():
        # Another process that cleans up at the same time takes the runs behind these.
        rows = _behind(candidates, position).select_for_update(
            of=("self",), skip_locked=connection.features.has_select_for_update_skip_locked
        )
        found = list(rows.values_list("finished_at", "id")[:batch])
        if not found:
            return 0, None
        doomed = _with_children([execution_id for _, execution_id in found])
        _delete(doomed, batch)
    return len(doomed), _Position(*found[-1])


def _behind(candidates: _Candidates, position: _Position | None) -> QuerySet[Execution]:
    if not candidates.by_end:
        runs = candidates.runs.order_by("id")
        return runs if position is None else runs.filter(id__gt=position.id)
    runs = candidates.runs.order_by("finished_at", "id")
    if position is None:
        return runs
    later = Q(finished_at__gt=position.finished_at) | Q(finished_at=position.finished_at, id__gt=position.id)
    return runs.filter(later, finished_at__gte=position.finished_at)


def _with_children(roots: Sequence[UUID]) -> list[UUID]:
    """The runs and all that they started, without those of which something is still under way."""
    root_of = {root: root for root in roots}
    alive: set[UUID] = set()
    level: Sequence[UUID] = roots
    while level:
        children = Execution.objects.filter(parent__in=level).order_by().select_for_update()
        level = []
        for child, parent, status in children.values_list("id", "parent_id", "status"):
            assert parent is not None
            root_of[child] = root_of[parent]
            level.append(child)
            if status not in RUN_ENDED:
                alive.add(root_of[child])
    return [run for run, root in root_of.items() if root not in alive]


def _delete(execution_ids: Sequence[UUID], at_once: int) -> None:
    """The rows of these runs, in an order that no reference objects to; without reading them, as Django would."""
    rest = iter([Execution._meta.pk.get_db_prep_value(execution_id, connection) for execution_id in execution_ids])
    with connection.cursor() as cursor:
        while keys := list(islice(rest, at_once)):
            those = f"({', '.join(['%s'] * len(keys))})"
            for model in (ExecutionEvent, NodeExecution, Command):
                cursor.execute(f"DELETE FROM {model._meta.db_table} WHERE execution_id IN {those}", keys)  # noqa: S608
            runs = Execution._meta.db_table
            # References are checked at the commit, and with a run go those that name it as their parent.
            cursor.execute(f"UPDATE {runs} SET retry_of_id = NULL WHERE retry_of_id IN {those}", keys)  # noqa: S608
            cursor.execute(f"DELETE FROM {runs} WHERE id IN {those}", keys)  # noqa: S608
