"""Items as the engine holds them: JSON text by port, encoded once. Pure.

Each node decodes its own copy, so no branch sees what another one changes in its items, and what a node is given is
the same whether it comes from memory or, after a crash, from the database.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from flows.context import Items, NodeError, Ports

Encoded = dict[str, bytes]
"""A JSON list of items by port."""

PREVIEW_BYTES = 8192
"""What an event shows of a node's output, at most."""

_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


def encode_json(value: Any) -> bytes:
    """JSON text of `value`. Raises ValueError or TypeError, which say what JSON cannot hold."""
    text = orjson.dumps(value, option=_OPTIONS)
    # orjson writes NaN and Infinity, which JSON does not have, as null (RFC 8259, 6).
    if b"null" in text and _has_non_finite(value):
        raise ValueError("NaN and Infinity are not JSON numbers")
    return text


def _has_non_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(_has_non_finite(inner) for inner in value.values())
    return isinstance(value, list | tuple) and any(_has_non_finite(inner) for inner in value)


def encode_ports(ports: Ports, limit: int) -> Encoded:
    """The items of each port as JSON text. Raises NodeError when they are not JSON, or longer than `limit` bytes."""
    encoded = {}
    for port, items in ports.items():
        try:
            encoded[port] = encode_json(items)
        except (TypeError, ValueError) as error:
            raise NodeError(
                f"The output on port {port!r} is not JSON: {error}.",
                type="OutputNotJSON",
                hint="Return lists of dicts of str, int, float, bool, None, lists and dicts; write dates as text.",
            ) from error
    size = sum(map(len, encoded.values()))
    if size > limit:
        raise NodeError(
            f"The output is {size:,} bytes of JSON, more than the {limit:,} that a node may return.",
            type="OutputTooLarge",
            hint="Return fewer or smaller items, or raise WATAOMI_MAX_OUTPUT_BYTES.",
        )
    return encoded


def decode(encoded: Mapping[str, bytes]) -> Ports:
    return {port: orjson.loads(text) for port, text in encoded.items()}


def join_lists(lists: Sequence[bytes]) -> bytes:
    """One JSON list of all the items of several."""
    if len(lists) == 1:
        return lists[0]
    return b"[" + b",".join(inner for text in lists if (inner := text[1:-1])) + b"]"


def join_object(members: Iterable[tuple[str, bytes]]) -> bytes:
    """One JSON object of values that are encoded already."""
    return b"{" + b",".join(orjson.dumps(key) + b":" + text for key, text in members) + b"}"


def preview(ports: Ports, encoded: Encoded) -> tuple[bytes, bool]:
    """The output for an event, and whether it was cut: the first items of each port, `PREVIEW_BYTES` at most."""
    whole = join_object(encoded.items())
    if len(whole) <= PREVIEW_BYTES:
        return whole, False
    room = PREVIEW_BYTES - sum(len(orjson.dumps(port)) + 4 for port in ports) - 2
    members = []
    for port, items in ports.items():
        text, room = _first_items(items, room)
        members.append((port, text))
    return join_object(members), True


def _first_items(items: Items, room: int) -> tuple[bytes, int]:
    shown: list[bytes] = []
    for item in items:
        text = orjson.dumps(item, option=_OPTIONS)
        if len(text) + 1 > room:
            break
        room -= len(text) + 1
        shown.append(text)
    return b"[" + b",".join(shown) + b"]", room
