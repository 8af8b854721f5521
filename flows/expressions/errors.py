"""What is raised when an expression has no value, and how Python's errors are put into words."""

from __future__ import annotations

from dataclasses import dataclass

from flows.context import NodeError

LONGEST_SHOWN = 200

HINTS = {
    "KeyError": 'Look at the fields of the item, or write item.get("name") for one that may be missing.',
    "IndexError": "The list is shorter than that; len() gives its length.",
    "AttributeError": 'A field of an object is written item["name"].',
    "TypeError": "Convert the values with str(), int() or float(), and look for fields that are null.",
    "ValueError": "Look at the value the expression gets.",
    "ZeroDivisionError": "Write x / y if y else 0.",
    "TimeoutError": "Let the expression do less; work over many items belongs into nodes.",
    "MemoryError": "Let the expression make less; work over many items belongs into nodes.",
    "RecursionError": "Use a comprehension instead of a function that calls itself.",
    "SyntaxError": "Correct the expression and save the flow.",
}


@dataclass(eq=False)
class Failure(Exception):
    """An evaluation that failed: `kind` is the name of Python's exception; `index` counts items from 0."""

    kind: str
    reason: str
    hint: str = ""
    index: int | None = None


class ExpressionError(NodeError):
    """An expression has no value; the message names parameter, item (from 0) and expression, and says what was wrong.

    `kind` is the name of the exception Python has for it, and the same wherever the expression is evaluated.
    """

    def __init__(self, *, parameter: str, source: str, failure: Failure) -> None:
        where = f"Parameter '{parameter}'" + ("" if failure.index is None else f", item {failure.index}")
        shown = source if len(source) <= LONGEST_SHOWN else source[:LONGEST_SHOWN] + "..."
        hint = failure.hint or HINTS.get(failure.kind, "")
        super().__init__(f"{where}: {shown} - {failure.reason}", hint=hint, type="ExpressionError")
        self.parameter = parameter
        self.source = source
        self.kind = failure.kind
        self.index = failure.index


def failure_of(error: Exception, index: int | None = None) -> Failure:
    """What Python raised for an expression, in words."""
    kind, said = type(error).__name__, str(error)
    if isinstance(error, KeyError):
        return Failure(kind, f"there is no key {said}", index=index)
    return Failure(kind, f"{kind}: {said}" if said else kind, index=index)
