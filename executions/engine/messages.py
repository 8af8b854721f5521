"""The `data` of each event, and the JSON of the rows beside it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from executions.engine.plan import PlanNode
from executions.engine.ports import NodeRow
from executions.events import duration_ms, iso
from executions.statuses import NodeStatus, RunStatus
from flows.context import NodeError

Data = dict[str, Any]

MESSAGE_CHARACTERS = 2000
"""What is kept of an error's message."""


def started(flow: Mapping[str, Any], mode: str, at: datetime, nodes: Sequence[tuple[PlanNode, NodeStatus]]) -> Data:
    return {
        "flowId": flow["id"],
        "flowVersion": flow["version"],
        "flowName": flow["name"],
        "mode": mode,
        "startedAt": iso(at),
        "nodes": [
            {"id": planned.node.id, "name": planned.node.name, "type": planned.node.type, "status": status.value}
            for planned, status in nodes
        ],
    }


def node_before(planned: PlanNode, row: NodeRow) -> Data:
    return {
        "nodeId": row.node_id,
        "nodeName": planned.node.name,
        "nodeType": planned.node.type,
        "attempt": row.attempt,
        "startedAt": iso(row.started_at),
    }


def node_after(name: str, row: NodeRow, shown: tuple[bytes, bool] | None, done: int, total: int) -> Data:
    """`shown` is the preview of the output, and whether it was cut."""
    finished = row.finished_at or row.started_at
    return {
        "nodeId": row.node_id,
        "nodeName": name,
        "status": row.status.value,
        "attempt": row.attempt,
        "startedAt": iso(row.started_at),
        "finishedAt": iso(finished),
        "durationMs": duration_ms(row.started_at, finished),
        "itemCounts": _raw(row.item_counts),
        "output": orjson.Fragment(shown[0]) if shown else None,
        "truncated": bool(shown and shown[1]),
        "error": _raw(row.error),
        "willRetryAt": iso(row.retry_at) if row.retry_at else None,
        "progress": {"done": done, "total": total},
    }


def ended(started_at: datetime, at: datetime, done: int, total: int) -> Data:
    return {
        "durationMs": duration_ms(started_at, at),
        "finishedAt": iso(at),
        "progress": {"done": done, "total": total},
    }


def paused(status: RunStatus, reason: str) -> Data:
    return {"reason": reason, "until": None, "status": status.value}


def waiting(status: RunStatus, reason: str, until: datetime | None, planned: PlanNode | None, attempt: int = 0) -> Data:
    """A node waits, or (`planned` None) nothing is left to the run but to wait. `status` is the run's behind it."""
    end = iso(until) if until else None
    return {**_waiter(planned, attempt), "reason": text(reason), "until": end, "status": status.value}


def resumed(
    status: RunStatus, reason: str, planned: PlanNode | None = None, attempt: int = 0, command: int | None = None
) -> Data:
    """The run goes on, or (`planned` given) a node of it. `command` is the id of the signal that ended the wait."""
    waiter = _waiter(planned, attempt)
    return {**waiter, "reason": reason, "until": None, "status": status.value, "command": command}


def _waiter(planned: PlanNode | None, attempt: int) -> Data:
    if planned is None:
        return {"nodeId": None, "nodeName": None, "attempt": None}
    return {"nodeId": planned.node.id, "nodeName": planned.node.name, "attempt": attempt}


def error_json(error: NodeError) -> Data:
    return {"type": error.type, "message": text(error.message), "hint": text(error.hint)}


def text(value: object) -> str:
    """Any value as text that JSON can hold, cut to a length that is still read."""
    return str(value)[:MESSAGE_CHARACTERS].encode("utf-8", "replace").decode()


def _raw(text: bytes | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)
