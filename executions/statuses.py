"""The statuses of a run and of a node: the one definition that models, events, CSS and docs use."""

from enum import StrEnum


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    WAITING = "waiting"
    SUCCESS = "success"
    ERROR = "error"
    CANCELED = "canceled"


class NodeStatus(StrEnum):
    IDLE = "idle"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCESS = "success"
    ERROR = "error"
    SKIPPED = "skipped"
    CANCELED = "canceled"


RUN_ENDED = frozenset({RunStatus.SUCCESS, RunStatus.ERROR, RunStatus.CANCELED})
"""A run in one of these never changes again."""

RUN_NEEDS_WORKER = frozenset({RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.PAUSING})
"""A run in one of these is to be brought to a worker, if nobody holds it."""

NODE_SETTLED = frozenset({NodeStatus.SUCCESS, NodeStatus.ERROR, NodeStatus.SKIPPED, NodeStatus.CANCELED})
"""A node in one of these (and with no retry to come) never changes again."""
