"""Starting a run by the API: who asked for it, for which flow, and how."""

from __future__ import annotations

from django.contrib.auth.models import User
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.request import Request

from executions.api.serializers import StartSerializer
from executions.dispatch import start_execution
from executions.models import Execution, Mode
from flows.access import may_run, visible_flows

KEY_HEADER = "Idempotency-Key"


def start_run(request: Request) -> Execution:
    """Start the run that is posted, or return the one that the same request has made before. Raises ExecutionFault."""
    posted = StartSerializer(data=request.data)
    posted.is_valid(raise_exception=True)
    flow_id = posted.validated_data["flow_id"]
    flow = visible_flows(request.user).filter(pk=flow_id).first()
    if flow is None:
        raise NotFound(f"There is no flow {flow_id}.")
    if not may_run(request.user, flow):
        raise PermissionDenied("You may see this flow, but not run it.")
    return start_execution(
        flow,
        input_data=posted.validated_data["input_data"],
        requester=requester(request),
        mode=_mode(request),
        idempotency_key=request.headers.get(KEY_HEADER),
    )


def was_started(request: Request) -> bool:
    """Whether a run was made with the request's idempotency key."""
    key = request.headers.get(KEY_HEADER)
    return key is not None and Execution.objects.filter(requester=requester(request), idempotency_key=key).exists()


def requester(request: Request) -> User:
    assert isinstance(request.user, User)  # the permission classes let nobody else in
    return request.user


def _mode(request: Request) -> Mode:
    by_page = isinstance(request.successful_authenticator, SessionAuthentication)
    return Mode.MANUAL if by_page else Mode.API
