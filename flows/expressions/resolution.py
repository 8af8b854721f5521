"""Parameters with their expressions replaced by values, for each item of a node.

An expression that is a mere path is walked here; all others of one node go into the sandbox in one call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from flows.context import Item, Scope
from flows.expressions import sandbox
from flows.expressions.errors import ExpressionError, Failure, failure_of
from flows.expressions.paths import LARGEST_INTEGER, SMALLEST_INTEGER, Path, walk
from flows.expressions.program import DATA, PLACE, write_program
from flows.expressions.syntax import Expression, ExpressionSyntaxError, is_expression, parse

ITEMS_AT_A_TIME = 2000
"""What is done between two turns of the event loop: some 2 ms."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in the parameters that an expression fills; `parameter` is its name, e.g. `headers.Accept`."""

    index: int
    parameter: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class Branch:
    """A list or dict of the parameters with slots somewhere below it."""

    entries: list[Any] | dict[str, Any]


async def resolve(params: Mapping[str, Any], items: Sequence[Item], scope: Scope) -> list[dict[str, Any]]:
    """`params` resolved for each of `items`, in their order; a parameter that does not name `item` is evaluated once.

    Resolved values may be parts of the items themselves: read them, do not change them.
    Raises ExpressionError for a parameter without a value.
    """
    return await _resolve(params, items, scope, walk_paths=True)


async def _resolve(
    params: Mapping[str, Any], items: Sequence[Item], scope: Scope, *, walk_paths: bool
) -> list[dict[str, Any]]:
    slots: list[Slot] = []
    template = {name: _template(value, name, slots) for name, value in params.items()}
    if not slots or not items:
        return [dict(params) for _ in items]
    for slot in slots:
        _check_nodes(slot, scope)
    walked = [slot for slot in slots if walk_paths and slot.expression.path]
    columns = {slot.index: await _walk(slot, items, scope) for slot in walked}
    computed = [slot for slot in slots if slot.index not in columns]
    if computed:
        columns |= await _compute(computed, items, scope)
    ordered = [columns[slot.index] for slot in slots]
    return [
        {name: _filled(entry, ordered, row) for name, entry in template.items()}
        async for rows in _turns(len(items))
        for row in rows
    ]


async def _turns(count: int) -> AsyncIterator[range]:
    """The numbers below `count` in portions, between which the event loop gets its turn."""
    for start in range(0, count, ITEMS_AT_A_TIME):
        if start:
            await asyncio.sleep(0)
        yield range(start, min(start + ITEMS_AT_A_TIME, count))


def _template(value: Any, parameter: str, slots: list[Slot]) -> Any:
    """The value with slots for its expressions; a value without any is left as it is."""
    if is_expression(value):
        slots.append(Slot(len(slots), parameter, _parsed(value, parameter)))
        return slots[-1]
    before = len(slots)
    entries: list[Any] | dict[str, Any]
    if isinstance(value, Mapping):
        entries = {key: _template(entry, f"{parameter}.{key}", slots) for key, entry in value.items()}
    elif isinstance(value, list):
        entries = [_template(entry, f"{parameter}[{index}]", slots) for index, entry in enumerate(value)]
    else:
        return value
    return Branch(entries) if len(slots) > before else value


def _parsed(source: str, parameter: str) -> Expression:
    try:
        return parse(source)
    except ExpressionSyntaxError as error:
        raise ExpressionError(parameter=parameter, source=source, failure=Failure("SyntaxError", str(error))) from None


def _filled(template: Any, columns: list[list[Any]], row: int) -> Any:
    if isinstance(template, Slot):
        return columns[template.index][row if template.expression.per_item else 0]
    if not isinstance(template, Branch):
        return template
    if isinstance(template.entries, dict):
        return {key: _filled(entry, columns, row) for key, entry in template.entries.items()}
    return [_filled(entry, columns, row) for entry in template.entries]


def _check_nodes(slot: Slot, scope: Scope) -> None:
    for name in sorted(slot.expression.nodes - set(scope.upstream)):
        known = ", ".join(scope.upstream)
        failure = Failure(
            "KeyError",
            f'there is no node "{name}" before this one',
            f"Nodes before this one: {known}." if known else "No node comes before this one.",
        )
        raise ExpressionError(parameter=slot.parameter, source=slot.expression.source, failure=failure)


async def _walk(slot: Slot, items: Sequence[Item], scope: Scope) -> list[Any]:
    """The values of a path, for each item or once."""
    path = slot.expression.path
    assert path is not None
    values: list[Any] = []
    try:
        if slot.expression.per_item:
            async for rows in _turns(len(items)):
                for row in rows:
                    values.append(walk(items[row], path.keys))  # noqa: PERF401 - their number names the item at fault
        else:
            values.append(_walk_once(path, items, scope))
    except (LookupError, TypeError) as error:
        failure = failure_of(error, len(values) if slot.expression.per_item else None)
        raise ExpressionError(parameter=slot.parameter, source=slot.expression.source, failure=failure) from None
    except Failure as failure:
        raise ExpressionError(parameter=slot.parameter, source=slot.expression.source, failure=failure) from None
    return values


def _walk_once(path: Path, items: Sequence[Item], scope: Scope) -> Any:
    if not path.name:
        return path.value
    if path.name == "nodes":
        name = str(path.keys[0])
        try:
            output = scope.nodes(name)
        except KeyError:
            raise _did_not_run(name) from None
        return walk(output, path.keys[1:])
    return walk(_named(path.name, items, scope), path.keys)


def _named(name: str, items: Sequence[Item], scope: Scope) -> Any:
    if name == "items":
        return list(items)
    if name == "now":
        return scope.now
    return dict(getattr(scope, name))


def _did_not_run(name: str) -> Failure:
    return Failure(
        "KeyError", f'the node "{name}" delivered nothing in this run', "It was skipped, or has not run yet."
    )


async def _compute(slots: list[Slot], items: Sequence[Item], scope: Scope) -> dict[int, list[Any]]:
    """The values of expressions, by slot, from one call to the sandbox."""
    program = write_program(tuple(slot.expression for slot in slots))
    data = orjson.dumps(_data([slot.expression for slot in slots], items, scope)).decode()
    try:
        columns = await sandbox.run(program.code, {DATA: data}, now=scope.now, place=PLACE)
    except sandbox.SandboxError as error:
        index, row = error.place or (None, None)
        if error.line is not None and row is None:
            index = program.expression_at(error.line)
        slot = slots[index or 0]
        failure = _failure(error, slot, row if slot.expression.per_item else None, scope)
        raise ExpressionError(parameter=slot.parameter, source=slot.expression.source, failure=failure) from None
    return {slot.index: _loaded(slot, text) for slot, text in zip(slots, columns, strict=True)}


def _data(expressions: Sequence[Expression], items: Sequence[Item], scope: Scope) -> dict[str, Any]:
    """What the expressions mention, and nothing else."""
    names = frozenset().union(*(expression.names for expression in expressions))
    data = {name: _named(name, items, scope) for name in names - {"item", "items", "nodes"}}
    if names & {"item", "items"}:
        data["items"] = items
    if "nodes" in names:
        data["nodes"] = _outputs(frozenset().union(*(expression.nodes for expression in expressions)), scope)
    return data


def _outputs(nodes: frozenset[str], scope: Scope) -> dict[str, Any]:
    outputs = {}
    for name in nodes:
        try:
            outputs[name] = scope.nodes(name)
        except KeyError:
            continue  # an error only if the expression gets as far as reading it
    return outputs


def _failure(error: sandbox.SandboxError, slot: Slot, index: int | None, scope: Scope) -> Failure:
    if error.kind == "KeyError" and error.raised_by.startswith("nodes["):
        for name in slot.expression.nodes:
            if name not in _outputs(slot.expression.nodes, scope) and repr(name) in error.reason:
                failure = _did_not_run(name)
                failure.index = index
                return failure
    return Failure(error.kind, error.reason, index=index)


def _loaded(slot: Slot, text: str) -> list[Any]:
    try:
        values: list[Any] = json.loads(text, parse_int=_integer)
    except OverflowError as error:
        failure = Failure("OverflowError", str(error), "Convert it with str() or float().")
    except RecursionError:
        failure = Failure("RecursionError", "its value is nested too deeply")
    else:
        return values
    raise ExpressionError(parameter=slot.parameter, source=slot.expression.source, failure=failure)


def _integer(text: str) -> int:
    value = int(text)
    if not SMALLEST_INTEGER <= value <= LARGEST_INTEGER:
        raise OverflowError(f"the integer {text[:30]}{'...' if len(text) > 30 else ''} does not fit in 64 bits")
    return value
