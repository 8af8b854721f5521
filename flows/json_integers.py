"""Finds integers in JSON that its reader would change: orjson makes floats of those beyond 64 bits. Pure."""

from __future__ import annotations

import json
import re

SMALLEST = -(2**63)
LARGEST = 2**64 - 1
"""What orjson reads as an integer: what fits in 64 bits, with or without a sign."""

_CANDIDATE = re.compile(rb"[0-9]{19}")
"""2**63 has 19 digits; text without so many in a row need not be read a second time."""

_LONGEST = len(str(SMALLEST))


def integer_beyond_64_bits(text: bytes) -> list[str | int] | None:
    """Where the first integer beyond 64 bits is in JSON that orjson has read: the keys and indexes that lead to it.

    None where there is none. Of nesting that Python's own reader gives up on, nothing is said: it cannot be stored.
    """
    if _CANDIDATE.search(text) is None:
        return None
    try:
        value = json.loads(text, parse_int=_integer)
    except RecursionError:
        return None
    pending: list[tuple[list[str | int], object]] = [([], value)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, int) and not SMALLEST <= value <= LARGEST:
            return path
        if isinstance(value, dict):
            pending += [([*path, key], child) for key, child in reversed(value.items())]
        elif isinstance(value, list):
            pending += [([*path, index], child) for index, child in reversed(list(enumerate(value)))]
    return None


def shown_path(path: list[str | int]) -> str:
    """`a.b[0]`, as the problems of a graph name their places."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def _integer(digits: str) -> int:
    # Python refuses to read thousands of digits, and only that there are too many of them matters.
    return int(digits) if len(digits) <= _LONGEST else LARGEST + 1
