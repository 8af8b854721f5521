"""Parameters with their expressions replaced by values, for each item of a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.context import Item, Scope
from flows.expressions.syntax import has_expressions


async def resolve(params: Mapping[str, Any], items: Sequence[Item], scope: Scope) -> list[dict[str, Any]]:
    """`params` resolved for each of `items`, in their order; a parameter that does not name `item` is evaluated once.

    Raises ExpressionError for the first parameter and item without a value.
    """
    if not has_expressions(params):
        return [dict(params) for _ in items]
    raise NotImplementedError
