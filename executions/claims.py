"""Who holds a run: claims, leases, and what a worker needs to go on with a run where it stands.

Taking a run raises its epoch, and each write checks it: of two workers that believe that they hold a run, only the last
one to take it can write.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from executions.conf import execution_settings
from executions.engine.messages import node_after, text
from executions.engine.plan import Plan
from executions.engine.ports import NodeRow
from executions.engine.run import Restored, RunHead
from executions.errors import FlowInvalid
from executions.events import EventType, duration_ms, iso
from executions.journal.transactions import write_transaction
from executions.models import Command, Execution, ExecutionEvent, Mode, NodeExecution
from executions.plans import node_names, plan_of
from executions.statuses import NODE_SETTLED, RUN_ENDED, NodeStatus, RunStatus

UNCLAIMED_GRACE = timedelta(seconds=10)
"""A run that nobody has taken this long is taken by whoever sees it; before, its creator brings it to a worker."""

WAITS_FOR_COMMAND = frozenset({RunStatus.PAUSED, RunStatus.WAITING})

logger = logging.getLogger(__name__)

UNFINISHED = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A run that this worker holds, as it stood when it was taken."""

    execution_id: UUID
    epoch: int
    head: RunHead
    plan: Plan
    restored: dict[str, Restored]
    commands: list[tuple[str, int]]


def claim(execution_ids: Collection[UUID], owner: str) -> list[Claim]:
    """Take runs, all in one transaction; those that have ended, are paused with nothing asked of them, or are held by
    another worker are left out.

    A run whose graph can no longer be run (a node type is gone) is ended with an error.
    """
    now = datetime.now(UTC)
    with write_transaction():
        runs = list(
            _claimable(now, owner)
            .filter(id__in=execution_ids)
            .select_for_update(of=("self",), skip_locked=connection.features.has_select_for_update_skip_locked)
            .select_related("flow_version__flow")
            .defer("output", "error", "flow_version__graph")
        )
        commands = _commands(execution_ids)
        taken = [run for run in runs if run.status not in WAITS_FOR_COMMAND or run.id in commands]
        Execution.objects.filter(id__in=[run.id for run in taken]).update(
            epoch=F("epoch") + 1, lease_owner=owner, lease_until=now + _lease()
        )
    _drop_commands_of_ended(set(commands) - {run.id for run in runs})
    restored = _restored(taken)
    return [held for run in taken if (held := _claim(run, commands.get(run.id, []), restored.get(run.id, {})))]


def _claim(run: Execution, commands: list[tuple[str, int]], restored: dict[str, Restored]) -> Claim | None:
    run.epoch += 1  # as the update did
    try:
        plan = plan_of(run.flow_version)
        head = _head(run)
    except FlowInvalid as error:
        fail(run.id, run.epoch, {"type": "FlowInvalid", "message": error.message, "hint": error.hint})
        return None
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:
        # A node type of someone's app may raise anything when its parameters are checked; that ends this run only.
        logger.exception("execution %s: it cannot be planned", run.id)
        hint = "The flow cannot be made ready to run; the log has the traceback."
        fail(run.id, run.epoch, {"type": type(error).__name__, "message": text(error), "hint": hint})
        return None
    return Claim(execution_id=run.id, epoch=run.epoch, head=head, plan=plan, restored=restored, commands=commands)


def _claimable(now: datetime, owner: str) -> QuerySet[Execution]:
    # A worker asks only for what it does not hold: a lease of its own is left from a claim whose answer it never got.
    free = Q(lease_until=None) | Q(lease_until__lt=now) | Q(lease_owner=owner)
    return Execution.objects.filter(free).exclude(status__in=RUN_ENDED)


def _commands(execution_ids: Collection[UUID]) -> dict[UUID, list[tuple[str, int]]]:
    rows = Command.objects.filter(execution_id__in=execution_ids, taken_at=None).order_by("id")
    commands: dict[UUID, list[tuple[str, int]]] = {}
    for execution_id, kind, command_id in rows.values_list("execution_id", "kind", "id"):
        commands.setdefault(execution_id, []).append((kind, command_id))
    return commands


def _drop_commands_of_ended(execution_ids: Collection[UUID]) -> None:
    """A command that came after the run's end asks for nothing any more."""
    if execution_ids:
        Command.objects.filter(execution_id__in=execution_ids, taken_at=None, execution__status__in=RUN_ENDED).update(
            taken_at=datetime.now(UTC)
        )


def _lease() -> timedelta:
    return timedelta(seconds=execution_settings().lease)


def _head(run: Execution) -> RunHead:
    flow = run.flow_version.flow
    return RunHead(
        execution_id=str(run.id),
        flow={"id": flow.pk, "name": flow.name, "version": run.flow_version.number},
        mode=run.mode,
        input=run.input,
        seq=run.last_seq,
        status=RunStatus(run.status),
        started_at=run.started_at,
    )


def _restored(runs: Collection[Execution]) -> dict[UUID, dict[str, Restored]]:
    """What the nodes of runs that are not new have done."""
    known = [run.id for run in runs if run.last_seq > 0 or run.mode == Mode.RETRY.value]
    restored: dict[UUID, dict[str, Restored]] = {}
    rows = NodeExecution.objects.filter(execution_id__in=known).defer("input", "progress").order_by("attempt")
    for row in rows if known else ():
        restored.setdefault(row.execution_id, {})[row.node_id] = Restored(
            status=NodeStatus(row.status),
            attempt=row.attempt,
            outputs={port: orjson.dumps(items) for port, items in (row.output or {}).items()},
            retry_at=row.retry_at,
            error=row.error,
        )
    return restored


def renew(owner: str, execution_ids: Collection[UUID]) -> None:
    """Keep the runs for another lease."""
    with write_transaction():
        held = Execution.objects.filter(id__in=execution_ids, lease_owner=owner)
        held.update(lease_until=datetime.now(UTC) + _lease())


def park(execution_id: UUID, epoch: int, newest_command: int) -> None:
    """Let go of a run that is paused, all commands up to `newest_command` being dealt with."""
    with write_transaction():
        Execution.objects.filter(id=execution_id, epoch=epoch).update(lease_owner="", lease_until=None)
        seen = Command.objects.filter(execution_id=execution_id, id__lte=newest_command, taken_at=None)
        seen.update(taken_at=datetime.now(UTC))


def release(owner: str, execution_ids: Collection[UUID] | None = None) -> None:
    """Give what a worker holds back, for whoever takes it next: these runs, or all."""
    held = Execution.objects.filter(lease_owner=owner)
    if execution_ids is not None:
        held = held.filter(id__in=execution_ids)
    with write_transaction():
        held.update(lease_owner="", lease_until=None)


def abandoned() -> list[UUID]:
    """Runs that no worker holds and that should go on: their worker died or gave them back, or none ever came."""
    now = datetime.now(UTC)
    forgotten = Q(lease_until__lt=now) | Q(lease_until=None, epoch__gt=0)
    forgotten |= Q(lease_until=None, created_at__lt=now - UNCLAIMED_GRACE)
    unfinished = Q(status__in=UNFINISHED)
    return list(Execution.objects.filter(forgotten & unfinished).order_by("id").values_list("id", flat=True)[:500])


def owners(prefix: str) -> list[str]:
    """Who holds runs, of those whose name starts with `prefix`."""
    held = Execution.objects.filter(lease_owner__startswith=prefix).order_by("lease_owner")
    return list(held.values_list("lease_owner", flat=True).distinct())


def end_leases_of(owner: str) -> None:
    """Let the runs of a worker that is known to be dead be taken at once."""
    Execution.objects.filter(lease_owner=owner).update(lease_until=datetime.now(UTC) - timedelta(seconds=1))


def pending_commands() -> list[tuple[int, UUID, str]]:
    """Id, run and kind of each command that nobody has taken yet, oldest first."""
    rows = Command.objects.filter(taken_at=None).order_by("id")
    return list(rows.values_list("id", "execution_id", "kind")[:1000])


def fail(execution_id: UUID, epoch: int, error: dict[str, str]) -> None:
    """End a run with an error that is not one of its nodes', if it is still held at `epoch`.

    Its nodes that were running or waited for their next attempt are cancelled, as in every other end of a run.
    """
    now = datetime.now(UTC)
    with write_transaction():
        run = Execution.objects.select_for_update().filter(id=execution_id, epoch=epoch).first()
        if run is None or run.status in RUN_ENDED:
            return
        progress = _progress(run)
        for data in _cancel_unsettled(run, now, progress):
            _append(run, EventType.NODE_AFTER, data, now)
        duration = duration_ms(run.started_at, now) if run.started_at else None
        end = {"durationMs": duration, "finishedAt": iso(now), "progress": progress}
        _append(run, EventType.EXECUTION_ERROR, {"nodeId": None, "nodeName": None, "error": error, **end}, now)
        run.status, run.error, run.finished_at = RunStatus.ERROR, {"nodeId": None, **error}, now
        run.lease_owner, run.lease_until = "", None
        run.epoch += 1  # what the journal still holds of the run must not pass for these events
        run.save()


def _cancel_unsettled(run: Execution, now: datetime, progress: dict[str, int]) -> Iterator[dict[str, object]]:
    """Settle what was running or waiting; yields the data of its events, and counts it in `progress`."""
    waiting = NodeExecution.objects.filter(execution=run, retry_at__isnull=False).exclude(Exists(_LATER))
    for node_id, attempt in list(waiting.values_list("node_id", "attempt")):
        # The attempt that the node waits for is cancelled below, before it starts.
        NodeExecution.objects.create(
            execution=run, node_id=node_id, attempt=attempt + 1, status=NodeStatus.RUNNING, started_at=now
        )
    for row in NodeExecution.objects.filter(execution=run, status=NodeStatus.RUNNING).order_by("id"):
        row.status, row.finished_at, row.progress = NodeStatus.CANCELED, now, None
        row.save(update_fields=["status", "finished_at", "progress"])
        progress["done"] += 1
        ended = NodeRow(
            node_id=row.node_id,
            attempt=row.attempt,
            status=NodeStatus.CANCELED,
            started_at=row.started_at or now,
            finished_at=now,
        )
        yield node_after(_name_of(run, row.node_id), ended, None, progress["done"], progress["total"])


def _name_of(run: Execution, node_id: str) -> str:
    return node_names(run.flow_version.graph).get(node_id, node_id)


def _append(run: Execution, type: EventType, data: dict[str, object], at: datetime) -> None:
    run.last_seq += 1
    text = orjson.dumps({"executionId": str(run.id), **data}).decode()
    ExecutionEvent.objects.create(execution=run, seq=run.last_seq, type=type.value, data=text, created_at=at)


_LATER = NodeExecution.objects.filter(
    execution=OuterRef("execution"), node_id=OuterRef("node_id"), attempt__gt=OuterRef("attempt")
)
"""Later attempts at the same node."""


def _progress(run: Execution) -> dict[str, int]:
    settled = NodeExecution.objects.filter(execution=run, status__in=NODE_SETTLED, retry_at=None)
    return {"done": settled.exclude(Exists(_LATER)).count(), "total": len(node_names(run.flow_version.graph))}
