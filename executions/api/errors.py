"""How the API answers the faults of the running side: bad input 400, a conflict 409, always as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response
from rest_framework.views import APIView

from executions.errors import (
    ControlRefused,
    ExecutionFault,
    FlowBusy,
    FlowInvalid,
    IdempotencyConflict,
    InputInvalid,
    RetryRefused,
)

CONFLICTS = (ControlRefused, FlowBusy, IdempotencyConflict, RetryRefused)
"""What would be right at another moment, or with another key."""

BAD_REQUEST = OpenApiResponse(
    description="`{field: [message]}`; or `{detail, code, hint}` for a flow that cannot run, with `problems` where its "
    "graph is invalid."
)
CONFLICT = OpenApiResponse(description="`{detail, code, hint}`: the run's status, or an earlier request, forbids it.")
NOT_FOUND = OpenApiResponse(description="`{detail, code}`: it does not exist, or the user may not see it.")
FORBIDDEN = OpenApiResponse(description="`{detail, code}`: the user may see it, and no more.")


class AnswersFaults(APIView):
    """A view whose methods may raise ExecutionFault."""

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, InputInvalid):
            exc = ValidationError({exc.field: [f"{exc.message} {exc.hint}".strip()]}, code=exc.code)
        if isinstance(exc, ExecutionFault):
            code = status.HTTP_409_CONFLICT if isinstance(exc, CONFLICTS) else status.HTTP_400_BAD_REQUEST
            response = Response(_fault_json(exc), status=code)
            response.exception = True
            return response
        return super().handle_exception(exc)


def _fault_json(fault: ExecutionFault) -> dict[str, Any]:
    problems = [asdict(problem) for problem in fault.problems] if isinstance(fault, FlowInvalid) else None
    said: dict[str, Any] = {"detail": fault.message, "code": fault.code, "hint": fault.hint}
    return said if problems is None else {**said, "problems": problems}
