"""A node's parameters: checked by its type's form when a flow is saved, resolved and cleaned when the node runs."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError

from flows.context import Item, NodeContext, NodeError, Scope
from flows.expressions import check, has_expressions, is_expression, resolve
from flows.expressions.syntax import parse
from flows.graph import Node

ParamsForm = type[forms.Form]
Values = dict[str, Any]

IMMUTABLE = (str, int, float, bool, type(None))
REMEMBERED_NODES = 4096


def check_params(form_class: ParamsForm, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a node's parameters as they are saved: (field, message) pairs, field "" for the whole form.

    Literal values are cleaned by their fields, just as at run time; of an expression only the syntax can be checked.
    The form's own `clean` may need all values, so it is asked when all are literal and sound.
    """
    fields = form_class.base_fields
    problems = [(name, f"There is no parameter {name!r}.") for name in params if name not in fields]
    values = with_defaults(form_class, params)
    dynamic = [name for name, value in values.items() if has_expressions(value)]
    for name, value in values.items():
        messages = _syntax_problems(value) if name in dynamic else _problems(fields[name], value)
        problems += [(name, message) for message in messages]
    return problems if problems or dynamic else _form_problems(form_class, values)


def with_defaults(form_class: ParamsForm, params: Mapping[str, Any]) -> Values:
    """The parameters that the form has a field for; one that is left out is its field's `initial`."""
    return {name: params[name] if name in params else _initial(field) for name, field in form_class.base_fields.items()}


async def fill_params(form_class: ParamsForm, ctx: NodeContext, items: Sequence[Item]) -> None:
    """Set `params` and `params_for` of a node's context. Raises NodeError for a parameter without a valid value."""
    prepared = _prepare(form_class, ctx.node)
    static = prepared.fresh()
    if not prepared.dynamic:
        ctx.params, ctx.params_for = static, _Repeated(static, len(items))
    elif items:
        # All items in one call, also for a node that reads the first one's alone: a second call would cost more.
        per_item = _PerItem(prepared, static, await resolve(prepared.dynamic, items, ctx.scope))
        ctx.params, ctx.params_for = per_item.first(), per_item
    else:
        ctx.params, ctx.params_for = await _without_items(prepared, static, ctx.scope), _Repeated({}, 0)


async def _without_items(prepared: _Prepared, static: Values, scope: Scope) -> Values:
    """The parameters of a node that no item reaches: a dict that raises when it is read, where they need one."""
    if any(_reads_items(value) for value in prepared.dynamic.values()):
        return _Unresolved(NodeError("No item reached the node, and its parameters are computed from items."))
    # One empty item stands for none; no expression looks at it.
    return prepared.combined(static, (await resolve(prepared.dynamic, [{}], scope))[0])


class _Prepared:
    """The parameters of one node, as far as they are the same for every run.

    `static` are the cleaned ones without an expression, `dynamic` the raw ones with.
    """

    __slots__ = ("dynamic", "fields", "node", "shareable", "static")

    def __init__(self, form_class: ParamsForm, node: Node) -> None:
        self.node = node
        self.fields = form_class.base_fields
        values = with_defaults(form_class, node.params)
        self.dynamic = {name: value for name, value in values.items() if has_expressions(value)}
        self.static = {
            name: clean_value(name, self.fields[name], value)
            for name, value in values.items()
            if name not in self.dynamic
        }
        self.shareable = all(isinstance(value, IMMUTABLE) for value in self.static.values())

    def fresh(self) -> Values:
        """The static parameters, for one attempt: what it changes in them no other one sees."""
        return dict(self.static) if self.shareable else copy.deepcopy(self.static)

    def combined(self, static: Values, resolved: Mapping[str, Any]) -> Values:
        """All parameters of one item, cleaned, in the order of the form. Raises NodeError."""
        return {
            name: static[name] if name in static else clean_value(name, field, _resolved(field, resolved[name]))
            for name, field in self.fields.items()
        }


class _Repeated:
    """`params_for` of a node without expressions."""

    __slots__ = ("count", "params")

    def __init__(self, params: Values, count: int) -> None:
        self.params = params
        self.count = count

    async def __call__(self) -> list[Values]:
        return [self.params] * self.count


class _PerItem:
    """`params_for` of a node with expressions: the first item's are cleaned at once, the others when asked for."""

    __slots__ = ("_cleaned", "_prepared", "_resolved", "_static")

    def __init__(self, prepared: _Prepared, static: Values, resolved: list[dict[str, Any]]) -> None:
        self._prepared = prepared
        self._static = static
        self._resolved = resolved
        self._cleaned: list[Values] = []

    def first(self) -> Values:
        self._clean(1)
        return self._cleaned[0]

    async def __call__(self) -> list[Values]:
        self._clean(len(self._resolved))
        return self._cleaned

    def _clean(self, count: int) -> None:
        for resolved in self._resolved[len(self._cleaned) : count]:
            self._cleaned.append(self._prepared.combined(self._static, resolved))


class _Unresolved(dict[str, Any]):
    """Parameters that have no value because there is no item; a node that has nothing to do need not fail on them."""

    def __init__(self, error: NodeError) -> None:
        super().__init__()
        self._error = error

    def __missing__(self, key: str) -> NoReturn:
        raise self._error

    def get(self, key: str, default: Any = None) -> NoReturn:
        raise self._error


# A node is cleaned once however often it runs. Held by identity, which costs less than a look at its parameters; the
# entry holds the node itself, so that its id cannot become another one's.
_remembered: OrderedDict[tuple[int, int], _Prepared] = OrderedDict()


def _prepare(form_class: ParamsForm, node: Node) -> _Prepared:
    key = (id(node), id(form_class))
    prepared = _remembered.get(key)
    if prepared is None:
        _remembered[key] = prepared = _Prepared(form_class, node)
        if len(_remembered) > REMEMBERED_NODES:
            _remembered.popitem(last=False)
    return prepared


def clean_value(name: str, field: forms.Field, value: Any) -> Any:
    """A parameter's value as its field cleans it. Raises NodeError, which names the parameter."""
    try:
        return _clean(field, value)
    except ValidationError as error:
        raise NodeError(
            f"Parameter {name!r} ({_shown(value)}): {' '.join(error.messages)}",
            hint="Change the parameter, or the expression that gives its value.",
            type="BadParameter",
        ) from error


def _problems(field: forms.Field, value: Any) -> list[str]:
    """What is wrong with a value, in the words of the field."""
    try:
        _clean(field, value)
    except ValidationError as error:
        return list(error.messages)
    return []


def _clean(field: forms.Field, value: Any) -> Any:
    is_text = isinstance(field, forms.CharField) and not isinstance(field, forms.JSONField)
    if is_text and isinstance(value, list | dict):
        # Django's field would take their Python source for the text.
        raise ValidationError("Enter text, not a list or an object.")
    return field.clean(value)


def _form_problems(form_class: ParamsForm, values: Values) -> list[tuple[str, str]]:
    errors = form_class(data=values).errors
    return [
        ("" if name == NON_FIELD_ERRORS else name, str(message))
        for name, messages in errors.items()
        for message in messages
    ]


def _syntax_problems(value: Any) -> list[str]:
    """What is wrong with the expressions in a value, however deep; the graph's own limit bounds the depth."""
    if isinstance(value, Mapping):
        return [message for inner in value.values() for message in _syntax_problems(inner)]
    if isinstance(value, list):
        return [message for inner in value for message in _syntax_problems(inner)]
    message = check(value) if is_expression(value) else None
    return [f"{_shown(value)} is not an expression: {message}"] if message else []


def _reads_items(value: Any) -> bool:
    """Whether a well-formed expression in a value mentions `item` or `items`."""
    if isinstance(value, Mapping):
        return any(_reads_items(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_reads_items(inner) for inner in value)
    return is_expression(value) and check(value) is None and not parse(value).names.isdisjoint({"item", "items"})


def _initial(field: forms.Field) -> Any:
    return field.initial() if callable(field.initial) else field.initial


def _resolved(field: forms.Field, value: Any) -> Any:
    """What an expression gave, marked so that a JSON field takes text for the text it is and does not parse it."""
    return forms.fields.JSONString(value) if isinstance(field, forms.JSONField) and type(value) is str else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "..."
