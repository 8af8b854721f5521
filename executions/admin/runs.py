"""The admin of runs: the list, and a run's page with its live graph, its timeline and its controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST, require_safe

from executions.access import may_control, may_control_any, visible_executions
from executions.admin.columns import duration_column, id_column, short_id, status_chip, time_column
from executions.admin.filters import CreatedFilter, FlowFilter, ModeFilter, RunStatusFilter
from executions.admin.history import HistoryAdmin, person
from executions.errors import ExecutionFault
from executions.models import Execution
from executions.run_controls import NAMES, obey
from executions.run_page import node_detail, run_page, run_parts

REFUSALS_TOLD = 3


@admin.register(Execution)
class ExecutionAdmin(HistoryAdmin):
    list_display = ("run", "status_sign", "flow_and_version", "started", "duration", "mode", "requester")
    list_filter = (RunStatusFilter, CreatedFilter, FlowFilter, ModeFilter)
    list_only = (
        *("id", "status", "mode", "started_at", "finished_at"),
        *("flow__name", "flow__owner", "flow_version__number", "requester__username"),
    )
    actions = ("pause_selected", "resume_selected", "cancel_selected")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        return visible_executions(request.user).select_related("flow", "flow_version", "requester")

    def of_flows(self, flow_ids: list[int]) -> Q:
        return Q(flow_id__in=flow_ids)

    @admin.display(description="Run")
    def run(self, execution: Execution) -> SafeString:
        return id_column(execution.pk)

    @admin.display(description="Status")
    def status_sign(self, execution: Execution) -> SafeString:
        return status_chip(execution.status)

    @admin.display(description="Flow")
    def flow_and_version(self, execution: Execution) -> SafeString:
        number = execution.flow_version.number
        return format_html('<bdi>{}</bdi> <span class="wo-quiet">v{}</span>', execution.flow.name, number)

    @admin.display(description="Started (UTC)")
    def started(self, execution: Execution) -> SafeString | str:
        return time_column(execution.started_at)

    @admin.display(description="Duration")
    def duration(self, execution: Execution) -> str:
        return duration_column(execution.started_at, execution.finished_at)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_actions(request) if may_control_any(request.user) else {}

    @admin.action(description="Pause selected runs")
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Execution]) -> None:
        self._command_selected(request, queryset, "pause")

    @admin.action(description="Resume selected runs")
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Execution]) -> None:
        self._command_selected(request, queryset, "resume")

    @admin.action(description="Cancel selected runs")
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Execution]) -> None:
        self._command_selected(request, queryset, "cancel")

    def get_urls(self) -> list[URLPattern]:
        return [
            self._address("<uuid:execution_id>/parts", require_safe(self.parts_view), "parts"),
            self._address("<uuid:execution_id>/node", require_safe(self.node_view), "node"),
            self._address("<uuid:execution_id>/control/<slug:name>", require_POST(self.control_view), "control"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        execution = self.get_object(request, object_id)
        page = run_page(execution, person(request))
        context = {**(extra_context or {}), **page, "title": f"Run of {execution.flow.name}", "subtitle": None}
        return super().change_view(request, object_id, form_url, context)

    def parts_view(self, request: HttpRequest, execution_id: UUID) -> HttpResponse:
        """What the page asks for again while the run goes on: a piece of HTML."""
        parts = run_parts(self._visible(request, execution_id), person(request))
        return render(request, "executions/_run_parts.html", parts)

    def node_view(self, request: HttpRequest, execution_id: UUID) -> HttpResponse:
        """What one node did: a page of its own, or with `part` a piece of HTML for the window on the run's page."""
        execution = self._visible(request, execution_id)
        detail = node_detail(execution, request.GET.get("node", ""))
        if detail is None:
            raise Http404("The run's version has no such node.")
        if "part" in request.GET:
            return render(request, "executions/_node_detail.html", detail)
        title = f"{detail['node']['name']} in a run of {execution.flow.name}"
        context = {**self.admin_site.each_context(request), **detail, "opts": self.opts, "title": title}
        return TemplateResponse(request, "admin/executions/execution/node.html", context)

    def control_view(self, request: HttpRequest, execution_id: UUID, name: str) -> HttpResponse:
        """Pause, resume, cancel, retry: JSON for a script; for a form, the run's page with a message."""
        if name not in NAMES:
            raise Http404(f"There is no control {name!r}.")
        execution = self._visible(request, execution_id)
        scripted = not request.accepts("text/html")
        try:
            then = self._obey(request, execution, name, request.POST.dict())
        except ExecutionFault as fault:
            if scripted:
                refusal = {"detail": fault.message, "code": fault.code, "hint": fault.hint}
                return JsonResponse(refusal, status=409)
            messages.error(request, f"{fault.message} {fault.hint}")
            return HttpResponseRedirect(_page_of(execution))
        if scripted:
            return JsonResponse({"id": str(then.pk), "url": _page_of(then)}, status=202)
        messages.success(request, f"The run was told to {name}." if then == execution else "This is the retry.")
        return HttpResponseRedirect(_page_of(then))

    def _address(self, route: str, view: Any, name: str) -> URLPattern:
        return path(route, self.admin_site.admin_view(view), name=f"executions_execution_{name}")

    def _visible(self, request: HttpRequest, execution_id: UUID) -> Execution:
        return get_object_or_404(self.get_queryset(request), pk=execution_id)

    def _obey(self, request: HttpRequest, execution: Execution, name: str, options: Mapping[str, str]) -> Execution:
        if not may_control(request.user, execution):
            raise PermissionDenied("You may see this run, but not control it.")
        then = obey(name, execution, person(request), options)
        self.log_change(request, execution, f"Told to {name}." if then == execution else f"Retried as {then.pk}.")
        return then

    def _command_selected(self, request: HttpRequest, queryset: QuerySet[Execution], name: str) -> None:
        told, refused = 0, []
        for execution in queryset:
            try:
                self._obey(request, execution, name, {})
                told += 1
            except (ExecutionFault, PermissionDenied) as fault:
                refused.append(f"{short_id(execution.pk)}: {fault}")
        if told:
            messages.success(request, f"{told} run{'' if told == 1 else 's'} told to {name}.")
        if refused:
            rest = f" And {len(refused) - REFUSALS_TOLD} more." if len(refused) > REFUSALS_TOLD else ""
            messages.warning(request, f"Not told to {name}: {' '.join(refused[:REFUSALS_TOLD])}{rest}")


def _page_of(execution: Execution) -> str:
    return reverse("admin:executions_execution_change", args=[execution.pk])
