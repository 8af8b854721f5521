"""Who holds a run: claims, leases, and what a worker needs to go on with a run where it stands.

Taking a run raises its epoch, and each write checks it: of two workers that believe that they hold a run, only the last
one to take it can write.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from executions.conf import execution_settings
from executions.database_clock import clock, database_now
from executions.engine.messages import node_after, text
from executions.engine.plan import Plan
from executions.engine.ports import NodeRow
from executions.engine.run import Restored, RunCommand, RunHead
from executions.errors import FlowInvalid
from executions.events import EventType, duration_ms, iso
from executions.journal.transactions import write_transaction
from executions.limits import admitted
from executions.models import Command, Execution, ExecutionEvent, Mode, NodeExecution
from executions.plans import node_names, plan_of
from executions.resume_links import resume_urls
from executions.resumptions import resumptions
from executions.statuses import NODE_SETTLED, RUN_ENDED, RUN_NEEDS_WORKER, NodeStatus, RunStatus
from executions.takeovers import count_lost_workers, last_chances_apart, save_lost_workers, too_many_lost

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A run that this worker holds, as it stood when it was taken."""

    execution_id: UUID
    epoch: int
    head: RunHead
    plan: Plan
    restored: dict[str, Restored]
    commands: list[RunCommand]
    held_until: float
    """When the lease ends, of this process's monotonic clock."""
    limited: bool
    """Whether the run has one of the limited places of its flow."""


def claim(execution_ids: Collection[UUID], owner: str) -> list[Claim]:
    """Take runs, all in one transaction; those that have ended, are held by another worker, wait for something that has
    not come, or for which their flow has no place, are left out.

    A run whose graph can no longer be run (a node type is gone), or that has lost too many workers, is ended with an
    error.
    """
    held_until = lease_end()
    now = database_now()
    with write_transaction():
        runs = list(
            _claimable(now, owner)
            .filter(id__in=execution_ids)
            .select_for_update(of=("self",), skip_locked=connection.features.has_select_for_update_skip_locked)
            .select_related("flow_version", "flow")
            .defer("output", "error", "flow_version__graph")
        )
        commands = _commands(execution_ids)
        asked = [run for run in runs if _should_go_on(run, commands.get(run.id, []), now)]
        canceled = {run_id for run_id, asks in commands.items() if Command.Kind.CANCEL in (kind for kind, *_ in asks)}
        admissible = admitted(
            asked, canceled | {run.id for run in asked if _only_pauses(run, commands.get(run.id, []))}
        )
        lost = [run for run in admissible if run.lease_owner not in ("", owner)]
        count_lost_workers(lost)
        taken = last_chances_apart(admissible, owner, canceled)
        Execution.objects.filter(id__in=[run.id for run in taken]).update(
            epoch=F("epoch") + 1, lease_owner=owner, lease_until=now + _lease()
        )
        save_lost_workers([run for run in lost if run in taken])
    _drop_commands_of_ended(set(commands) - {run.id for run in runs})
    restored = _restored(taken)
    held = (_claim(run, commands.get(run.id, []), restored.get(run.id, {}), held_until) for run in taken)
    return [claim for claim in held if claim is not None]


def _should_go_on(run: Execution, commands: Sequence[tuple[Any, ...]], now: datetime) -> bool:
    """Whether the run has something to do: one that is paused or waits has not, until it is told to or its time has
    come."""
    if run.status == RunStatus.PAUSED:
        return any(kind != Command.Kind.SIGNAL for kind, *_ in commands)
    if run.status == RunStatus.WAITING:
        return bool(commands) or (run.wake_at is not None and run.wake_at <= now)
    return True


def _only_pauses(run: Execution, commands: Sequence[RunCommand]) -> bool:
    """Whether the run is paused before a node of it starts."""
    asks = [kind for kind, *_ in commands if kind != Command.Kind.SIGNAL]
    return run.status == RunStatus.QUEUED and asks[-1:] == [Command.Kind.PAUSE]


def _claim(
    run: Execution, commands: list[RunCommand], restored: dict[str, Restored], held_until: float
) -> Claim | None:
    run.epoch += 1  # as the update did
    if lost := too_many_lost(run, restored):
        fail(run.id, run.epoch, lost)
        return None
    try:
        plan = plan_of(run.flow_version)
        head = _head(run, plan)
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
    return Claim(
        execution_id=run.id,
        epoch=run.epoch,
        head=head,
        plan=plan,
        restored=restored,
        commands=commands,
        held_until=held_until,
        limited=run.flow.max_concurrent_runs is not None,
    )


def _claimable(now: datetime, owner: str) -> QuerySet[Execution]:
    # A worker asks only for what it does not hold: a lease of its own is left from a claim whose answer it never got.
    free = Q(lease_until=None) | Q(lease_until__lt=now) | Q(lease_owner=owner)
    return Execution.objects.filter(free).exclude(status__in=RUN_ENDED)


def _commands(execution_ids: Collection[UUID]) -> dict[UUID, list[RunCommand]]:
    rows = Command.objects.filter(execution_id__in=execution_ids, taken_at=None).order_by("id")
    commands: dict[UUID, list[RunCommand]] = {}
    for execution_id, kind, command_id, node_id, data in rows.values_list(
        "execution_id", "kind", "id", "node_id", "data"
    ):
        commands.setdefault(execution_id, []).append((kind, command_id, node_id, data))
    return commands


def _drop_commands_of_ended(execution_ids: Collection[UUID]) -> None:
    """A command that came after the run's end asks for nothing any more."""
    if execution_ids:
        Command.objects.filter(execution_id__in=execution_ids, taken_at=None, execution__status__in=RUN_ENDED).update(
            taken_at=datetime.now(UTC)
        )


def _lease() -> timedelta:
    return timedelta(seconds=execution_settings().lease)


def _head(run: Execution, plan: Plan) -> RunHead:
    flow = run.flow
    return RunHead(
        execution_id=str(run.id),
        flow={"id": flow.pk, "name": flow.name, "version": run.flow_version.number},
        mode=run.mode,
        input=run.input,
        seq=run.last_seq,
        status=RunStatus(run.status),
        started_at=run.started_at,
        resume_urls=resume_urls(run.id, plan),
    )


def _restored(runs: Collection[Execution]) -> dict[UUID, dict[str, Restored]]:
    """What the nodes of runs that are not new have done."""
    known = [run.id for run in runs if run.last_seq > 0 or run.mode == Mode.RETRY.value]
    restored: dict[UUID, dict[str, Restored]] = {}
    stored = NodeExecution.objects.filter(execution_id__in=known).defer("input", "progress").order_by("attempt")
    rows = list(stored) if known else []
    resumed = resumptions(rows)
    for row in rows:
        restored.setdefault(row.execution_id, {})[row.node_id] = Restored(
            status=NodeStatus(row.status),
            attempt=row.attempt,
            outputs={port: orjson.dumps(items) for port, items in (row.output or {}).items()},
            started_at=row.started_at,
            retry_at=row.retry_at,
            wait_until=row.wait_until,
            resumption=resumed.get((row.execution_id, row.node_id, row.attempt)),
            error=row.error,
        )
    return restored


def lease_end() -> float:
    """When a lease that is taken or renewed from now on has ended, of this process's monotonic clock. Ask before the
    database is asked: its lease ends later."""
    return time.monotonic() + execution_settings().lease


def renew(owner: str, execution_ids: Collection[UUID]) -> set[UUID]:
    """Keep the runs for another lease; returns those that were still held."""
    held = Execution.objects.filter(id__in=execution_ids, lease_owner=owner)
    with write_transaction():
        renewed = lock_in_order(held)
        held.update(lease_until=database_now() + _lease())
    return {execution_id for execution_id, _ in renewed}


def epochs(execution_ids: Collection[UUID]) -> dict[UUID, int]:
    """The epochs of the runs that are there."""
    return dict(Execution.objects.filter(id__in=execution_ids).values_list("id", "epoch"))


def lock_in_order(runs: QuerySet[Execution]) -> list[tuple[UUID, str]]:
    """Lock the rows as the journal does, by their ids: two that lock many in different orders would wait for each
    other. Returns id and status of each."""
    return list(runs.select_for_update(no_key=True).order_by("id").values_list("id", "status"))


def park(execution_id: UUID, epoch: int, newest_command: int) -> None:
    """Let go of a run that is paused, all commands up to `newest_command` being dealt with."""
    with write_transaction():
        Execution.objects.filter(id=execution_id, epoch=epoch).update(lease_owner="", lease_until=None)
        seen = Command.objects.filter(execution_id=execution_id, id__lte=newest_command, taken_at=None)
        seen.update(taken_at=datetime.now(UTC))


def let_go_of_idle() -> None:
    """Runs that are paused or wait, and whose worker could not let go of them (it died, or the database was away), take
    none of their flow's places any more. Their epoch rises: a worker that only was frozen must not go on with them."""
    left = Execution.objects.exclude(lease_owner="").filter(
        status__in=(RunStatus.PAUSED, RunStatus.WAITING), lease_until__lt=database_now()
    )
    with write_transaction():
        lock_in_order(left)
        left.update(epoch=F("epoch") + 1, lease_owner="", lease_until=None)


def release(
    owner: str, execution_ids: Collection[UUID] | None = None, give_on: Callable[[list[UUID]], None] = lambda ids: None
) -> None:
    """Give what a worker holds back, for whoever takes it next: these runs, or all. `give_on` is called with them in
    the same transaction."""
    held = Execution.objects.filter(lease_owner=owner)
    if execution_ids is not None:
        held = held.filter(id__in=execution_ids)
    with write_transaction():
        released = lock_in_order(held)
        held.update(lease_owner="", lease_until=None)
        give_on([execution_id for execution_id, status in released if status in RUN_NEEDS_WORKER])


def owners(prefix: str) -> list[str]:
    """Who holds runs, of those whose name starts with `prefix`."""
    held = Execution.objects.filter(lease_owner__startswith=prefix).order_by("lease_owner")
    return list(held.values_list("lease_owner", flat=True).distinct())


def end_leases_of(owner: str) -> None:
    """Let the runs of a worker that is known to be dead be taken at once."""
    held = Execution.objects.filter(lease_owner=owner)
    with write_transaction():
        lock_in_order(held)
        held.update(lease_until=database_now() - timedelta(seconds=1))


def fail(execution_id: UUID, epoch: int, error: dict[str, str]) -> None:
    """End a run with an error that is not one of its nodes', if it is still held at `epoch`.

    Its nodes that were running or waited for their next attempt are cancelled, as in every other end of a run.
    """
    now = clock.now()
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
        run.lease_owner, run.lease_until, run.wake_at = "", None, None
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
    under_way = (NodeStatus.RUNNING, NodeStatus.WAITING, NodeStatus.QUEUED)
    for row in NodeExecution.objects.filter(execution=run, status__in=under_way).order_by("id"):
        row.status, row.finished_at, row.wait_until, row.progress = NodeStatus.CANCELED, now, None, None
        row.save(update_fields=["status", "finished_at", "wait_until", "progress"])
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
