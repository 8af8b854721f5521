"""Node types: the base class, and the registry that `nodes.py` modules fill as `admin.py` modules fill the admin's."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar, overload

from django import forms
from django.apps import apps

from flows.context import Items, NodeContext, NodeError, Ports
from flows.graph import ERROR_PORT, MAIN
from flows.parameters import check_params, fill_params
from flows.validation import NodeDescription

PORT_NAME = re.compile(r"[a-z][a-z0-9_]{0,29}")


class NodeType:
    """What a node of one type does. Subclass it in the `nodes.py` of an app, with `@register`.

        @register
        class Shout(NodeType):
            \"\"\"Upper-case a field of each item.\"\"\"
            label = "Shout"
            pure = True

            class Params(forms.Form):
                field = forms.CharField()

            async def run(self, ctx, items):
                return [{**item, params["field"]: str(item[params["field"]]).upper()}
                        for item, params in zip(items, await ctx.params_for())]

    `run` gets the items of the first input port (`ctx.inputs` has all ports) and returns a list of JSON objects for
    the port `main`, or a dict of such lists by port; a port left out delivers nothing. Raise `NodeError` to say what is
    wrong. The docstring is the help in the palette. `pure` says: no side effect, and the same output for the same
    input; a node that is not pure starts only when all that it depends on is committed. Each attempt gets an instance
    of its own.

    Of the form `Params`, a save checks everything; a run cleans each resolved value with its field alone, so put checks
    and conversions into fields and their validators: `clean` and `clean_<field>` of the form are not called then.
    `ctx.params_for()` may give the same dict for every item: read from it, do not write to it.
    """

    name: ClassVar[str] = ""
    """The type's name in a graph; None given: `<app label>.<class name in snake case>`."""
    label: ClassVar[str] = ""
    group: ClassVar[str] = "Other"
    icon: ClassVar[str] = "box"
    pure: ClassVar[bool] = False
    inputs: ClassVar[Sequence[str]] = (MAIN,)
    outputs: ClassVar[Sequence[str]] = (MAIN,)
    trigger: ClassVar[bool] = False
    """A trigger starts a run: it has no input port and receives the run's input as its one item."""
    resumable: ClassVar[bool] = False
    """A node that suspends until someone outside resumes it, and for which there is a resume link."""
    summary: ClassVar[str] = ""
    """The parameter shown on the card, by name."""

    class Params(forms.Form):
        pass

    async def run(self, ctx: NodeContext, items: Items) -> Items | Ports:
        raise NotImplementedError

    @classmethod
    def help_text(cls) -> str:
        """The help in the palette: the type's docstring, not one it inherits."""
        return inspect.cleandoc(cls.__dict__.get("__doc__") or "")


AnyNodeType = type[NodeType]
NodeTypeClass = TypeVar("NodeTypeClass", bound=AnyNodeType)


class NodeTypeError(Exception):
    """A node type cannot be registered as it is written."""


class Registry(Mapping[str, AnyNodeType]):
    """Node types by name; iteration is in the order of names. It is the catalog that validation asks."""

    def __init__(self) -> None:
        self._types: dict[str, AnyNodeType] = {}
        self._descriptions: dict[str, NodeDescription] = {}

    def __getitem__(self, name: str) -> AnyNodeType:
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self._types)

    def names(self) -> list[str]:
        return sorted(self._types)

    def describe(self, type_name: str) -> NodeDescription | None:
        """What validation must know of a type; None for one that is not registered."""
        return self._descriptions.get(type_name)

    def register(self, node_type: AnyNodeType, *, name: str = "") -> None:
        """Add a node type; sets its `name`, `label` and ports where they follow from the rest. Raises NodeTypeError."""
        node_type.name = _full_name(node_type, name or node_type.__dict__.get("name", ""))
        node_type.label = node_type.__dict__.get("label") or _words(node_type.__name__)
        if node_type.trigger:
            node_type.inputs = ()
        _check_node_type(node_type)
        if node_type.name in self._types:
            other = self._types[node_type.name]
            raise NodeTypeError(
                f"The node type name {node_type.name!r} of {node_type.__module__}.{node_type.__qualname__} is taken by "
                f"{other.__module__}.{other.__qualname__}. Give one of them another `name`."
            )
        self._types[node_type.name] = node_type
        self._descriptions[node_type.name] = NodeDescription(
            inputs=tuple(node_type.inputs),
            outputs=tuple(node_type.outputs),
            trigger=node_type.trigger,
            check_params=lambda params: check_params(node_type.Params, params),
        )

    def unregister(self, name: str) -> None:
        """Forget a node type, for tests. Raises KeyError."""
        del self._types[name]
        del self._descriptions[name]


registry = Registry()


@overload
def register(node_type: NodeTypeClass, /) -> NodeTypeClass: ...
@overload
def register(*, name: str) -> Callable[[NodeTypeClass], NodeTypeClass]: ...
def register(node_type: Any = None, /, *, name: str = "") -> Any:
    """Class decorator: add a node type to the registry. Raises NodeTypeError."""

    def decorate(node_type: NodeTypeClass) -> NodeTypeClass:
        registry.register(node_type, name=name)
        return node_type

    return decorate if node_type is None else decorate(node_type)


async def execute(node_type: AnyNodeType, ctx: NodeContext) -> Ports:
    """One attempt at a node: its parameters resolved and cleaned, `run` called, its result checked. Items by port.

    Raises NodeError for a parameter without a valid value and for a result of the wrong shape; and what `run` raises.
    """
    items = ctx.inputs.get(node_type.inputs[0] if node_type.inputs else MAIN, [])
    await fill_params(node_type.Params, ctx, items)
    return _ports(node_type, await node_type().run(ctx, items))


def _ports(node_type: AnyNodeType, result: object) -> Ports:
    """What `run` returned as items by port. Raises NodeError."""
    if isinstance(result, list):
        result = {MAIN: result}
    elif not isinstance(result, dict):
        raise _wrong_result(f"returned {_kind(result)} and not a list of items, or a dict of such lists by port")
    for port, items in result.items():
        if port not in node_type.outputs:
            raise _wrong_result(f"has no output port {port!r}, only {', '.join(node_type.outputs) or 'none'}")
        if not isinstance(items, list):
            raise _wrong_result(f"returned {_kind(items)} and not a list of items at the port {port!r}")
        for index, item in enumerate(items):
            if not isinstance(item, dict):
                raise _wrong_result(f"returned {_kind(item)}, not a JSON object, as item {index} of the port {port!r}")
    return result


def _wrong_result(what: str) -> NodeError:
    return NodeError(
        f"The node type {what}.", hint="Return a list of dicts from `run` of the node type.", type="WrongResult"
    )


def _kind(value: object) -> str:
    return "nothing (None)" if value is None else f"a value of the type {type(value).__name__}"


def _full_name(node_type: AnyNodeType, name: str) -> str:
    """`<app label>.<name>`, without the label for the types that come with `flows`, and where it is there already."""
    name = name or _words(node_type.__name__).lower().replace(" ", "_")
    app = apps.get_containing_app_config(node_type.__module__) if apps.apps_ready else None
    return name if app is None or app.name == "flows" or "." in name else f"{app.label}.{name}"


def _words(class_name: str) -> str:
    """`ReadCSVFile` as "Read csv file"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", class_name).capitalize()


def _check_node_type(node_type: AnyNodeType) -> None:
    who = f"Node type {node_type.__module__}.{node_type.__qualname__}"
    if not issubclass(node_type.Params, forms.Form):
        raise NodeTypeError(f"{who}: `Params` must be a Django Form.")
    if not inspect.iscoroutinefunction(node_type.run):
        raise NodeTypeError(f"{who}: write its `run` with `async def`.")
    for ports in (node_type.inputs, node_type.outputs):
        if isinstance(ports, str) or len(set(ports)) != len(ports):
            raise NodeTypeError(f"{who}: ports must be a tuple of names, each once; it has {ports!r}.")
        for port in ports:
            if not PORT_NAME.fullmatch(port):
                raise NodeTypeError(f"{who}: the port name {port!r} is not of the form {PORT_NAME.pattern}.")
    if ERROR_PORT in node_type.outputs:
        raise NodeTypeError(f"{who}: the output port {ERROR_PORT!r} is kept for nodes whose on_error is error_output.")
