"""What a command that runs or follows a run says by its exit code."""

from __future__ import annotations

from enum import IntEnum

from executions.events import Event, EventType
from executions.statuses import RunStatus


class ExitCode(IntEnum):
    """124 is that of `timeout(1)`; above 128 are a shell's, for a process that a signal ended: 128 and its number."""

    SUCCESS = 0
    FAILED = 1
    USAGE = 2
    INVALID = 3
    TIMED_OUT = 124
    HUNG_UP = 129
    CANCELED = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


def exit_code_of(last: Event) -> ExitCode:
    """The code for a run that ended with this event."""
    if last.type == EventType.EXECUTION_ERROR:
        return ExitCode.FAILED
    return ExitCode.CANCELED if last.data["status"] == RunStatus.CANCELED else ExitCode.SUCCESS
