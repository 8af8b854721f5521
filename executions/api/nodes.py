"""The nodes of a run: those of its flow's version, each with the attempts at it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import QuerySet

from executions.models import Execution, NodeExecution
from executions.resume_links import awaits_resumption, resume_url
from executions.statuses import NodeStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeReport:
    """One node of a run. `attempts` are in their order; none for a node that has not been reached."""

    node_id: str
    name: str
    type: str
    attempts: list[NodeExecution]
    resume_link: str | None = None
    """Where the node, which waits for it, is resumed; None for who may not know it."""

    @property
    def newest(self) -> NodeExecution:
        idle = NodeExecution(node_id=self.node_id, attempt=0, status=NodeStatus.IDLE.value)
        return self.attempts[-1] if self.attempts else idle

    @property
    def status(self) -> str:
        """The node's, which is not that of an attempt when there will be another one."""
        return NodeStatus.WAITING.value if self.newest.retry_at else self.newest.status


def node_reports(execution: Execution) -> list[NodeReport]:
    """All nodes of the run in the order of its graph, without their data."""
    rows = NodeExecution.objects.filter(execution=execution).defer("input", "output", "progress")
    return _reports(execution.flow_version.graph["nodes"], rows)


def node_report(execution: Execution, node_id: str, *, with_link: bool) -> NodeReport | None:
    """One node of the run with its data; None when its flow's version has no such node."""
    nodes = [node for node in execution.flow_version.graph["nodes"] if node["id"] == node_id]
    rows = NodeExecution.objects.filter(execution=execution, node_id=node_id)
    report = next(iter(_reports(nodes, rows)), None) if nodes else None
    if report is None or not with_link or not awaits_resumption(report.type, report.newest):
        return report
    return replace(report, resume_link=resume_url(execution.pk, node_id))


def _reports(nodes: Iterable[dict[str, Any]], rows: QuerySet[NodeExecution]) -> list[NodeReport]:
    attempts: dict[str, list[NodeExecution]] = {}
    for row in rows.order_by("attempt"):
        attempts.setdefault(row.node_id, []).append(row)
    return [
        NodeReport(
            node_id=node["id"],
            name=node.get("name", node["id"]),
            type=node["type"],
            attempts=attempts.get(node["id"], []),
        )
        for node in nodes
    ]
