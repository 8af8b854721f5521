"""Commands to a run: each is a row, and the worker that holds the run obeys it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from executions import runtime
from executions.database_clock import database_now
from executions.errors import ControlRefused
from executions.journal.transactions import write_transaction
from executions.models import Command, Execution, NodeExecution
from executions.statuses import RUN_ENDED, NodeStatus, RunStatus

ADMITS = {
    Command.Kind.PAUSE: {RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING},
    Command.Kind.RESUME: {RunStatus.PAUSING, RunStatus.PAUSED},
    Command.Kind.CANCEL: set(RunStatus) - RUN_ENDED,
}
"""The statuses of a run in which a command makes sense."""


def pause(execution: Execution, requester: User | None) -> None:
    """Let running nodes end, and start no other. Raises ControlRefused."""
    _command(execution, Command.Kind.PAUSE, requester)


def resume(execution: Execution, requester: User | None) -> None:
    """Go on with a run that was paused. Raises ControlRefused."""
    _command(execution, Command.Kind.RESUME, requester)


def cancel(execution: Execution, requester: User | None) -> None:
    """End the run at once. Raises ControlRefused."""
    _command(execution, Command.Kind.CANCEL, requester)


def signal(execution: Execution, node_id: str, data: Mapping[str, Any], requester: User | None) -> Command:
    """End the wait of a node with `data`. Raises ControlRefused when it does not wait, or has been told to go on."""
    with write_transaction():
        # The lock lets signals come one by one: of two at once, the second finds the first.
        _status_of(execution, locked=True)
        check_waits(execution, node_id)
        return _send(execution, Command.Kind.SIGNAL, requester, node_id=node_id, data=dict(data))


def check_waits(execution: Execution, node_id: str) -> None:
    """Raises ControlRefused when a node does not wait, or has been told to go on."""
    status = _status_of(execution)
    if status in RUN_ENDED:
        raise ControlRefused(f"The run has ended ({status}): nothing in it waits any more.")
    newest = NodeExecution.objects.filter(execution=execution, node_id=node_id).order_by("-attempt").first()
    if newest is None:
        raise ControlRefused("The node does not wait yet.", hint="Try again when the run has come to it.")
    if newest.status != NodeStatus.WAITING:
        raise ControlRefused(f"The node does not wait any more: it is {newest.status}.")
    if newest.wait_until is not None and newest.wait_until <= database_now():
        raise ControlRefused("The time in which the node waits is over.", hint="The run goes on by itself.")
    if Command.objects.filter(execution=execution, kind=Command.Kind.SIGNAL, node_id=node_id, taken_at=None).exists():
        raise ControlRefused("The node has been resumed already.")


def _command(execution: Execution, kind: Command.Kind, requester: User | None) -> None:
    with write_transaction():
        status = _status_of(execution, locked=True)
        if status not in ADMITS[kind]:
            admitted = ", ".join(sorted(ADMITS[kind]))
            raise ControlRefused(
                f"The run is {status}; it cannot be told to {kind.value}.", hint=f"Possible while it is {admitted}."
            )
        _send(execution, kind, requester)


def _status_of(execution: Execution, *, locked: bool = False) -> str:
    runs = Execution.objects.select_for_update() if locked else Execution.objects.all()
    status = runs.filter(pk=execution.pk).values_list("status", flat=True).first()
    if status is None:
        raise ControlRefused("The run was deleted meanwhile.")
    return status


def _send(execution: Execution, kind: Command.Kind, requester: User | None, **signal: Any) -> Command:
    command = Command.objects.create(execution=execution, kind=kind.value, requester=requester, **signal)
    transaction.on_commit(lambda: runtime.executor().nudge())
    return command
