"""What an expression is, whether it is well-formed, and what it mentions."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from flows.expressions.names import KNOWN_NAMES, MODULES, SCOPE_NAMES, free_names
from flows.expressions.paths import Path, path_of

LONGEST = 10_000
"""Characters of an expression; beyond it, text belongs into a literal or a file."""

OBJECTS = frozenset({"item", "input", "flow", "execution"})
"""The names that are always JSON objects."""

DICT_METHODS = frozenset(name for name in dir(dict) if not name.startswith("_"))

REFUSED: dict[type[ast.AST], str] = {
    ast.NamedExpr: "an expression cannot assign with :=",
    ast.Yield: "an expression cannot yield",
    ast.YieldFrom: "an expression cannot yield",
    ast.Await: "an expression cannot await",
}


class ExpressionSyntaxError(ValueError):
    """The text behind the `=` is not an expression; the message says why and where."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A well-formed expression.

    `source` is what was written, `code` the Python in it; `names` are the names of the scope, and `modules` the
    modules, that it mentions; `nodes` the nodes whose output it reads. `path` is there when it can be walked without a
    sandbox.
    """

    source: str
    code: str
    names: frozenset[str]
    modules: frozenset[str]
    nodes: frozenset[str]
    path: Path | None

    @property
    def per_item(self) -> bool:
        """Whether its value may differ from item to item."""
        return "item" in self.names


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
        parse(source)
    except ExpressionSyntaxError as error:
        return str(error)
    return None


def mentioned_nodes(source: str) -> frozenset[str]:
    """The names of the nodes an expression reads the output of. Raises ExpressionSyntaxError."""
    return parse(source).nodes


@lru_cache(maxsize=4096)
def parse(source: str) -> Expression:
    """An expression as it is written in a parameter, with its `=`. Raises ExpressionSyntaxError."""
    code = source.removeprefix("=").strip()
    if not code:
        raise ExpressionSyntaxError("there is nothing behind the =")
    if len(source) > LONGEST:
        raise ExpressionSyntaxError(f"it is {len(source):,} characters long; {LONGEST:,} are allowed")
    try:
        tree = ast.parse(code + "\n", mode="eval").body  # without a last newline, errors at the end have no column
        return _Reader(source, code).read(tree)
    except SyntaxError as error:
        where = _position(source, code, error.lineno or 1, (error.offset or 1) - 1)
        raise ExpressionSyntaxError(f"{error.msg} ({where})") from None
    except (RecursionError, MemoryError):
        # What CPython's parser raises for source that is nested beyond its stack.
        raise ExpressionSyntaxError("it is nested too deeply") from None
    except ValueError as error:
        raise ExpressionSyntaxError(str(error)) from None


class _Reader:
    """Looks through the tree of one expression."""

    def __init__(self, source: str, code: str) -> None:
        self.source = source
        self.code = code

    def read(self, tree: ast.expr) -> Expression:
        free = list(free_names(tree))
        by_place = {id(name) for name in free}
        nodes = set()
        read_by_name = set()
        for node in ast.walk(tree):
            for kind, message in REFUSED.items():
                if isinstance(node, kind):
                    raise self._problem(node, message)
            if isinstance(node, ast.Subscript) and id(node.value) in by_place and _name(node.value) == "nodes":
                nodes.add(self._node_name(node))
                read_by_name.add(id(node.value))
            if isinstance(node, ast.Attribute) and id(node.value) in by_place:
                self._check_attribute(node)
        for name in free:
            self._check_name(name, read_by_name)
        mentioned = frozenset(name.id for name in free)
        return Expression(
            source=self.source,
            code=self.code,
            names=mentioned & SCOPE_NAMES,
            modules=mentioned & MODULES,
            nodes=frozenset(nodes),
            path=path_of(tree),
        )

    def _node_name(self, node: ast.Subscript) -> str:
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            return node.slice.value
        raise self._problem(node.slice, 'the name of a node is written out, as in nodes["Name"]')

    def _check_name(self, name: ast.Name, read_by_name: set[int]) -> None:
        if name.id == "nodes" and id(name) not in read_by_name:
            raise self._problem(name, 'nodes is followed by the name of a node, as in nodes["Name"]')
        if name.id in KNOWN_NAMES:
            return
        close = difflib.get_close_matches(name.id, [*KNOWN_NAMES, "True", "False", "None"], n=1, cutoff=0.7)
        advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(SCOPE_NAMES))}"
        raise self._problem(name, f"unknown name {name.id}; {advice}")

    def _check_attribute(self, node: ast.Attribute) -> None:
        name = _name(node.value)
        if name in OBJECTS and node.attr not in DICT_METHODS:
            raise self._problem(node, f'a field is written {name}["{node.attr}"], not {name}.{node.attr}')

    def _problem(self, node: ast.AST, message: str) -> ExpressionSyntaxError:
        line, byte = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        # Before Python 3.12 the place of a name within an f-string may be off; it is never worth a failure.
        written = "".join(self.code.split("\n")[line - 1 : line]).encode()
        column = len(written[:byte].decode(errors="replace"))
        return ExpressionSyntaxError(f"{message} ({_position(self.source, self.code, line, column)})")


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _position(source: str, code: str, line: int, column: int) -> str:
    """Where something is in what was written; `line` (from 1) and `column` (from 0) are counted in the code alone."""
    before = source[: source.index(code)]
    if line == 1:
        column += len(before) - (before.rfind("\n") + 1)
    return f"line {before.count(chr(10)) + line}, column {column + 1}"
