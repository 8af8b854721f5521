"""The events of a run: their types, and how a run's state follows from them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from executions.statuses import NodeStatus, RunStatus

PROGRESS_TEXT_KEPT = 8192
"""Characters of a node's streamed text that its state keeps: the last ones."""


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

State = dict[str, Any]
"""A run and its nodes at one moment; the same shape in the page's JavaScript. See `empty_state`."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a run; `seq` counts from 1 without a gap."""

    seq: int
    type: str
    data: Mapping[str, Any]

    @property
    def is_last(self) -> bool:
        return self.type in LAST_EVENTS


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds, e.g. `2026-11-22T16:00:00.123456Z`."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def duration_ms(started: datetime, finished: datetime) -> int:
    """Whole milliseconds from one to the other; 0 when the clock went back between them."""
    return max(0, round((finished - started).total_seconds() * 1000))


def node_state(status: str = NodeStatus.IDLE, **known: Any) -> State:
    """The state of one node; what is not given is as in a node that has not run."""
    return {
        "status": str(status),
        "attempt": 0,
        "startedAt": None,
        "finishedAt": None,
        "durationMs": None,
        "itemCounts": None,
        "error": None,
        "willRetryAt": None,
        "waitUntil": None,
        "progress": None,
        **known,
    }


def empty_state(execution_id: str, node_ids: Iterable[str]) -> State:
    """The state of a run before its first event."""
    nodes = {node_id: node_state() for node_id in node_ids}
    return {
        "executionId": execution_id,
        "seq": 0,
        "status": str(RunStatus.QUEUED),
        "startedAt": None,
        "finishedAt": None,
        "durationMs": None,
        "error": None,
        "progress": {"done": 0, "total": len(nodes)},
        "nodes": nodes,
    }


def fold(state: State, event: Event) -> State:
    """The state after `event`; an event it has seen already changes nothing. `state` itself is left as it was."""
    if event.seq <= state["seq"]:
        return state
    changed = {**state, "seq": event.seq}
    _FOLDS[EventType(event.type)](changed, event.data)
    return changed


def _started(state: State, data: Mapping[str, Any]) -> None:
    listed = {node["id"]: node["status"] for node in data["nodes"]}
    state["status"] = str(RunStatus.RUNNING)
    state["startedAt"] = data["startedAt"]
    # A node reused from the run that this one retries is settled already, and the state may know what it did.
    known = state["nodes"]
    state["nodes"] = {
        node_id: {**known.get(node_id, node_state()), "status": status} for node_id, status in listed.items()
    }
    done = sum(status != NodeStatus.IDLE for status in listed.values())
    state["progress"] = {"done": done, "total": len(listed)}


def _node_before(state: State, data: Mapping[str, Any]) -> None:
    running = node_state(NodeStatus.RUNNING, attempt=data["attempt"], startedAt=data["startedAt"])
    state["nodes"] = {**state["nodes"], data["nodeId"]: running}


def _node_progress(state: State, data: Mapping[str, Any]) -> None:
    node = state["nodes"][data["nodeId"]]
    progress = merge_progress(node["progress"], data)
    state["nodes"] = {**state["nodes"], data["nodeId"]: {**node, "progress": progress}}


def merge_progress(before: Mapping[str, Any] | None, news: Mapping[str, Any]) -> dict[str, Any]:
    """A node's progress after `news`: its fraction and message replaced, its text appended."""
    text = (before["text"] if before else "") + news["text"]
    return {"fraction": news["fraction"], "message": news["message"], "text": text[-PROGRESS_TEXT_KEPT:]}


def _node_after(state: State, data: Mapping[str, Any]) -> None:
    kept = ("attempt", "startedAt", "finishedAt", "durationMs", "itemCounts", "error", "willRetryAt")
    status = NodeStatus.WAITING if data["willRetryAt"] else data["status"]
    after = node_state(status, **{key: data[key] for key in kept})
    state["nodes"] = {**state["nodes"], data["nodeId"]: after}
    state["progress"] = data["progress"]


def _paused(state: State, data: Mapping[str, Any]) -> None:
    state["status"] = data["status"]


def _resumed(state: State, data: Mapping[str, Any]) -> None:
    state["status"] = data.get("status", str(RunStatus.RUNNING))  # runs of earlier versions say nothing else
    if data.get("nodeId") is not None:
        _waiter(state, data["nodeId"], status=str(NodeStatus.QUEUED), waitUntil=None)


def _waiting(state: State, data: Mapping[str, Any]) -> None:
    state["status"] = data["status"]
    if data["nodeId"] is not None:
        _waiter(state, data["nodeId"], status=str(NodeStatus.WAITING), waitUntil=data["until"], progress=None)


def _waiter(state: State, node_id: str, **changes: Any) -> None:
    """A node waits, or waits no longer: the attempt goes on."""
    state["nodes"] = {**state["nodes"], node_id: {**state["nodes"][node_id], **changes}}


def _finished(state: State, data: Mapping[str, Any]) -> None:
    state["status"] = data["status"]
    _end(state, data)


def _failed(state: State, data: Mapping[str, Any]) -> None:
    state["status"] = str(RunStatus.ERROR)
    state["error"] = {"nodeId": data["nodeId"], **data["error"]}
    _end(state, data)


def _end(state: State, data: Mapping[str, Any]) -> None:
    state["finishedAt"] = data["finishedAt"]
    state["durationMs"] = data["durationMs"]
    state["progress"] = data["progress"]


_FOLDS = {
    EventType.EXECUTION_STARTED: _started,
    EventType.NODE_BEFORE: _node_before,
    EventType.NODE_PROGRESS: _node_progress,
    EventType.NODE_AFTER: _node_after,
    EventType.EXECUTION_PAUSED: _paused,
    EventType.EXECUTION_RESUMED: _resumed,
    EventType.EXECUTION_WAITING: _waiting,
    EventType.EXECUTION_FINISHED: _finished,
    EventType.EXECUTION_ERROR: _failed,
}
