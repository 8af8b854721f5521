"""The controls of a run's page: which there are, when each makes sense, and what each does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from django.contrib.auth.models import User
from django.core.exceptions import BadRequest

from executions import control
from executions.control import ADMITS
from executions.dispatch import retry_execution
from executions.models import Command, Execution
from executions.statuses import RUN_ENDED, RunStatus

COMMANDS: dict[str, Callable[[Execution, User | None], None]] = {
    "pause": control.pause,
    "resume": control.resume,
    "cancel": control.cancel,
}
RETRY = "retry"
NAMES = (*COMMANDS, RETRY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """A button: `when` are the statuses of a run in which it is shown, `icon` a symbol of `flows/_icons.html`."""

    name: str
    label: str
    icon: str
    when: tuple[str, ...]
    done: str
    origin: str = ""


def _statuses(kind: Command.Kind) -> tuple[str, ...]:
    return tuple(status.value for status in RunStatus if status in ADMITS[kind])


CONTROLS = (
    Control(name="pause", label="Pause", icon="pause", when=_statuses(Command.Kind.PAUSE), done="Told to pause."),
    Control(name="resume", label="Resume", icon="run", when=_statuses(Command.Kind.RESUME), done="Told to resume."),
    Control(name="cancel", label="Cancel", icon="stop", when=_statuses(Command.Kind.CANCEL), done="Told to cancel."),
)
RETRIES = (
    Control(
        name=RETRY,
        label="Retry from failed node",
        icon="retry",
        when=tuple(status.value for status in RunStatus if status in RUN_ENDED and status != RunStatus.SUCCESS),
        done="Retried.",
        origin="failed",
    ),
    Control(
        name=RETRY,
        label="Retry from start",
        icon="retry",
        when=tuple(status.value for status in RunStatus if status in RUN_ENDED),
        done="Retried.",
        origin="start",
    ),
)


def obey(name: str, execution: Execution, requester: User | None, options: Mapping[str, str]) -> Execution:
    """Do what a control says, and return the run to look at next: a retry's is a new one.

    Raises ExecutionFault where it cannot be done, BadRequest for options that do not exist.
    """
    if name != RETRY:
        COMMANDS[name](execution, requester)
        return execution
    origin, version = options.get("from", "start"), options.get("version", "same")
    if origin not in ("start", "failed") or version not in ("same", "newest"):
        raise BadRequest("A retry is from `start` or `failed`, on the `same` or the `newest` version.")
    return retry_execution(
        execution,
        requester=requester,
        origin=cast(Literal["start", "failed"], origin),
        version=cast(Literal["same", "newest"], version),
    )
