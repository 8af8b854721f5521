"""Nodes that do next to nothing, so that what is measured is what runs them."""

from __future__ import annotations

import asyncio
import time

from django import forms

from flows.context import Items, NodeContext
from flows.node_types import NodeType, register


@register(name="bench.pure")
class Pure(NodeType):
    """Passes its items on."""

    pure = True

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        return items


@register(name="bench.effect")
class Effect(NodeType):
    """Passes its items on, and counts as having an effect: it waits for the commit of what it depends on."""

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        return items


@register(name="bench.ticker")
class Ticker(NodeType):
    """Reports the time of day at a steady rate; with WATAOMI_PROGRESS_INTERVAL=0 each report is an event."""

    pure = True

    class Params(forms.Form):
        rate = forms.FloatField()
        count = forms.IntegerField()

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        rate, count = ctx.params["rate"], ctx.params["count"]
        began = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await ctx.progress(fraction=number / count, text=f"{time.time():.6f}\n")
        return items
