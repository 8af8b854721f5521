"""What the list of flows can be narrowed by."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import django_filters
from django.core.exceptions import ValidationError
from django_filters.fields import IsoDateTimeField

from flows.models import Flow


class _MomentField(IsoDateTimeField):
    """In UTC, as the database compares it."""

    def clean(self, value: Any) -> datetime | None:
        moment: datetime | None = super().clean(value)
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError as error:
            # A local time of the year 1 or 9999 may lie outside of what there is in UTC.
            raise ValidationError(self.error_messages["invalid"], code="invalid") from error


class MomentFilter(django_filters.IsoDateTimeFilter):
    """A date and time in ISO 8601."""

    field_class = _MomentField


class FlowFilter(django_filters.FilterSet):
    name = django_filters.CharFilter(lookup_expr="icontains", help_text="Part of the name, in any case.")
    slug = django_filters.CharFilter()
    active = django_filters.BooleanFilter()
    owner = django_filters.CharFilter(field_name="owner__username")
    updated_after = MomentFilter(field_name="updated_at", lookup_expr="gte")
    updated_before = MomentFilter(field_name="updated_at", lookup_expr="lt")

    class Meta:
        model = Flow
        fields: tuple[str, ...] = ()
