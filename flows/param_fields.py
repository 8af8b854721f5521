"""Form fields for the parameters of nodes: they take JSON values as well as what a page's form sends.

At run time a field cleans what an expression gave, so a number, a list or null may reach any of them. `kind` tells an
editor which control to show.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError

from flows.json_types import shown, type_name


class TextField(forms.CharField):
    """Text; numbers and true or false are written out, lists and objects refused."""

    kind: ClassVar[str] = "text"

    def to_python(self, value: Any) -> Any:
        if isinstance(value, bool):
            value = "true" if value else "false"
        if isinstance(value, list | dict):
            raise ValidationError(f"Enter text, not {type_name(value)}.", code="invalid")
        return super().to_python(value)


class LongTextField(TextField):
    """Text of several lines, kept with the blanks at its ends."""

    kind = "textarea"
    widget = forms.Textarea

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"strip": False, **kwargs})


class NumberField(forms.FloatField):
    """A finite number; true and false are not numbers."""

    kind: ClassVar[str] = "number"

    def to_python(self, value: Any) -> Any:
        if isinstance(value, bool | list | dict):
            raise ValidationError(f"Enter a number, not {type_name(value)}.", code="invalid")
        return super().to_python(value)


class BooleanField(forms.Field):
    """True or false. Null is the field's `initial`; text other than true and false is refused, not taken for true."""

    kind: ClassVar[str] = "boolean"
    widget = forms.CheckboxInput
    words: ClassVar[dict[str, bool]] = {"true": True, "false": False, "on": True, "off": False, "1": True, "0": False}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"required": False, "initial": False, **kwargs})

    def to_python(self, value: Any) -> bool:
        if value is None or value == "":
            return bool(self.initial)
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float) and value in {0, 1}:
            return bool(value)
        if isinstance(value, str) and value.strip().lower() in self.words:
            return self.words[value.strip().lower()]
        raise ValidationError("Enter true or false.", code="invalid")


class ConditionField(forms.Field):
    """An expression that gives true or false; of numbers, 0 is false and any other is true.

    Text is refused but for `true` and `false`: a condition whose `=` was forgotten would always hold.
    """

    kind: ClassVar[str] = "expression"
    words: ClassVar[dict[str, bool]] = {"true": True, "false": False}

    def clean(self, value: Any) -> bool:
        if isinstance(value, bool | int | float):
            return bool(value)
        if isinstance(value, str) and value.strip().lower() in self.words:
            return self.words[value.strip().lower()]
        what = f"the text {shown(value)}" if isinstance(value, str) else type_name(value)
        raise ValidationError(
            f'Enter an expression that is true or false, such as =item["age"] >= 18; this is {what}.', code="invalid"
        )


class ChoiceField(forms.ChoiceField):
    """One of the given choices."""

    kind: ClassVar[str] = "choice"


class JSONField(forms.Field):
    """Any JSON value; text stays text."""

    kind: ClassVar[str] = "json"
    widget = forms.Textarea
    empty_values = [None]


class JSONObjectField(JSONField):
    """A JSON object, also as text; nothing is the empty object."""

    def to_python(self, value: Any) -> dict[str, Any]:
        value = parsed_json(value)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise ValidationError(f"Enter a JSON object, not {type_name(value)}.", code="invalid")
        return dict(value)


class TextObjectField(JSONObjectField):
    """A JSON object of texts, such as HTTP headers; entries that are null are left out.

    With `lists=True` an entry may also be a list of texts.
    """

    def __init__(self, *, lists: bool = False, **kwargs: Any) -> None:
        self.lists = lists
        super().__init__(**kwargs)

    def to_python(self, value: Any) -> dict[str, Any]:
        return {name: self._entry(name, entry) for name, entry in super().to_python(value).items() if entry is not None}

    def _entry(self, name: str, entry: Any) -> str | list[str]:
        if self.lists and isinstance(entry, list):
            return [_text_of(name, single) for single in entry]
        return _text_of(name, entry)


class AssignmentsField(JSONField):
    """Names and their values: an object, or a list of {"name", "value"}; cleaned into a dict."""

    kind = "assignments"

    def to_python(self, value: Any) -> dict[str, Any]:
        value = parsed_json(value)
        if value is None:
            return {}
        if isinstance(value, Mapping):
            value = [{"name": name, "value": entry} for name, entry in value.items()]
        if not isinstance(value, list):
            raise ValidationError(f"Enter an object, or a list of name and value; not {type_name(value)}.")
        assignments: dict[str, Any] = {}
        for index, entry in enumerate(value):
            if not isinstance(entry, Mapping) or not set(entry) <= {"name", "value"} or "value" not in entry:
                raise ValidationError(f'Entry {index} must be an object of "name" and "value".')
            name = entry.get("name")
            if not isinstance(name, str) or not name:
                raise ValidationError(f"Entry {index} has no name.")
            if name in assignments:
                raise ValidationError(f"The name {name!r} is there twice.")
            assignments[name] = entry["value"]
        return assignments


class NamesField(forms.Field):
    """Names of fields: a list of texts, or one text with commas between them; cleaned into a list."""

    kind: ClassVar[str] = "text"

    def to_python(self, value: Any) -> list[str]:
        if value is None:
            return []
        if isinstance(value, str):
            value = [name.strip() for name in value.split(",") if name.strip()]
        if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
            raise ValidationError("Enter the names of fields, with commas between them.", code="invalid")
        if len(set(value)) < len(value):
            raise ValidationError("Enter each name once.", code="invalid")
        return value


def _text_of(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValidationError(f"{name!r} is not a finite number.", code="invalid")
    if isinstance(value, str | int | float):
        return str(value)
    raise ValidationError(f"{name!r} must be text or a number, not {type_name(value)}.", code="invalid")


def parsed_json(value: Any) -> Any:
    """JSON text as its value, blank text as None; other values as they are."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValidationError("Enter valid JSON.", code="invalid") from None
