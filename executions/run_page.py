"""What a run's page shows, and what is kept of it in one node's window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from executions.access import may_control
from executions.durations import format_duration, format_wait
from executions.events import duration_ms
from executions.models import Command, Execution, NodeExecution
from executions.resume_links import awaits_resumption, resume_url
from executions.run_controls import CONTROLS, RETRIES, Control
from executions.snapshot import snapshot
from executions.statuses import RUN_ENDED, NodeStatus
from executions.timeline import Attempt, Timeline, make_timeline
from flows.drawing import close_up, drawing_of
from flows.graph import GraphError
from flows.layout import Drawing
from flows.node_types import registry
from flows.pretty_json import PrettyJSON, pretty

LISTED_RETRIES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeLine:
    """A node's line in the table; `state` is its part of the run's state."""

    id: str
    name: str
    type: str
    state: Mapping[str, Any]

    @property
    def duration(self) -> str:
        return format_duration(self.state["durationMs"])

    @property
    def items(self) -> str:
        return format_items(self.state["itemCounts"])

    @property
    def message(self) -> str:
        """What the node says of itself, or until when it waits."""
        if self.state["status"] == NodeStatus.WAITING and not self.state["willRetryAt"]:
            return format_wait(self.state["waitUntil"])
        return str((self.state["progress"] or {}).get("message", ""))


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptDetail:
    """All that is stored of one attempt at a node."""

    number: int
    status: str
    started_at: datetime | None
    duration: str
    items: str
    retry_at: datetime | None
    error: Mapping[str, Any] | None
    input: PrettyJSON | None
    output: PrettyJSON | None


def run_page(execution: Execution, viewer: User) -> dict[str, Any]:
    """The context of a run's page; of `execution`, the flow, its version and the requester are read as well."""
    state = snapshot(execution.pk)
    lines = node_lines(execution, state)
    failed = (state["error"] or {}).get("nodeId")
    return {
        "execution": execution,
        "state": state,
        "drawing": run_drawing(execution),
        "nodes": lines,
        "failed_node": next((line.name for line in lines if line.id == failed), ""),
        "input": pretty(execution.input),
        "may_control": may_control(viewer, execution),
        "controls": [(control, _shown(control, state)) for control in CONTROLS],
        "retries": [(control, _shown(control, state)) for control in RETRIES],
        "is_newer_version": execution.flow.head != execution.flow_version.number,
        "duration": format_duration(state["durationMs"]),
        **run_parts(execution, viewer),
    }


def run_parts(execution: Execution, viewer: User) -> dict[str, Any]:
    """What events do not carry, or only in part: the page asks for it again while the run goes on."""
    return {
        "execution": execution,
        "waits": resume_links(execution) if may_control(viewer, execution) else [],
        "timeline": run_timeline(execution),
        "commands": list(Command.objects.filter(execution=execution).select_related("requester").order_by("id")),
        "retried_as": list(execution.retries.order_by("-id").only("id", "status", "created_at")[:LISTED_RETRIES]),
        "ended": execution.status in RUN_ENDED,
        "output": None if execution.output is None else pretty(execution.output),
    }


def resume_links(execution: Execution) -> list[dict[str, str]]:
    """Name and address of each node of the run that waits for someone."""
    nodes = {node["id"]: node for node in _nodes(execution)}
    rows = NodeExecution.objects.filter(execution=execution, status=NodeStatus.WAITING).order_by("id")
    return [
        {"name": nodes[row.node_id].get("name", row.node_id), "url": resume_url(execution.pk, row.node_id)}
        for row in rows.only("node_id", "status")
        if row.node_id in nodes and awaits_resumption(nodes[row.node_id]["type"], row)
    ]


def run_timeline(execution: Execution) -> Timeline:
    fields = ("node_id", "attempt", "status", "started_at", "finished_at", "retry_at", "wait_until")
    rows = NodeExecution.objects.filter(execution=execution).values_list(*fields)
    return make_timeline(
        [(node["id"], node.get("name", node["id"])) for node in _nodes(execution)],
        [Attempt(node_id=row[0], number=row[1], status=row[2], started_at=row[3], finished_at=row[4], retry_at=row[5],
                 wait_until=row[6])
         for row in rows],
        started_at=execution.started_at,
        finished_at=execution.finished_at,
        now=timezone.now(),
    )  # fmt: skip


def run_drawing(execution: Execution) -> Drawing | None:
    """The drawing of the version that the run executes, with little room around it; None where it cannot be drawn."""
    try:
        return close_up(drawing_of(execution.flow_version))
    except GraphError:
        return None


def node_lines(execution: Execution, state: Mapping[str, Any]) -> list[NodeLine]:
    return [
        NodeLine(
            id=node["id"],
            name=node.get("name", node["id"]),
            type=_type_label(node["type"]),
            state=state["nodes"][node["id"]],
        )
        for node in _nodes(execution)
        if node["id"] in state["nodes"]
    ]


def node_detail(execution: Execution, node_id: str) -> dict[str, Any] | None:
    """The context of one node's window, the newest attempt first; None when the run's version has no such node."""
    node = next((node for node in _nodes(execution) if node["id"] == node_id), None)
    if node is None:
        return None
    rows = NodeExecution.objects.filter(execution=execution, node_id=node_id).order_by("-attempt")
    return {
        "execution": execution,
        "node": {"id": node_id, "name": node.get("name", node_id), "type": _type_label(node["type"])},
        "attempts": [_attempt_detail(row) for row in rows],
    }


def _attempt_detail(row: NodeExecution) -> AttemptDetail:
    started, finished = row.started_at, row.finished_at
    return AttemptDetail(
        number=row.attempt,
        status=row.status,
        started_at=started,
        duration=format_duration(duration_ms(started, finished)) if started and finished else "",
        items=format_items(row.item_counts),
        retry_at=row.retry_at,
        error=row.error,
        input=None if row.input is None else pretty(row.input),
        output=None if row.output is None else pretty(row.output),
    )


def format_items(counts: Mapping[str, int] | None) -> str:
    """How many items a node delivered, over all its ports: `3 items`; empty when it delivered to none."""
    if not counts:
        return ""
    total = sum(counts.values())
    return f"{total:,} item{'' if total == 1 else 's'}"


def _shown(control: Control, state: Mapping[str, Any]) -> bool:
    return state["status"] in control.when


def _nodes(execution: Execution) -> Sequence[Mapping[str, Any]]:
    nodes: Sequence[Mapping[str, Any]] = execution.flow_version.graph["nodes"]
    return nodes


def _type_label(type_name: str) -> str:
    node_type = registry.get(type_name)
    return type_name if node_type is None else node_type.label
