"""What is raised when an expression has no value."""

from __future__ import annotations

from flows.context import NodeError

LONGEST_SHOWN = 200


class ExpressionError(NodeError):
    """An expression could not be evaluated; the message names the parameter, the item, the expression and what was wrong."""

    def __init__(self, *, parameter: str, source: str, index: int | None, reason: str, hint: str = "") -> None:
        where = f"Parameter '{parameter}'" + ("" if index is None else f", item {index}")
        shown = source if len(source) <= LONGEST_SHOWN else source[:LONGEST_SHOWN] + "..."
        super().__init__(f"{where}: {shown} - {reason}", hint=hint, type="ExpressionError")
        self.parameter = parameter
        self.source = source
        self.index = index
        self.reason = reason
