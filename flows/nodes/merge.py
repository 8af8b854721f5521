"""The node type that joins two branches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any

from django import forms

from flows.context import Item, Items, NodeContext, NodeError
from flows.node_types import NodeType, register
from flows.nodes.keys import field_value, key_of
from flows.param_fields import BooleanField, ChoiceField, TextField

ONE, TWO = "one", "two"


@register
class Merge(NodeType):
    """Joins two branches: the items of both one after the other, or combined in pairs. Of equal fields, two's stays."""

    name = "merge"
    label = "Merge"
    group = "Flow"
    icon = "merge"
    pure = True
    inputs = (ONE, TWO)
    summary = "mode"

    class Params(forms.Form):
        mode = ChoiceField(
            choices=[
                ("append", "Append: all of one, then all of two"),
                ("position", "Combine by position: first with first"),
                ("key", "Combine by key: where a field is equal"),
            ],
            initial="append",
        )
        key = TextField(required=False, label="Key field", help_text="For combining by key: the field both sides have.")
        keep_unmatched = BooleanField(initial=True, help_text="When combining, keep items without a partner.")

        def clean(self) -> dict[str, Any]:
            values: dict[str, Any] = super().clean() or {}
            if values.get("mode") == "key" and not values.get("key"):
                self.add_error("key", "Combining by key needs the name of a field.")
            return values

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        one, two = ctx.inputs.get(ONE, []), ctx.inputs.get(TWO, [])
        keep: bool = ctx.params["keep_unmatched"]
        if ctx.params["mode"] == "append":
            return [*one, *two]
        if ctx.params["mode"] == "position":
            pairs: Iterable[tuple[Item, Item]] = zip(one, two, strict=False)
            if keep:
                pairs = zip_longest(one, two, fillvalue={})
            return [{**left, **right} for left, right in pairs]
        if not ctx.params["key"]:
            raise NodeError("Combining by key needs the name of a field.", hint="Fill in the parameter “Key field”.")
        return combined_by_key(one, two, ctx.params["key"], keep)


def combined_by_key(one: Items, two: Items, field: str, keep_unmatched: bool) -> Items:
    """Each item of `one` with each of `two` whose `field` is equal, in the order of `one`; null matches nothing.

    `keep_unmatched` keeps those without a partner: of `one` in their places, of `two` at the end. Raises NodeError for
    an item without the field.
    """
    partners: dict[bytes, list[int]] = defaultdict(list)
    for index, item in enumerate(two):
        value = field_value(item, field, index, TWO)
        if value is not None:
            partners[key_of([value])].append(index)
    result: Items = []
    matched: set[int] = set()
    for index, item in enumerate(one):
        value = field_value(item, field, index, ONE)
        found = partners.get(key_of([value]), []) if value is not None else []
        matched.update(found)
        result += [{**item, **two[partner]} for partner in found]
        if not found and keep_unmatched:
            result.append(item)
    if keep_unmatched:
        result += [item for index, item in enumerate(two) if index not in matched]
    return result
