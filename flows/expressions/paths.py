"""Expressions that only look something up, such as `item["address"]["city"]`: read and walked without a sandbox."""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flows.expressions.names import SCOPE_NAMES

Key = str | int

SMALLEST_INTEGER = -(2**63)
LARGEST_INTEGER = 2**64 - 1
"""The integers that a run's JSON can hold."""


@dataclass(frozen=True, slots=True)
class Path:
    """A name of the scope and the keys behind it; without a name, `value` is a constant."""

    name: str
    keys: tuple[Key, ...] = ()
    value: Any = None


def path_of(tree: ast.expr) -> Path | None:
    """The path that an expression is; None for one that computes something."""
    constant = _constant(tree)
    if constant is not None:
        return constant
    keys: list[Key] = []
    while isinstance(tree, ast.Subscript):
        key = _key(tree.slice)
        if key is None:
            return None
        keys.append(key)
        tree = tree.value
    if not isinstance(tree, ast.Name) or tree.id not in SCOPE_NAMES:
        return None
    return Path(tree.id, tuple(reversed(keys)))


def walk(value: Any, keys: Sequence[Key]) -> Any:
    """What is behind `keys`, through dicts, lists and the characters of text, and never through attributes.

    Raises KeyError, IndexError and TypeError, each where Python itself would.
    """
    for key in keys:
        kind = type(value)
        if kind is dict or (kind in {list, str} and type(key) is int):
            value = value[key]
        elif kind is list:
            raise TypeError("list indices must be integers or slices, not str")
        elif kind is str:
            raise TypeError("string indices must be integers, not 'str'")
        else:
            raise TypeError(f"'{kind.__name__}' object is not subscriptable")
    return value


def _constant(tree: ast.expr) -> Path | None:
    if not isinstance(tree, ast.Constant):
        return None
    value = tree.value
    allowed = (
        value is None
        or isinstance(value, str | bool)
        or (isinstance(value, int) and value <= LARGEST_INTEGER)
        or (isinstance(value, float) and math.isfinite(value))
    )
    return Path("", value=value) if allowed else None


def _key(tree: ast.expr) -> Key | None:
    negative = isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub)
    if negative:
        tree = tree.operand  # type: ignore[attr-defined]
    value = tree.value if isinstance(tree, ast.Constant) else None
    if type(value) is str:
        return None if negative else value
    if type(value) is int:
        return -value if negative else value
    return None
