"""Node types that decide whether, when and where a run goes on."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from django import forms

from flows.conf import park_after
from flows.context import Items, NodeContext, NodeError, Ports, Suspend
from flows.node_types import NodeType, register
from flows.param_fields import ConditionField, LongTextField, NumberField

LONGEST_DELAY = 366 * 24 * 3600
"""Seconds; what is longer is a mistake more often than a plan."""

PROGRESS_FROM = 10.0
"""Seconds; a shorter delay is over before its progress tells anyone anything."""

PROGRESS_INTERVAL = 1.0


@register
class Manual(NodeType):
    """Starts a run by hand or from the API; delivers the run's input as one item."""

    name = "manual"
    label = "Manual start"
    group = "Start"
    icon = "play"
    pure = True
    trigger = True

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        return items


@register
class Delay(NodeType):
    """Waits for some seconds, then passes its items on unchanged. A long delay holds no worker and survives restarts;
    who resumes the node ends it early."""

    name = "delay"
    label = "Delay"
    group = "Flow"
    icon = "clock"
    pure = True
    summary = "seconds"

    class Params(forms.Form):
        seconds = NumberField(
            min_value=0, max_value=LONGEST_DELAY, initial=1, help_text="How long to wait; the first item decides."
        )

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        if ctx.resumption is not None:
            return items
        seconds: float = ctx.params["seconds"]
        if seconds > park_after():
            raise Suspend(until=ctx.started_at + timedelta(seconds=seconds), reason=f"delay of {seconds:g} s")
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if seconds >= PROGRESS_FROM:
                elapsed = seconds - left
                await ctx.progress(elapsed / seconds, f"{elapsed:.0f} of {seconds:g} s")
            await asyncio.sleep(min(left, PROGRESS_INTERVAL))
        return items


@register
class If(NodeType):
    """Sends each item to the port true or false. A port that no item goes to leaves its branch skipped."""

    name = "if"
    label = "If"
    group = "Flow"
    icon = "branch"
    pure = True
    outputs = ("true", "false")
    summary = "condition"

    class Params(forms.Form):
        condition = ConditionField(help_text='An expression, evaluated for each item: =item["age"] >= 18')

    async def run(self, ctx: NodeContext, items: Items) -> Ports:
        ports: Ports = {}
        for item, params in zip(items, await ctx.params_for(), strict=True):
            ports.setdefault("true" if params["condition"] else "false", []).append(item)
        return ports


@register
class NoOperation(NodeType):
    """Passes its items on unchanged."""

    name = "noop"
    label = "No operation"
    group = "Flow"
    icon = "arrow"
    pure = True

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        return items


@register
class Fail(NodeType):
    """Ends the run with an error of your own words."""

    name = "fail"
    label = "Fail"
    group = "Flow"
    icon = "stop"
    pure = True
    outputs = ()
    summary = "message"

    class Params(forms.Form):
        message = LongTextField(max_length=2000, initial="This flow was told to fail here.")

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        raise NodeError(
            ctx.params["message"], hint=f"The node “{ctx.node.name}” fails whenever it is reached.", type="Failed"
        )
