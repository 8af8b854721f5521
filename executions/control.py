"""Commands to a run: each is a row, and the worker that holds the run obeys it."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction

from executions import runtime
from executions.errors import ControlRefused
from executions.journal.transactions import write_transaction
from executions.models import Command, Execution
from executions.statuses import RUN_ENDED, RunStatus

ADMITS = {
    Command.Kind.PAUSE: {RunStatus.QUEUED, RunStatus.RUNNING},
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


def _command(execution: Execution, kind: Command.Kind, requester: User | None) -> None:
    with write_transaction():
        status = Execution.objects.select_for_update().values_list("status", flat=True).get(pk=execution.pk)
        if status not in ADMITS[kind]:
            admitted = ", ".join(sorted(ADMITS[kind]))
            raise ControlRefused(
                f"The run is {status}; it cannot be told to {kind.value}.", hint=f"Possible while it is {admitted}."
            )
        Command.objects.create(execution=execution, kind=kind.value, requester=requester)
        transaction.on_commit(lambda: runtime.executor().nudge())
