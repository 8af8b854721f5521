"""The events of a run: their types, and how a run's state follows from them. Pure."""

from __future__ import annotations

from enum import StrEnum


class EventType(StrEnum):
    EXECUTION_STARTED = "executionStarted"
    NODE_BEFORE = "nodeExecutionBefore"
    NODE_PROGRESS = "nodeExecutionProgress"
    NODE_AFTER = "nodeExecutionAfter"
    EXECUTION_PAUSED = "executionPaused"
    EXECUTION_RESUMED = "executionResumed"
    EXECUTION_WAITING = "executionWaiting"
    EXECUTION_FINISHED = "executionFinished"
    EXECUTION_ERROR = "executionError"


LAST_EVENTS = frozenset({EventType.EXECUTION_FINISHED, EventType.EXECUTION_ERROR})
"""Every run has exactly one of these, and nothing behind it."""
