"""Node types that talk, print, log, fail for a while, fill a pipe, and hold a thread or the loop they run on."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from pathlib import Path

from flows.context import Items, NodeContext, NodeError
from flows.node_types import NodeType, register

logger = logging.getLogger("executions.runs")


@register
class Talk(NodeType):
    """Says how far it is and what it thinks; ends when the file that TALK_UNTIL names is there, if it names one."""

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        await ctx.progress(0.4, "thinking", "Once upon a time\nthere was a \x1b[31mflow")
        # As a careless node type does it.
        sys.stdout.write("printed by a node\n")
        logger.info("logged by a node")
        until = os.environ.get("TALK_UNTIL")
        while until and not Path(until).exists():
            await asyncio.sleep(0.02)
        return items


@register
class Moody(NodeType):
    """Fails at its first attempt."""

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        if ctx.attempt == 1:
            raise NodeError("Not in the mood.", hint="Ask again.", type="Mood")
        return items


@register
class Flood(NodeType):
    """Says far more than a pipe holds."""

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        for number in range(400):
            await ctx.progress(number / 400, "", "x" * 4000)
        await asyncio.sleep(60)
        return items


@register
class Stuck(NodeType):
    """Blocks the loop, which no node should."""

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        time.sleep(60)
        return items


@register
class Threaded(NodeType):
    """Works in a thread, which goes on when the node is cancelled."""

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        await asyncio.to_thread(time.sleep, 60)
        return items
