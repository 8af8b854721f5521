"""What is an expression, and is it well-formed?"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any


def is_expression(value: object) -> bool:
    """Whether a parameter's value is an expression: text that starts with `=`."""
    return isinstance(value, str) and value.startswith("=")


def has_expressions(value: object) -> bool:
    """Whether a value, or anything in the lists and dicts it holds, is an expression."""
    if isinstance(value, Mapping):
        return any(has_expressions(entry) for entry in value.values())
    if isinstance(value, list):
        return any(has_expressions(entry) for entry in value)
    return is_expression(value)


def check(source: str) -> str | None:
    """What is wrong with an expression's syntax, in words and with its position; None when nothing is."""
    try:
        ast.parse(source.removeprefix("=").strip(), mode="eval")
    except SyntaxError as error:
        return f"{error.msg} (line {error.lineno}, column {error.offset})"
    return None
