"""One attempt at one node: whatever the node does, it ends with its output, a NodeError or a wait. Pure."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable

from executions.engine import messages
from executions.engine.plan import PlanNode
from flows.context import NodeContext, NodeError, Ports, Suspend

logger = logging.getLogger(__name__)

CANCEL_GRACE = 0.2
"""Seconds that a cancelled node gets to clean up; behind them it is left behind."""


async def perform(planned: PlanNode, ctx: NodeContext, cancelled: Callable[[], bool]) -> Ports:
    """Run the node. Raises NodeError for all that can go wrong in it, Suspend when it waits, and CancelledError only
    when `cancelled()` says that the run has cancelled it: a node can cancel its own task, and that is an error like any
    other."""
    timeout = planned.node.settings.timeout
    if timeout is None:
        return await _guarded(planned, ctx, cancelled)
    # A task of its own, not asyncio.timeout(): a node that swallows its cancellation must not hold the run.
    task = asyncio.ensure_future(_guarded(planned, ctx, cancelled))
    try:
        await asyncio.wait({task}, timeout=timeout)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if task.cancelled():
        raise _cancelled_itself()
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


async def _guarded(planned: PlanNode, ctx: NodeContext, cancelled: Callable[[], bool]) -> Ports:
    try:
        return await planned.behaviour.execute(ctx)
    except (NodeError, Suspend):
        raise
    except asyncio.CancelledError as error:
        if cancelled():
            raise
        raise _cancelled_itself() from error
    except BaseException as error:
        message = _message(error)
        _log(planned, ctx, error, message)
        raise NodeError(
            message,
            type=type(error).__name__,
            hint=f"The node type {planned.node.type!r} raised this; the log has the traceback.",
        ) from error


def _cancelled_itself() -> NodeError:
    return NodeError("The node cancelled itself.", type="CancelledError", hint="Let it return or raise instead.")


def _message(error: BaseException) -> str:
    try:
        return messages.text(str(error) or repr(error))
    except Exception:  # noqa: BLE001 - `__str__` is the node's code too
        return f"{type(error).__name__} (its text cannot be read)"


def _log(planned: PlanNode, ctx: NodeContext, error: BaseException, message: str) -> None:
    """The traceback, without the exception's own text, which may be of any length and hold any character."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.warning(
        "execution %s: node %r (%s) raised %s: %r\n%s",
        ctx.scope.execution.get("id"), planned.node.name, planned.node.type, type(error).__name__, message, where,
    )  # fmt: skip


def _forget(task: asyncio.Task[Ports]) -> None:
    if not task.cancelled():
        task.exception()
