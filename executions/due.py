"""What should go on and is held by nobody: runs whose worker has died or gave them back, runs whose wait is over, runs
for which their flow has a place again, and commands for runs that nobody executes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Min, Q

from executions.database_clock import database_now
from executions.models import Command, Execution
from executions.statuses import RunStatus

UNCLAIMED_GRACE = timedelta(seconds=10)
"""A run that nobody has taken this long is looked after; before, it is on its way to a worker."""

AT_ONCE = 500

UNFINISHED = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSING)


class Pending(NamedTuple):
    """A command that nobody has taken yet."""

    id: int
    execution_id: UUID
    kind: str
    node_id: str
    data: Any


def interrupted() -> list[UUID]:
    """Runs whose lease has ended, and runs that were given back in the middle."""
    expired = Execution.objects.filter(status__in=UNFINISHED, lease_until__lt=database_now())
    given_back = Execution.objects.filter(status__in=(RunStatus.RUNNING, RunStatus.PAUSING), lease_until=None)
    return [
        execution_id
        for runs in (expired, given_back)
        for execution_id in runs.order_by("id").values_list("id", flat=True)[:AT_ONCE]
    ]


def woken() -> list[UUID]:
    """Runs whose wait is over."""
    now = database_now()
    free = Q(lease_until=None) | Q(lease_until__lt=now)
    over = Execution.objects.filter(free, status=RunStatus.WAITING, wake_at__lte=now)
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
    return dict(Execution.objects.filter(id__in=execution_ids).values_list("id", "priority"))


def pending_commands(owner: str) -> list[Pending]:
    """The oldest first; those for runs that `owner` holds, and for runs that nobody does."""
    held = Q(execution__lease_owner=owner)
    free = Q(execution__lease_until=None) | Q(execution__lease_until__lt=database_now())
    rows = Command.objects.filter(held | free, taken_at=None).order_by("id")
    return [Pending(*row) for row in rows.values_list("id", "execution_id", "kind", "node_id", "data")[:1000]]
