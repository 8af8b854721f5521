"""The node type that reports its progress again and again."""

from __future__ import annotations

from django import forms

from flows.context import Items, NodeContext
from flows.node_types import NodeType, register


@register
class Flood(NodeType):
    """Reports its progress `reports` times: as many events, where the interval between two of them is 0."""

    name = "flood"

    class Params(forms.Form):
        reports = forms.IntegerField(min_value=1)

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        reports: int = ctx.params["reports"]
        for number in range(reports):
            await ctx.progress(number / reports, f"report {number} of {reports}")
        return items
