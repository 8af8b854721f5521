"""Describes the form of a node type's parameters as JSON, for an editor that draws the form itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django import forms

from flows.node_types import NodeType

Description = dict[str, Any]

KINDS: tuple[tuple[type[forms.Field], str], ...] = (
    (forms.JSONField, "json"),
    (forms.BooleanField, "boolean"),
    (forms.NullBooleanField, "choice"),
    (forms.MultipleChoiceField, "multiple"),
    (forms.ChoiceField, "choice"),
    (forms.FloatField, "number"),
    (forms.DecimalField, "number"),
    (forms.IntegerField, "integer"),
    (forms.URLField, "url"),
    (forms.EmailField, "email"),
    (forms.DateTimeField, "datetime"),
    (forms.DateField, "date"),
    (forms.TimeField, "time"),
)
"""By class of field, the first that fits: Django's FloatField and DecimalField are IntegerFields, so stand first."""


def describe_node_type(node_type: type[NodeType]) -> Description:
    """What the palette and the editor show of a node type."""
    return {
        "name": node_type.name,
        "label": node_type.label,
        "group": node_type.group,
        "icon": node_type.icon,
        "inputs": list(node_type.inputs),
        "outputs": list(node_type.outputs),
        "trigger": node_type.trigger,
        "pure": node_type.pure,
        "help": node_type.help_text(),
        "summary": node_type.summary,
        "fields": describe_fields(node_type.Params),
    }


def describe_fields(params_class: type[forms.Form]) -> list[Description]:
    """The fields of a parameter form in their order.

    `kind` is one of text, textarea, password, number, integer, boolean, choice, multiple, json, expression,
    assignments, url, email, date, time and datetime. `choices` are {value, label}, empty for other kinds. `initial` is
    what a parameter left out is.
    """
    return [
        {
            "name": name,
            "label": str(field.label) if field.label is not None else name.replace("_", " ").capitalize(),
            "kind": _kind(field),
            "required": field.required,
            "initial": _json_value(field.initial() if callable(field.initial) else field.initial),
            "help": str(field.help_text),
            "choices": list(_choices(field)),
        }
        for name, field in params_class.base_fields.items()
    ]


def _kind(field: forms.Field) -> str:
    """The kind a field says it is, as those of `flows.param_fields` do; that of its class or widget otherwise."""
    if kind := getattr(field, "kind", ""):
        return str(kind)
    for field_class, kind in KINDS:
        if isinstance(field, field_class):
            return kind
    widgets = ((forms.Textarea, "textarea"), (forms.PasswordInput, "password"))
    return next((kind for widget, kind in widgets if isinstance(field.widget, widget)), "text")


def _choices(field: forms.Field) -> Iterator[Description]:
    """The choices of a field; those in groups one after the other, the label of the group in front."""
    choices: Iterable[tuple[Any, Any]] = getattr(field, "choices", None) or getattr(field.widget, "choices", None) or ()
    for value, label in choices:
        if isinstance(label, list | tuple):
            for inner_value, inner_label in label:
                yield {"value": _json_value(inner_value), "label": f"{value}: {inner_label}"}
        else:
            yield {"value": _json_value(value), "label": str(label)}


def _json_value(value: Any) -> Any:
    return value if isinstance(value, str | int | float | list | dict | None) else str(value)
