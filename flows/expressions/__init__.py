"""Expressions in parameters: values that start with `=` are Python over the items that reach a node.

Names an expression may use: `item` (the item at hand), `items` (all of them), `input` (the run's input),
`nodes["Name"]` (what a node before this one delivered), `flow`, `execution` and `now`; and the modules `datetime`,
`json`, `math` and `re`. Text that shall start with `=` is written `='=text'`.
"""

from flows.expressions.errors import ExpressionError
from flows.expressions.resolution import resolve
from flows.expressions.syntax import check, has_expressions, is_expression

__all__ = ["ExpressionError", "check", "has_expressions", "is_expression", "resolve"]
