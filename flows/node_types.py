"""Node types: the base class, and the registry that `nodes.py` modules fill as `admin.py` modules fill the admin's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from django import forms

from flows.context import Items, NodeContext, Ports
from flows.graph import MAIN


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

    `run` gets the items of the first input port (`ctx.inputs` has all ports) and returns a list of JSON objects for the
    port `main`, or a dict of such lists by port; a port left out delivers nothing. Raise `NodeError` to say what is wrong.
    The docstring is the help in the palette. `pure` says: no side effect, and the same output for the same input; a node
    that is not pure starts only when all that it depends on is committed.
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
    summary: ClassVar[str] = ""
    """The parameter shown on the card, by name."""

    class Params(forms.Form):
        pass

    async def run(self, ctx: NodeContext, items: Items) -> Items | Ports:
        raise NotImplementedError
