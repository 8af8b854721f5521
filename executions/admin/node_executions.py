"""The admin of node executions: each attempt at a node of each run, with what went in and what came out."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from executions.access import visible_node_executions
from executions.admin.columns import duration_column, id_column, status_chip, time_column
from executions.admin.filters import NodeStatusFilter, RecordedFilter
from executions.admin.history import HistoryAdmin
from executions.models import Execution, NodeExecution
from executions.run_page import format_items
from flows.pretty_json import pretty


@admin.register(NodeExecution)
class NodeExecutionAdmin(HistoryAdmin):
    list_display = ("node_id", "status_sign", "attempt", "run", "flow", "started", "duration", "count")
    list_filter = (NodeStatusFilter, RecordedFilter)
    list_only = (
        *("node_id", "attempt", "status", "started_at", "finished_at", "item_counts"),
        "execution__flow__name",
    )
    run_key = "execution_id"

    def of_flows(self, flow_ids: list[int]) -> Q:
        runs = Execution.objects.filter(pk=OuterRef("execution_id"), flow_id__in=flow_ids)
        return Q(Exists(runs)) if flow_ids else Q(pk__in=[])

    fields = (
        *("run_link", "flow", "node_id", "attempt", "status_sign", "started", "finished", "duration", "items"),
        *("failure", "input_json", "output_json"),
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[NodeExecution]:
        run = ("execution__input", "execution__output", "execution__error")
        return visible_node_executions(request.user).select_related("execution__flow").defer(*run)

    @admin.display(description="Status")
    def status_sign(self, row: NodeExecution) -> SafeString:
        return status_chip(row.status)

    @admin.display(description="Run")
    def run(self, row: NodeExecution) -> SafeString:
        return format_html('<a href="{}">{}</a>', row.execution.get_absolute_url(), id_column(row.execution_id))

    @admin.display(description="Run")
    def run_link(self, row: NodeExecution) -> SafeString:
        return format_html('<a href="{}">{}</a>', row.execution.get_absolute_url(), row.execution_id)

    @admin.display(description="Flow")
    def flow(self, row: NodeExecution) -> str:
        return row.execution.flow.name

    @admin.display(description="Started (UTC)")
    def started(self, row: NodeExecution) -> SafeString | str:
        return time_column(row.started_at)

    @admin.display(description="Finished (UTC)")
    def finished(self, row: NodeExecution) -> SafeString | str:
        return time_column(row.finished_at)

    @admin.display(description="Duration")
    def duration(self, row: NodeExecution) -> str:
        return duration_column(row.started_at, row.finished_at)

    @admin.display(description="Items")
    def count(self, row: NodeExecution) -> int | None:
        return sum(row.item_counts.values()) if row.item_counts else None

    @admin.display(description="Items out")
    def items(self, row: NodeExecution) -> str:
        return format_items(row.item_counts)

    @admin.display(description="Error", empty_value="none")
    def failure(self, row: NodeExecution) -> str | None:
        return render_to_string("executions/_error.html", {"error": row.error}) if row.error else None

    @admin.display(description="Input", empty_value="none")
    def input_json(self, row: NodeExecution) -> str | None:
        return _json(row.input, "Input")

    @admin.display(description="Output", empty_value="none")
    def output_json(self, row: NodeExecution) -> str | None:
        return _json(row.output, "Output")


def _json(value: Any, label: str) -> str | None:
    if value is None:
        return None
    return render_to_string("executions/_json.html", {"json": pretty(value), "label": label})
