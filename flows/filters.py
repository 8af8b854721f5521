"""What the list of flows can be narrowed by."""

from __future__ import annotations

import django_filters

from flows.models import Flow


class FlowFilter(django_filters.FilterSet):
    name = django_filters.CharFilter(lookup_expr="icontains", help_text="Part of the name, in any case.")
    slug = django_filters.CharFilter()
    active = django_filters.BooleanFilter()
    owner = django_filters.CharFilter(field_name="owner__username")
    updated_after = django_filters.IsoDateTimeFilter(field_name="updated_at", lookup_expr="gte")
    updated_before = django_filters.IsoDateTimeFilter(field_name="updated_at", lookup_expr="lt")

    class Meta:
        model = Flow
        fields: tuple[str, ...] = ()
