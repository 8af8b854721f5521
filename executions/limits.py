"""How many runs of one flow are executed at once: `Flow.max_concurrent_runs`, over all workers.

A run takes a place from its claim until it has ended, is paused or waits. The flow's row is the lock: who gives places
away holds it until the claim is committed, so two workers never give the same one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, Q

from executions.database_clock import database_now
from executions.models import Execution
from executions.statuses import RunStatus
from flows.models import Flow

HAS_PLACE = Q(status__in=(RunStatus.RUNNING, RunStatus.PAUSING)) | (
    Q(status__in=(RunStatus.QUEUED, RunStatus.PAUSED, RunStatus.WAITING)) & ~Q(lease_owner="")
)
"""Runs that take one of their flow's places, also while their worker is dead: they are taken up again."""

IN_LINE = Q(status=RunStatus.QUEUED, lease_owner="")
"""Runs that wait for a place."""

FIRST_IN_LINE = ("-priority", "id")


def admitted(runs: Sequence[Execution], without_place: Collection[UUID]) -> list[Execution]:
    """Those of `runs` that may be claimed now: their flow has no limit, or a place for them. Inside a transaction.

    `without_place` are claimed whatever the limit says: they are only taken to be ended, or paused before they begin.
    """
    limited = {run.flow_id for run in runs if run.flow.max_concurrent_runs is not None}
    if not limited:
        return list(runs)
    chosen = {run.id for run in runs if run.flow_id not in limited or run.id in without_place or _has_place(run)}
    for flow in lock(limited):
        rest = [run for run in runs if run.flow_id == flow.pk and run.id not in chosen]
        free = free_places(flow)
        if free is None:
            chosen.update(run.id for run in rest)
        elif free > 0 and rest:
            chosen.update(_choose(flow, rest, free))
    return [run for run in runs if run.id in chosen]


def _choose(flow: Flow, runs: Sequence[Execution], free: int) -> list[UUID]:
    """Who goes on after a pause or a wait comes first; then who is first in line, claimed by this worker or not."""
    going_on = [run.id for run in runs if run.status != RunStatus.QUEUED][:free]
    first = set(first_in_line(flow, free - len(going_on)))
    return going_on + [run.id for run in runs if run.id in first]


def _has_place(run: Execution) -> bool:
    return run.status in (RunStatus.RUNNING, RunStatus.PAUSING) or run.lease_owner != ""


def lock(flow_ids: Collection[int]) -> list[Flow]:
    """The flows, locked until the transaction ends; starting a run is not held up by it."""
    weaker = connection.features.has_select_for_no_key_update
    flows = Flow.objects.filter(pk__in=flow_ids).order_by("pk")
    return list(flows.select_for_update(no_key=weaker))


def free_places(flow: Flow) -> int | None:
    """Runs of the flow that may begin now; None for any number."""
    if flow.max_concurrent_runs is None:
        return None
    return max(0, flow.max_concurrent_runs - Execution.objects.filter(HAS_PLACE, flow=flow).count())


def first_in_line(flow: Flow, count: int) -> list[UUID]:
    if count <= 0:
        return []
    waiting = Execution.objects.filter(IN_LINE, flow=flow).order_by(*FIRST_IN_LINE)
    return list(waiting.values_list("id", flat=True)[:count])


def is_full(flow: Flow) -> bool:
    """Whether a run that is started now would have to wait for a place. Lock the flow first, and look in its
    transaction."""
    if flow.max_concurrent_runs is None:
        return False
    return Execution.objects.filter(HAS_PLACE | IN_LINE, flow=flow).count() >= flow.max_concurrent_runs


def wait_over(now: datetime) -> Q:
    """Runs whose wait is over, and that nobody holds."""
    return Q(status=RunStatus.WAITING, wake_at__lte=now) & (Q(lease_until=None) | Q(lease_until__lt=now))


def next_in_line() -> list[UUID]:
    """Of all flows with a limit: the runs for which there is a place now. Those whose wait is over come first."""
    over = wait_over(database_now())
    of_flow = Execution.objects.filter(flow=OuterRef("pk"))
    # Not the flows of all that wait: of each flow one is enough, however many there are.
    wanted = Exists(of_flow.filter(IN_LINE)) | Exists(of_flow.filter(over))
    found: list[UUID] = []
    for flow in Flow.objects.filter(wanted, max_concurrent_runs__isnull=False):
        free = free_places(flow) or 0
        woken = Execution.objects.filter(over, flow=flow).order_by("wake_at").values_list("id", flat=True)[:free]
        found += [*woken, *first_in_line(flow, free - len(woken))]
    return found
