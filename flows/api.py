"""The API of flows: what they are, their versions, whether a graph is valid, and the node types there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ModelViewSet

from flows.access import may_delete, may_edit, visible_flows
from flows.filters import FlowFilter
from flows.forms import describe_node_type
from flows.models import Flow, FlowVersion
from flows.node_types import registry
from flows.pagination import CursorPage
from flows.serializers import (
    NEW_GRAPH,
    FlowSerializer,
    FlowSummarySerializer,
    GraphToValidateSerializer,
    NodeTypeSerializer,
    ValidationSerializer,
    VersionSerializer,
    VersionSummarySerializer,
)
from flows.validation import Problem, has_errors
from flows.versions import InvalidGraph, StaleBase, check_graph, create_flow, newest_version, save_version

INVALID = OpenApiResponse(
    description="`{field: [message]}`, or for a graph with errors `{detail, code: flow_invalid, problems}`."
)
STALE = OpenApiResponse(description="Another version was saved since `base`: `{detail, code: stale_base, current}`.")


@extend_schema_view(
    list=extend_schema(responses=FlowSummarySerializer(many=True)),
    create=extend_schema(responses={201: FlowSerializer, 400: INVALID}),
    update=extend_schema(responses={200: FlowSerializer, 400: INVALID, 409: STALE}),
    partial_update=extend_schema(responses={200: FlowSerializer, 400: INVALID, 409: STALE}),
)
class FlowViewSet(ModelViewSet[Flow]):
    """The flows that the user may see: the own ones, or all with the permission `flows.view_flow`."""

    queryset = Flow.objects.none()
    serializer_class = FlowSerializer
    pagination_class = CursorPage
    filterset_class = FlowFilter
    lookup_value_converter = "int"

    def get_queryset(self) -> QuerySet[Flow]:
        return visible_flows(self.request.user).select_related("owner")

    def get_serializer_class(self) -> type[FlowSerializer] | type[FlowSummarySerializer]:
        return FlowSummarySerializer if self.action == "list" else FlowSerializer

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, InvalidGraph):
            problems = problems_json(exc.problems)
            data: dict[str, Any] = {"detail": str(exc), "code": "flow_invalid", "problems": problems}
            return Response(data, status=status.HTTP_400_BAD_REQUEST)
        if isinstance(exc, StaleBase):
            data = {"detail": str(exc), "code": "stale_base", "current": exc.current}
            return Response(data, status=status.HTTP_409_CONFLICT)
        return super().handle_exception(exc)

    def perform_create(self, serializer: Any) -> None:
        values = serializer.validated_data
        try:
            with transaction.atomic():
                serializer.instance = create_flow(
                    owner=self.request.user,  # type: ignore[arg-type]  # the permission lets nobody else in
                    name=values["name"],
                    slug=values.get("slug", ""),
                    active=values.get("active", True),
                    graph_json=values.get("graph", NEW_GRAPH),
                    note=values.get("note", ""),
                )
                limits = ("max_concurrent_runs", "when_full", "priority")
                self._save_fields(serializer.instance, {name: values[name] for name in limits if name in values})
        except IntegrityError as error:
            raise _slug_taken() from error

    def perform_update(self, serializer: Any) -> None:
        flow, values = serializer.instance, dict(serializer.validated_data)
        if not may_edit(self.request.user, flow):
            raise PermissionDenied("You may see this flow, but not change it.")
        version = {name: values.pop(name) for name in ("graph", "base", "note") if name in values}
        try:
            with transaction.atomic():
                if "graph" in version:
                    self._save_version(flow, version)
                self._save_fields(flow, values)
        except IntegrityError as error:
            raise _slug_taken() from error

    def perform_destroy(self, instance: Flow) -> None:
        if not may_delete(self.request.user, instance):
            raise PermissionDenied("You may see this flow, but not delete it.")
        instance.delete()

    @extend_schema(responses=VersionSummarySerializer(many=True), filters=False)
    @action(detail=True, filterset_class=None)
    def versions(self, request: Request, pk: int) -> Response:
        """The versions of the flow, newest first, without their graphs."""
        queryset = self.get_object().versions.select_related("author")
        assert self.paginator is not None
        page = self.paginator.paginate_queryset(queryset, request, view=self)
        return self.get_paginated_response(VersionSummarySerializer(page, many=True).data)

    @extend_schema(responses=VersionSerializer)
    @action(detail=True, url_path="versions/<int:number>", filterset_class=None, pagination_class=None)
    def version(self, request: Request, pk: int, number: int) -> Response:
        """One version of the flow, with its graph."""
        versions: QuerySet[FlowVersion] = self.get_object().versions.select_related("author")
        return Response(VersionSerializer(get_object_or_404(versions, number=number)).data)

    @extend_schema(request=GraphToValidateSerializer, responses=ValidationSerializer)
    @action(detail=True, methods=["post"], filterset_class=None, pagination_class=None)
    def validate(self, request: Request, pk: int) -> Response:
        """All problems of a graph, without saving it."""
        flow = self.get_object()
        posted = GraphToValidateSerializer(data=request.data)
        posted.is_valid(raise_exception=True)
        problems = check_graph(self._graph_to_validate(flow, posted.validated_data))
        return Response({"valid": not has_errors(problems), "problems": problems_json(problems)})

    @staticmethod
    def _graph_to_validate(flow: Flow, posted: Mapping[str, Any]) -> Any:
        if "graph" in posted:
            return posted["graph"]
        try:
            return newest_version(flow).graph
        except FlowVersion.DoesNotExist:
            message = "This flow has no version yet; send the graph to validate."
            raise ValidationError({"graph": [message]}, code="required") from None

    def _save_version(self, flow: Flow, version: Mapping[str, Any]) -> None:
        author = self.request.user
        assert author.is_authenticated
        save_version(flow, version["graph"], base=version["base"], author=author, note=version.get("note", ""))

    @staticmethod
    def _save_fields(flow: Flow, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            setattr(flow, name, value)
        if values:
            # Only these: `head` may have moved since the flow was read.
            flow.save(update_fields=[*values, "updated_at"])


class NodeTypesView(APIView):
    """What the palette shows: every node type there is, with the fields of its parameters."""

    @extend_schema(responses=NodeTypeSerializer(many=True))
    def get(self, request: Request) -> Response:
        return Response([describe_node_type(node_type) for node_type in registry.values()])


def problems_json(problems: list[Problem]) -> list[dict[str, Any]]:
    return [asdict(problem) for problem in problems]


def _slug_taken() -> ValidationError:
    return ValidationError({"slug": ["Another flow has this slug."]}, code="unique")
