"""JSON as people read it: indented, and cut where it is longer than anybody reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

SHOWN_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class PrettyJSON:
    """`text` is what is shown of it; `size` is that of the whole, in bytes without white space."""

    text: str
    size: int
    cut: bool


def pretty(value: Any, limit: int = SHOWN_CHARACTERS) -> PrettyJSON:
    """The JSON of a value, at most `limit` characters of it."""
    size = len(orjson.dumps(value))
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return PrettyJSON(text[:limit], size, len(text) > limit)
