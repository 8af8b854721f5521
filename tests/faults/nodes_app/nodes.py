"""Node types that leave traces, compute, fail for a while, and kill the process that runs them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal

import orjson
from django import forms

from flows.context import Items, NodeContext, NodeError
from flows.node_types import NodeType, register
from tests.faults.nodes_app import effects


def digest(node_id: str, items: Items) -> Items:
    """One item that depends on all that came in and on the node: an output that tells whether anything was lost."""
    text = node_id.encode() + orjson.dumps(items, option=orjson.OPT_SORT_KEYS)
    return [{"value": int.from_bytes(hashlib.sha256(text).digest()[:5])}]


@register
class Effect(NodeType):
    """Leaves a trace when it begins and when it ends; fails at its first `failures` attempts."""

    name = "faults.effect"

    class Params(forms.Form):
        seconds = forms.FloatField(min_value=0)
        failures = forms.IntegerField(min_value=0)

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        trace = await effects.begin(ctx.scope.execution["id"], ctx.node.id, ctx.attempt, ctx.idempotency_key)
        await asyncio.sleep(ctx.params["seconds"])
        await effects.finish(trace)
        if ctx.attempt <= ctx.params["failures"]:
            raise NodeError(f"Attempt {ctx.attempt} fails.", type="Planned")
        return digest(ctx.node.id, items)


@register
class Compute(NodeType):
    """Computes, and tells how far it is."""

    name = "faults.compute"
    pure = True

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        await ctx.progress(0.5, "half of it", "text ")
        return digest(ctx.node.id, items)


@register
class KillWorker(NodeType):
    """Kills the process that runs it."""

    name = "faults.kill_worker"

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        await effects.begin(ctx.scope.execution["id"], ctx.node.id, ctx.attempt, ctx.idempotency_key)
        os.kill(os.getpid(), signal.SIGKILL)
        return items
