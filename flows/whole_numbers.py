"""Whole numbers as clients write them: ASCII digits, where Python's `int` also takes `\u0663`, `1_000` and more."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from rest_framework import serializers

_WRITTEN = re.compile(r"\s*-?[0-9]+\s*", re.ASCII)


class WholeNumberField(serializers.IntegerField):
    """A number in a body, or a text that writes one."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, str) and len(data) <= self.MAX_STRING_LENGTH and not _WRITTEN.fullmatch(data):
            self.fail("invalid")
        return super().to_internal_value(data)


class WholeNumberFormField(forms.IntegerField):
    """A number in a form or a query."""

    def to_python(self, value: Any) -> int | None:
        if isinstance(value, str) and value not in self.empty_values and not _WRITTEN.fullmatch(value):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)
