"""Flows in the admin, where they are named, given to others, and switched on and off; and their versions, to read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin import ModelAdmin, ShowFacets
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flows.access import may_delete, may_edit, visible_flows
from flows.drawing import close_up, drawing_of
from flows.graph import GraphError
from flows.models import Flow, FlowVersion
from flows.pretty_json import pretty


@admin.register(Flow)
class FlowAdmin(ModelAdmin):
    """Staff sees and edits here what the same user sees and edits on the flows' own pages. Graphs are drawn there."""

    list_display = ("name", "owner", "active", "newest", "changed", "editor")
    list_filter = ("active",)
    list_select_related = ("owner",)
    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by = ("name",)
    search_fields = ("name", "slug")
    ordering = ("-id",)
    fieldsets = (
        (None, {"fields": ("name", "active", "owner", "slug", "newest", "created_at", "updated_at")}),
        ("Runs", {"fields": ("max_concurrent_runs", "when_full", "priority")}),
    )
    raw_id_fields = ("owner",)
    view_on_site = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Flow]:
        return visible_flows(request.user)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Flow:
        return _found(super().get_object(request, object_id, from_field), object_id)

    def get_readonly_fields(self, request: HttpRequest, obj: Flow | None = None) -> tuple[str, ...]:
        # An owner is chosen by whoever may see the list of users.
        owner = () if request.user.has_perm("auth.view_user") else ("owner",)
        return ("slug", "newest", "created_at", "updated_at", *owner)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return True

    def has_view_permission(self, request: HttpRequest, obj: Flow | None = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Flow | None = None) -> bool:
        return obj is None or may_edit(request.user, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Flow | None = None) -> bool:
        return obj is not None and may_delete(request.user, obj)

    def save_model(self, request: HttpRequest, obj: Flow, form: ModelForm[Flow], change: bool) -> None:
        # Only these: `head` may have moved since the flow was read.
        obj.save(update_fields=[*form.changed_data, "updated_at"])

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """How much goes with a flow, counted: its runs may be more than a page can list, or memory hold."""
        counts: dict[str, int] = {str(Flow._meta.verbose_name_plural): len(objs)}
        for relation in Flow._meta.related_objects:
            model = relation.related_model
            assert not isinstance(model, str)
            number = model._base_manager.filter(**{f"{relation.field.name}__in": objs}).count()
            counts[str(model._meta.verbose_name_plural)] = number
        return [str(flow) for flow in objs], counts, set(), []

    @admin.display(description="Newest version")
    def newest(self, flow: Flow) -> SafeString | str:
        if not flow.head:
            return "none yet"
        address = reverse("admin:flows_flowversion_changelist")
        return format_html('<a href="{}?flow__id__exact={}">v{}</a>', address, flow.pk, flow.head)

    @admin.display(description="Changed (UTC)", ordering="updated_at")
    def changed(self, flow: Flow) -> str:
        return flow.updated_at.strftime("%Y-%m-%d %H:%M")

    @admin.display(description="Drawing")
    def editor(self, flow: Flow) -> SafeString:
        return format_html('<a href="{}">Open the editor</a>', flow.get_absolute_url())


@admin.register(FlowVersion)
class FlowVersionAdmin(ModelAdmin):
    """History: nobody adds, changes or deletes a version."""

    list_display = ("version", "flow", "author", "note", "created")
    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by = ()
    ordering = ("-id",)
    search_fields = ("flow__name", "note")

    def get_queryset(self, request: HttpRequest) -> QuerySet[FlowVersion]:
        return (
            FlowVersion.objects.filter(flow__in=visible_flows(request.user))
            .select_related("flow", "author")
            .defer("graph")
        )

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> FlowVersion:
        return _found(super().get_object(request, object_id, from_field), object_id)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        version = self.get_object(request, object_id)
        try:
            drawing = close_up(drawing_of(version))
        except GraphError:
            drawing = None
        page = {"version": version, "drawing": drawing, "graph": pretty(version.graph), "title": str(version)}
        context = {**(extra_context or {}), **page, "subtitle": None}
        return super().change_view(request, object_id, form_url, context)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return lookup == "flow__id__exact" or super().lookup_allowed(lookup, value, request)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return True

    def has_view_permission(self, request: HttpRequest, obj: FlowVersion | None = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: FlowVersion | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: FlowVersion | None = None) -> bool:
        return False

    @admin.display(description="Version")
    def version(self, version: FlowVersion) -> str:
        return f"v{version.number}"

    @admin.display(description="Saved (UTC)")
    def created(self, version: FlowVersion) -> str:
        return version.created_at.strftime("%Y-%m-%d %H:%M:%S")


def _found(found: Any, object_id: str) -> Any:
    """What was found. Raises Http404 where Django's admin would send the user to its index."""
    if found is None:
        raise Http404(f"There is nothing here with the key {object_id}.")
    return found
