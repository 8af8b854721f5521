"""The admin of what is history: nobody adds, changes or deletes it, and it is paged by key."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import ModelAdmin, ShowFacets
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse

from executions.admin.filters import ids_with_prefix
from executions.keyset import KeysetChangeList
from flows.access import visible_flows

MOST_FLOWS_FOUND = 100


class HistoryAdmin(ModelAdmin):
    """Which objects there are for whom, `get_queryset` says: for anybody else, staff or not, they are not there.

    `list_only` are the columns that the list reads, `run_key` is where an object has the id of its run.
    """

    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by = ()
    list_only: tuple[str, ...] = ()
    run_key = "id"
    search_fields = ("id",)
    search_help_text = "The beginning of a run's id, or part of a flow's name."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By ranges and equalities of indexed columns: the ids of flows are looked up first."""
        term = search_term.strip()
        if not term:
            return queryset, False
        flows = visible_flows(request.user).filter(name__icontains=term).values_list("pk", flat=True)
        condition = self.of_flows(list(flows[:MOST_FLOWS_FOUND]))
        if ids := ids_with_prefix(term):
            condition |= Q(**{f"{self.run_key}__gte": ids[0], f"{self.run_key}__lte": ids[1]})
        return queryset.filter(condition), False

    def of_flows(self, flow_ids: list[int]) -> Q:
        """The condition for what belongs to these flows; it must not keep a list from being read along its key."""
        raise NotImplementedError

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        found = super().get_object(request, object_id, from_field)
        if found is None:
            raise Http404(f"There is no {self.opts.verbose_name} {object_id}.")
        return found

    def has_module_permission(self, request: HttpRequest) -> bool:
        return True

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def person(request: HttpRequest) -> User:
    """Who asks; the admin lets nobody in who is not logged in."""
    assert isinstance(request.user, User)
    return request.user
