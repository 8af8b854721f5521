"""A model field for JSON that is kept as the text it was written as."""

from __future__ import annotations

from typing import Any

import orjson
from django.db import models


class JSONTextField(models.TextField):
    """Any JSON value, stored as text; None is NULL.

    Text and not `jsonb`: what was sent is what is read back, byte for byte, it is written without a second encoding,
    and PostgreSQL's `jsonb` refuses the valid JSON string "\\u0000".
    """

    # Read by the type checker alone: what may be assigned, and what is read.
    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def from_db_value(self, value: str | None, expression: object, connection: object) -> Any:
        return None if value is None else orjson.loads(value)

    def to_python(self, value: Any) -> Any:
        return value

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else orjson.dumps(value).decode()

    def value_to_string(self, obj: models.Model) -> str:
        return self.get_prep_value(self.value_from_object(obj)) or ""
