"""Node types that change items or compute over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from flows.context import Item, Items, NodeContext, NodeError
from flows.json_types import shown, type_name
from flows.node_types import NodeType, register
from flows.nodes.keys import field_value, key_of
from flows.param_fields import AssignmentsField, BooleanField, JSONField, NamesField, parsed_json


@register
class SetFields(NodeType):
    """Gives fields of each item new values."""

    name = "set"
    label = "Set fields"
    group = "Data"
    icon = "edit"
    pure = True

    class Params(forms.Form):
        fields = AssignmentsField(  # type: ignore[assignment]  # a form's fields are no attributes of it
            required=False, help_text='Names and values; a value may be an expression: =item["price"] * 2'
        )
        keep = BooleanField(initial=True, label="Keep other fields", help_text="Off: only the fields above remain.")

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        return [
            {**item, **params["fields"]} if params["keep"] else dict(params["fields"])
            for item, params in zip(items, await ctx.params_for(), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Operation:
    """One value computed over a group of items: `operation` of the values of `field`, called `name` in the result."""

    operation: str
    field: str
    name: str


class OperationsField(JSONField):
    """A list of {"operation", "field", "name"}; cleaned into Operations. `name` may be left out."""

    def to_python(self, value: Any) -> list[Operation]:
        value = parsed_json(value)
        if isinstance(value, Mapping):
            value = [value]
        if not isinstance(value, list) or not value:
            raise ValidationError('Enter a list such as [{"operation": "sum", "field": "price"}].', code="invalid")
        operations = [self._operation(index, entry) for index, entry in enumerate(value)]
        names = [operation.name for operation in operations]
        for name in names:
            if names.count(name) > 1:
                raise ValidationError(f"Two operations are called {name!r}; give one another name.", code="invalid")
        return operations

    def _operation(self, index: int, entry: Any) -> Operation:
        if not isinstance(entry, Mapping) or not set(entry) <= {"operation", "field", "name"}:
            raise ValidationError(f'Entry {index} must be an object of "operation", "field" and "name".')
        operation, field, name = (entry.get(part) or "" for part in ("operation", "field", "name"))
        if not isinstance(operation, str) or operation not in OPERATIONS:
            raise ValidationError(f"Entry {index}: operation {shown(operation)} is none of {', '.join(OPERATIONS)}.")
        if not isinstance(field, str) or not isinstance(name, str):
            raise ValidationError(f"Entry {index}: field and name must be text.")
        if not field and operation != "count":
            raise ValidationError(f"Entry {index}: {operation} needs a field.")
        return Operation(operation, field, name or (f"{operation}_{field}" if field else operation))


@register
class Aggregate(NodeType):
    """Computes over all items, or over each group of them: one item for each group."""

    name = "aggregate"
    label = "Aggregate"
    group = "Data"
    icon = "sum"
    pure = True
    summary = "group_by"

    class Params(forms.Form):
        group_by = NamesField(
            required=False,
            initial="",
            help_text="Fields whose values make a group, with commas between; none: all items.",
        )
        operations = OperationsField(
            initial=[{"operation": "count", "name": "count"}],
            help_text="A list of operation (count, sum, avg, min, max or collect), field, and name of the result.",
        )

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        return aggregated(items, ctx.params["group_by"], ctx.params["operations"])


def aggregated(items: Items, group_by: Sequence[str], operations: Sequence[Operation]) -> Items:
    """One item for each group, in the order in which the groups appear; without `group_by` always exactly one.

    Null values are left out, as in SQL, but by collect. Raises NodeError for a missing field and for a value of the
    wrong type.
    """
    groups: dict[bytes, tuple[Item, list[int]]] = {}
    if not group_by:
        groups[b""] = ({}, list(range(len(items))))
    else:
        for index, item in enumerate(items):
            values = [field_value(item, field, index) for field in group_by]
            group = dict(zip(group_by, values, strict=True))
            groups.setdefault(key_of(values), (group, []))[1].append(index)
    return [
        {**group, **{operation.name: _computed(operation, items, members) for operation in operations}}
        for group, members in groups.values()
    ]


def _computed(operation: Operation, items: Items, members: Sequence[int]) -> Any:
    if not operation.field:
        return len(members)
    values = [(index, field_value(items[index], operation.field, index)) for index in members]
    if operation.operation == "collect":
        return [value for _, value in values]
    present = [(index, value) for index, value in values if value is not None]
    if operation.operation in {"sum", "avg"}:
        _require(present, operation, "a number", lambda value: type_name(value) == "a number")
    if operation.operation in {"min", "max"} and present:
        kind = type_name(present[0][1])
        expected = kind if kind in {"a number", "text"} else "a number or text"
        _require(present, operation, expected, lambda value: type_name(value) == expected)
    return OPERATIONS[operation.operation]([value for _, value in present])


def _require(
    values: Sequence[tuple[int, Any]], operation: Operation, expected: str, fits: Callable[[Any], bool]
) -> None:
    for index, value in values:
        if not fits(value):
            raise NodeError(
                f"Cannot take the {operation.operation} of “{operation.field}”: in item {index} it is "
                f"{type_name(value)} ({shown(value)}), not {expected}.",
                hint=f'Convert it with Set fields before: {operation.field} = =float(item["{operation.field}"])',
                type="WrongType",
            )


def _sum(values: Sequence[int | float]) -> int | float:
    # fsum: ten times 0.1 is 1, and the order of the items does not matter.
    return math.fsum(values) if any(isinstance(value, float) for value in values) else sum(values)


OPERATIONS: dict[str, Callable[[list[Any]], Any]] = {
    "count": len,
    "sum": _sum,
    "avg": lambda values: _sum(values) / len(values) if values else None,
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
    "collect": list,
}
"""What each operation makes of the values of a group that are not null; of none, avg, min and max make null."""
