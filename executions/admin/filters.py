"""What the admin's lists of runs and node executions can be narrowed by; each filter leaves the list to an index."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from executions.models import Mode, NodeExecution
from executions.statuses import RUN_ENDED, NodeStatus, RunStatus
from flows.access import visible_flows
from flows.models import Flow

ACTIVE = "active"
LISTED_FLOWS = 15
MOST_DIGITS = 18

Choices = list[tuple[str, str]]


class RunStatusFilter(SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        return [(ACTIVE, "Active (not ended)"), *((status.value, status.value.capitalize()) for status in RunStatus)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == ACTIVE:
            return queryset.filter(status__in=sorted(set(RunStatus) - RUN_ENDED))
        return queryset.filter(status=self.value()) if self.value() else queryset


class NodeStatusFilter(SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        stored = [
            status for status in NodeStatus if status not in (NodeStatus.IDLE, NodeStatus.QUEUED, NodeStatus.WAITING)
        ]
        return [(status.value, status.value.capitalize()) for status in stored]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status=self.value()) if self.value() else queryset


class ModeFilter(SimpleListFilter):
    title = "mode"
    parameter_name = "mode"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        return [(str(value), str(label)) for value, label in Mode.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(mode=self.value()) if self.value() else queryset


class CreatedFilter(SimpleListFilter):
    """By when the run was created, which its id tells: a range of the key that the list is read along."""

    title = "created"
    parameter_name = "created"
    periods = {
        "hour": ("Past hour", timedelta(hours=1)),
        "day": ("Past 24 hours", timedelta(days=1)),
        "week": ("Past 7 days", timedelta(days=7)),
        "month": ("Past 30 days", timedelta(days=30)),
    }

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        return [(name, label) for name, (label, _) in self.periods.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        period = self.periods.get(self.value() or "")
        if period is None:
            return queryset
        return self.since(queryset, first_id_at(timezone.now() - period[1]))

    def since(self, queryset: QuerySet[Any], first_id: UUID) -> QuerySet[Any]:
        """What was made by a run with this id or later."""
        return queryset.filter(pk__gte=first_id)


class RecordedFilter(CreatedFilter):
    """By when a node was run, as a range of the key too: from the first record on of the runs made since then."""

    title = "recorded"
    parameter_name = "recorded"

    def since(self, queryset: QuerySet[Any], first_id: UUID) -> QuerySet[Any]:
        of_new_runs = NodeExecution.objects.filter(execution_id__gte=first_id).order_by("execution_id")
        first = of_new_runs.values_list("pk", flat=True).first()
        return queryset.none() if first is None else queryset.filter(pk__gte=first)


class FlowFilter(SimpleListFilter):
    """The flows changed last, and the one that is chosen; others are found by searching for their name."""

    title = "flow"
    parameter_name = "flow"
    template = "admin/executions/flow_filter.html"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Choices:
        flows = list(visible_flows(request.user).order_by("-updated_at")[:LISTED_FLOWS])
        chosen = self._chosen()
        if chosen is not None and not any(flow.pk == chosen for flow in flows):
            flows += visible_flows(request.user).filter(pk=chosen)
        return [(str(flow.pk), flow.name) for flow in sorted(flows, key=_name)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        chosen = self._chosen()
        return queryset.none() if chosen is None else queryset.filter(flow_id=chosen)

    def _chosen(self) -> int | None:
        """The chosen key; None where it is none, or too big for any database."""
        text = self.value() or ""
        return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None


def first_id_at(moment: datetime) -> UUID:
    """The least id of a run made at `moment`: a UUIDv7 starts with the milliseconds since 1970 (RFC 9562, 5.7)."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def ids_with_prefix(text: str) -> tuple[UUID, UUID] | None:
    """The least and the greatest id that begin with `text`, with or without hyphens; None where no id can."""
    digits = text.strip().lower().replace("-", "")
    if not 1 <= len(digits) <= 32 or not _is_hexadecimal(digits):
        return None
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def _is_hexadecimal(digits: Iterable[str]) -> bool:
    return all(digit in "0123456789abcdef" for digit in digits)


def _name(flow: Flow) -> str:
    return flow.name.lower()
