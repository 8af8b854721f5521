"""What a list of runs can be narrowed by."""

from __future__ import annotations

import django_filters

from executions.models import Execution, Mode
from executions.statuses import RunStatus
from flows.filters import MomentFilter
from flows.whole_numbers import WholeNumberFormField

LARGEST_ID = 2**63 - 1
"""What a database can compare an id with."""


class _Statuses(django_filters.BaseInFilter, django_filters.ChoiceFilter):
    """One or more statuses, separated by commas."""


class _Identifier(django_filters.Filter):
    """The id of a row. (NumberFilter takes 1.5, and the ORM makes 1 of it.)"""

    field_class = WholeNumberFormField


class FlowExecutionFilter(django_filters.FilterSet):
    """For the runs of one flow."""

    status = _Statuses(
        choices=[(status.value, status.value) for status in RunStatus],
        help_text="One or more, separated by commas.",
    )
    mode = django_filters.ChoiceFilter(choices=Mode.choices, help_text="What started the run.")
    created_after = MomentFilter(field_name="created_at", lookup_expr="gte")
    created_before = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Execution
        fields: tuple[str, ...] = ()


class ExecutionFilter(FlowExecutionFilter):
    """For all runs."""

    flow = _Identifier(field_name="flow", max_value=LARGEST_ID, help_text="The id of a flow.")
