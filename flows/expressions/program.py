"""The one program that evaluates several expressions over all items of a node in the sandbox."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from flows.expressions.names import SCOPE_NAMES
from flows.expressions.syntax import Expression

DATA = "_data"
"""The input of a program: JSON text of an object with what the expressions mention, and `items` if one is per item."""

PLACE = "[_column, len(_values[_column])]"
"""Gives, after a failure, which expression failed and for which item."""


@dataclass(frozen=True, slots=True)
class Program:
    """`code` gives a list of JSON texts, for each expression an array with one value for each item, or with one value.

    `lines` are the lines (from 1) at which the expressions start.
    """

    code: str
    lines: tuple[int, ...]

    def expression_at(self, line: int) -> int | None:
        """Which expression is on a line; None for the lines before the first."""
        position = bisect.bisect_right(self.lines, line) - 1
        return position if position >= 0 else None


@lru_cache(maxsize=1024)
def write_program(expressions: tuple[Expression, ...]) -> Program:
    names = frozenset().union(*(expression.names for expression in expressions)) - {"item", "items"}
    modules = frozenset().union(*(expression.modules for expression in expressions))
    lines = [f"import {module}" for module in sorted(modules | {"json"})]
    lines += ["_values = []", "_column = 0", f"_scope = json.loads({DATA})", "items = _scope.get('items')"]
    lines += [f"{name} = _scope[{name!r}]" for name in sorted(names & SCOPE_NAMES)]
    starts = []
    for column, expression in enumerate(expressions):
        indent = "    " if expression.per_item else ""
        lines += [f"_column = {column}", "_rows = []", "_values.append(_rows)"]
        if expression.per_item:
            lines.append("for item in items:")
        # Each value becomes JSON here, where time and memory are limited and the item at fault is known.
        lines.append(f"{indent}_rows.append(json.dumps((")
        starts.append(_count(lines) + 1)
        lines += [expression.code, f"{indent}), allow_nan=False))"]
    lines.append("['[' + ','.join(_rows) + ']' for _rows in _values]")
    return Program("\n".join(lines), tuple(starts))


def _count(chunks: Sequence[str]) -> int:
    return sum(chunk.count("\n") + 1 for chunk in chunks)
