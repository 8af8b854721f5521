"""Runs: their lists, one of them, its nodes, starting, commanding and retrying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from executions import control
from executions.access import may_control, visible_executions
from executions.api.errors import BAD_REQUEST, CONFLICT, FORBIDDEN, NOT_FOUND, AnswersFaults
from executions.api.filters import ExecutionFilter, FlowExecutionFilter
from executions.api.nodes import node_report, node_reports
from executions.api.pagination import ExecutionPage
from executions.api.serializers import (
    ExecutionDetailSerializer,
    ExecutionSerializer,
    ExecutionStatusSerializer,
    ExecutionSummarySerializer,
    NodeDetailSerializer,
    NodeSerializer,
    ResumeNodeSerializer,
    RetrySerializer,
    StartSerializer,
)
from executions.api.start import KEY_HEADER, requester, start_run
from executions.dispatch import check_input, retry_execution
from executions.models import Execution
from executions.plans import node_names
from executions.snapshot import snapshot
from executions.statuses import RUN_ENDED
from flows.access import visible_flows

IDEMPOTENCY_KEY = OpenApiParameter(
    KEY_HEADER,
    str,
    OpenApiParameter.HEADER,
    description="The same request with the same key is answered with the run that the first of them made.",
)

Command = Callable[[Execution, "User | None"], None]


def get_execution(request: Request, execution_id: UUID) -> Execution:
    """The run, if the user may see it. Raises NotFound."""
    runs = visible_executions(request.user).select_related("flow", "flow_version", "requester")
    execution = runs.defer("flow_version__graph").filter(pk=execution_id).first()
    if execution is None:
        raise NotFound(f"There is no execution {execution_id}.")
    return execution


def get_controlled(request: Request, execution_id: UUID) -> Execution:
    """The run, if the user may command it. Raises NotFound, PermissionDenied."""
    execution = get_execution(request, execution_id)
    if not may_control(request.user, execution):
        raise PermissionDenied("You may see this run, but not control it.")
    return execution


class ExecutionList(ListAPIView[Execution]):
    """Lists of runs, newest first."""

    queryset = Execution.objects.none()
    serializer_class = ExecutionSummarySerializer
    pagination_class = ExecutionPage

    def get_queryset(self) -> QuerySet[Execution]:
        runs = visible_executions(self.request.user).select_related("flow", "flow_version", "requester")
        return runs.defer("input", "output", "flow_version__graph")


class ExecutionsView(AnswersFaults, ExecutionList):
    filterset_class = ExecutionFilter

    @extend_schema(
        request=StartSerializer,
        parameters=[IDEMPOTENCY_KEY],
        responses={
            202: ExecutionSerializer,
            400: BAD_REQUEST,
            403: FORBIDDEN,
            404: NOT_FOUND,
            409: CONFLICT,
        },
        filters=False,
    )
    def post(self, request: Request) -> Response:
        """Start a run of the flow's newest version. It goes on whatever becomes of this request."""
        execution = start_run(request)
        location = reverse("api-execution", args=[execution.pk])
        return Response(
            ExecutionSerializer(execution).data, status=status.HTTP_202_ACCEPTED, headers={"Location": location}
        )


class FlowExecutionsView(ExecutionList):
    filterset_class = FlowExecutionFilter

    @extend_schema(responses={200: ExecutionSummarySerializer(many=True), 404: NOT_FOUND})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The runs of one flow, newest first."""
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[Execution]:
        flow_id = self.kwargs["flow_id"]
        if not visible_flows(self.request.user).filter(pk=flow_id).exists():
            raise NotFound(f"There is no flow {flow_id}.")
        return super().get_queryset().filter(flow_id=flow_id)


class ExecutionView(AnswersFaults):
    @extend_schema(responses={200: ExecutionDetailSerializer, 404: NOT_FOUND})
    def get(self, request: Request, execution_id: UUID) -> Response:
        """One run with its state, both as of the event `last_seq`."""
        execution = get_execution(request, execution_id)
        return Response(_as_of_snapshot(execution))


def _as_of_snapshot(execution: Execution) -> dict[str, Any]:
    """The run, with all that changes in it taken from its state: the run goes on between two queries."""
    state = snapshot(execution.pk)
    if state["status"] in RUN_ENDED and execution.status not in RUN_ENDED:
        execution.refresh_from_db(fields=["output"])
    shown = ExecutionSerializer(execution).data
    return {
        **shown,
        "status": state["status"],
        "error": state["error"],
        "started_at": state["startedAt"],
        "finished_at": state["finishedAt"],
        "duration_ms": state["durationMs"],
        "last_seq": state["seq"],
        "state": state,
    }


class NodesView(AnswersFaults):
    @extend_schema(responses={200: NodeSerializer(many=True), 404: NOT_FOUND})
    def get(self, request: Request, execution_id: UUID) -> Response:
        """The nodes of a run, without their data."""
        execution = get_execution(request, execution_id)
        return Response(NodeSerializer(node_reports(execution), many=True).data)


class NodeView(AnswersFaults):
    @extend_schema(responses={200: NodeDetailSerializer, 404: NOT_FOUND})
    def get(self, request: Request, execution_id: UUID, node_id: str) -> Response:
        """One node of a run with its full input and output, and all attempts at it."""
        execution = get_execution(request, execution_id)
        report = node_report(execution, node_id, with_link=may_control(request.user, execution))
        if report is None:
            raise NotFound(f"Execution {execution_id} has no node {node_id!r}.")
        return Response(NodeDetailSerializer(report).data)


class CommandView(AnswersFaults):
    """Writes a command to a run."""

    def command(self, request: Request, execution_id: UUID, command: Command) -> Response:
        execution = get_controlled(request, execution_id)
        command(execution, requester(request))
        execution.refresh_from_db(fields=["status"])
        return Response(ExecutionStatusSerializer(execution).data, status=status.HTTP_202_ACCEPTED)


class NodeResumeView(AnswersFaults):
    @extend_schema(
        request=ResumeNodeSerializer,
        responses={202: ExecutionStatusSerializer, 400: BAD_REQUEST, 403: FORBIDDEN, 404: NOT_FOUND, 409: CONFLICT},
    )
    def post(self, request: Request, execution_id: UUID, node_id: str) -> Response:
        """End the wait of a node: what is posted as `data` is handed to it."""
        execution = get_controlled(request, execution_id)
        if node_id not in node_names(execution.flow_version.graph):
            raise NotFound(f"Execution {execution_id} has no node {node_id!r}.")
        posted = ResumeNodeSerializer(data=request.data)
        posted.is_valid(raise_exception=True)
        data = check_input(posted.validated_data["data"] or {}, what="data", field="data")
        control.signal(execution, node_id, data, requester(request))
        execution.refresh_from_db(fields=["status"])
        return Response(ExecutionStatusSerializer(execution).data, status=status.HTTP_202_ACCEPTED)


COMMANDED = {202: ExecutionStatusSerializer, 403: FORBIDDEN, 404: NOT_FOUND, 409: CONFLICT}


class PauseView(CommandView):
    @extend_schema(request=None, responses=COMMANDED)
    def post(self, request: Request, execution_id: UUID) -> Response:
        """Let running nodes end, and start no other."""
        return self.command(request, execution_id, control.pause)


class ResumeView(CommandView):
    @extend_schema(request=None, responses=COMMANDED)
    def post(self, request: Request, execution_id: UUID) -> Response:
        """Go on with a run that was paused."""
        return self.command(request, execution_id, control.resume)


class CancelView(CommandView):
    @extend_schema(request=None, responses=COMMANDED)
    def post(self, request: Request, execution_id: UUID) -> Response:
        """End the run at once: running nodes are cancelled."""
        return self.command(request, execution_id, control.cancel)


class RetryView(AnswersFaults):
    @extend_schema(
        request=RetrySerializer,
        responses={202: ExecutionSerializer, 400: BAD_REQUEST, 403: FORBIDDEN, 404: NOT_FOUND, 409: CONFLICT},
    )
    def post(self, request: Request, execution_id: UUID) -> Response:
        """Start a new run with the input of one that has ended."""
        execution = get_controlled(request, execution_id)
        posted = RetrySerializer(data=request.data)
        posted.is_valid(raise_exception=True)
        retry = retry_execution(execution, requester=requester(request), **posted.validated_data)
        location = reverse("api-execution", args=[retry.pk])
        return Response(
            ExecutionSerializer(retry).data, status=status.HTTP_202_ACCEPTED, headers={"Location": location}
        )
