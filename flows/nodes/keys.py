"""How items are matched and grouped by the values of their fields. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from flows.context import Item, NodeError


def field_value(item: Item, field: str, index: int, port: str = "") -> Any:
    """The value of an item's field. Raises NodeError, which names field and item and the fields there are."""
    if field in item:
        return item[field]
    there = ", ".join(list(item)[:10]) or "none"
    where = f" of the port “{port}”" if port else ""
    raise NodeError(
        f"Item {index}{where} has no field “{field}”.",
        hint=f"Its fields: {there}. Names are case-sensitive; Set fields can give a missing one a value.",
        type="MissingField",
    )


def key_of(values: Sequence[Any]) -> bytes:
    """The same bytes for equal JSON values, whatever the order of their objects; 1 and 1.0 are equal, 1 and "1" not."""
    return orjson.dumps([_normal(value) for value in values], option=orjson.OPT_SORT_KEYS)


def _normal(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [_normal(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _normal(entry) for name, entry in value.items()}
    return value
