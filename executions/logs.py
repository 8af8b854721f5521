"""The lines that every run leaves in the log: one when a worker takes it, one when it leaves the worker."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from executions.claims import Claim
from executions.statuses import RunStatus

logger = logging.getLogger("executions.runs")


def log_start(held: Claim) -> None:
    flow = held.head.flow
    verb = "started" if held.head.seq == 0 else "taken up again"
    logger.info(
        "execution %s %s: flow %s %r version %s, %s, epoch %s",
        held.execution_id, verb, flow["id"], flow["name"], flow["version"], held.head.mode, held.epoch,
    )  # fmt: skip


def log_end(held: Claim, status: RunStatus, seconds: float, failure: Mapping[str, Any] | None) -> None:
    if failure is not None:
        logger.warning(
            "execution %s failed after %.3f s: node %r, %s: %r",
            held.execution_id, seconds, failure["nodeName"], failure["type"], failure["message"],
        )  # fmt: skip
    else:
        logger.info("execution %s left as %s after %.3f s", held.execution_id, status.value, seconds)
