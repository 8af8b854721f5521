"""One attempt at one node: whatever the node does, it ends with its output or with a NodeError. Pure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from executions.engine.plan import PlanNode
from flows.context import NodeContext, NodeError, Ports

logger = logging.getLogger(__name__)

CANCEL_GRACE = 0.2
"""Seconds that a cancelled node gets to clean up; behind them it is left behind."""


async def perform(planned: PlanNode, ctx: NodeContext) -> Ports:
    """Run the node. Raises NodeError for all that can go wrong in it, CancelledError only when the run cancels it."""
    timeout = planned.node.settings.timeout
    if timeout is None:
        return await _guarded(planned, ctx)
    # A task of its own, not asyncio.timeout(): a node that swallows its cancellation must not hold the run.
    task = asyncio.ensure_future(_guarded(planned, ctx))
    try:
        await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait({task}, timeout=CANCEL_GRACE)
    task.add_done_callback(_forget)
    raise NodeError(
        f"The node took longer than its time-out of {timeout:g} s.",
        type="NodeTimeout",
        hint="Raise the time-out in the node's settings, or give it less to do.",
    )


async def _guarded(planned: PlanNode, ctx: NodeContext) -> Ports:
    try:
        return await _contained(planned.behaviour.execute(ctx))
    except NodeError:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise NodeError("The node cancelled itself.", type="CancelledError") from error
    except Exception as error:  # a node may raise anything
        logger.warning("node %s (%s) raised", planned.node.name, planned.node.type, exc_info=True)
        raise NodeError(
            str(error) or repr(error),
            type=type(error).__name__,
            hint=f"The node type {planned.node.type!r} raised this; the log has the traceback.",
        ) from error


async def _contained(work: Awaitable[Ports]) -> Ports:
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        # asyncio lets these two through and they would stop the loop that all runs share.
        raise NodeError(f"The node raised {type(error).__name__}.", type=type(error).__name__) from error


def _forget(task: asyncio.Task[Ports]) -> None:
    if not task.cancelled():
        task.exception()
