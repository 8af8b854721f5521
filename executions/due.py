"""What should go on and is held by nobody: runs whose worker has died or gave them back, runs whose wait is over, runs
for which their flow has a place again, and commands for runs that nobody executes."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Case, Min, Q, Value, When

from executions.database_clock import database_now
from executions.limits import wait_over
from executions.models import Command, Execution
from executions.statuses import RUN_NEEDS_WORKER, RunStatus

UNCLAIMED_GRACE = timedelta(seconds=10)
"""A run that nobody has taken this long is looked after; before, it is on its way to a worker."""

AT_ONCE = 500

AHEAD = 1
"""What a run that is brought to a worker once more has of priority before those that are new."""


class Pending(NamedTuple):
    """A command that nobody has taken yet."""

    id: int
    execution_id: UUID
    kind: str
    node_id: str
    data: Any


def interrupted() -> list[UUID]:
    """Runs whose lease has ended, and runs that were given back in the middle."""
    expired = Execution.objects.filter(status__in=RUN_NEEDS_WORKER, lease_until__lt=database_now())
    given_back = Execution.objects.filter(status__in=(RunStatus.RUNNING, RunStatus.PAUSING), lease_until=None)
    return [
        execution_id
        for runs in (expired, given_back)
        for execution_id in runs.order_by("id").values_list("id", flat=True)[:AT_ONCE]
    ]


def woken() -> list[UUID]:
    """Runs whose wait is over. Those of flows with a limit are not among them: see `limits.next_in_line`. They may have
    to wait for a place, and so many of them that nobody would look behind them."""
    over = Execution.objects.filter(wait_over(database_now()), flow__max_concurrent_runs__isnull=True)
    return list(over.order_by("wake_at").values_list("id", flat=True)[:AT_ONCE])


def next_wake() -> datetime | None:
    """When the next wait ends that is not over yet; one that is over may have to wait for a place."""
    ahead = Execution.objects.filter(wake_at__gt=database_now())
    wake: datetime | None = ahead.aggregate(first=Min("wake_at"))["first"]
    return wake


def forgotten(unqueued: Q) -> list[UUID]:
    """Runs that were made, or given back before they began, and did not come to a worker; `unqueued` tells those from
    runs that only wait for their turn. Runs of flows with a limit are not among them: see `limits.next_in_line`."""
    late = Q(epoch__gt=0) | Q(created_at__lt=database_now() - UNCLAIMED_GRACE)
    waiting = Execution.objects.filter(late, unqueued, status=RunStatus.QUEUED, lease_until=None)
    unlimited = waiting.filter(flow__max_concurrent_runs__isnull=True)
    return list(unlimited.order_by("id").values_list("id", flat=True)[:AT_ONCE])


def priorities(execution_ids: list[UUID]) -> dict[UUID, int]:
    """Of runs that are brought to a worker once more: each comes before new ones of its own priority. It has begun, or
    has a place of its flow now, and there may be thousands in the queue that have none.

    In the order of ids: two workers that put the same runs into a queue in different orders would wait for each other.
    """
    runs = Execution.objects.filter(id__in=execution_ids).order_by("id").values_list("id", "priority")
    return {execution_id: priority + AHEAD for execution_id, priority in runs}


def pending_commands(owner: str, without: Collection[int] = ()) -> list[Pending]:
    """Those for runs that `owner` holds, then those for runs that nobody does; the oldest first, but each cancel before
    what may have to wait for a place.

    `without` are left out, of those for runs that nobody holds: however many cannot be obeyed yet, others are found.
    """
    held = Q(execution__lease_owner=owner)
    free = Q(execution__lease_until=None) | Q(execution__lease_until__lt=database_now())
    # A paused run is told of a signal when it is resumed.
    idle = Q(kind=Command.Kind.SIGNAL, execution__status=RunStatus.PAUSED)
    if without:
        idle |= Q(id__in=without)
    urgency = Case(When(held, then=Value(0)), When(kind=Command.Kind.CANCEL, then=Value(1)), default=Value(2))
    rows = Command.objects.filter(held | (free & ~idle), taken_at=None).order_by(urgency, "id")
    return [Pending(*row) for row in rows.values_list("id", "execution_id", "kind", "node_id", "data")[:1000]]
