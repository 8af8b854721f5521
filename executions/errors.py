"""The errors of the running side.

ExecutionFault
    InputInvalid          the run's input is not what a run can start with
    FlowInactive          the flow starts no new run
    FlowBusy              the flow has as many runs as it may have, and refuses more
    FlowInvalid           the flow's graph cannot be run; `problems` says why
    IdempotencyConflict   the key was used for another request
    ControlRefused        the run's status does not admit the command
    RetryRefused          the run cannot be retried in this way
"""

from __future__ import annotations

from collections.abc import Sequence

from flows.validation import Problem


class ExecutionFault(Exception):
    """Something asked of a run cannot be done; nothing was changed."""

    code = "execution_fault"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputInvalid(ExecutionFault):
    code = "input_invalid"

    def __init__(self, message: str, *, field: str = "input_data", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


class FlowInactive(ExecutionFault):
    code = "flow_inactive"


class FlowBusy(ExecutionFault):
    code = "flow_busy"


class FlowInvalid(ExecutionFault):
    code = "flow_invalid"

    def __init__(self, message: str, problems: Sequence[Problem]) -> None:
        super().__init__(message, hint="Mend the flow on its edit page and save it.")
        self.problems = list(problems)


class IdempotencyConflict(ExecutionFault):
    code = "idempotency_conflict"


class ControlRefused(ExecutionFault):
    code = "control_refused"


class RetryRefused(ExecutionFault):
    code = "retry_refused"
