"""The names an expression may use, and which of them it does use."""

from __future__ import annotations

import ast
from collections.abc import Iterator

SCOPE_NAMES = frozenset({"item", "items", "input", "nodes", "flow", "execution", "now"})

MODULES = frozenset({"datetime", "json", "math", "re"})
"""Modules that are there without an import; the clock of `datetime` stands still at `now`."""

BUILTINS = frozenset(
    {
        *("abs", "all", "any", "bin", "bool", "bytes", "chr", "dict", "divmod", "enumerate", "filter", "float"),
        *("format", "frozenset", "hex", "int", "isinstance", "iter", "len", "list", "map", "max", "min", "next"),
        *("oct", "ord", "pow", "range", "repr", "reversed", "round", "set", "slice", "sorted", "str", "sum"),
        *("tuple", "type", "zip"),
    }
)
"""What the sandbox has of Python's builtins, without those that assign, look around or leave the sandbox."""

KNOWN_NAMES = SCOPE_NAMES | MODULES | BUILTINS

Comprehension = ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp


def free_names(node: ast.AST, bound: frozenset[str] = frozenset()) -> Iterator[ast.Name]:
    """The names in an expression that neither a comprehension nor a lambda in it binds.

    Unlike `symtable`, whose answer for comprehensions changed with PEP 709, this is the same on every Python.
    """
    if isinstance(node, ast.Name):
        if node.id not in bound:
            yield node
    elif isinstance(node, ast.Lambda):
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            yield from free_names(default, bound)
        yield from free_names(node.body, bound | _arguments(node.args))
    elif isinstance(node, Comprehension):
        yield from _of_comprehension(node, bound)
    else:
        for child in ast.iter_child_nodes(node):
            yield from free_names(child, bound)


def _arguments(arguments: ast.arguments) -> frozenset[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return frozenset(argument.arg for argument in every if argument is not None)


def _of_comprehension(node: Comprehension, bound: frozenset[str]) -> Iterator[ast.Name]:
    for generator in node.generators:
        yield from free_names(generator.iter, bound)
        bound |= {name.id for name in ast.walk(generator.target) if isinstance(name, ast.Name)}
        for condition in generator.ifs:
            yield from free_names(condition, bound)
    results = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    for result in results:
        yield from free_names(result, bound)
