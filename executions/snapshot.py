"""The state of a run as the database has it: what `fold` makes of all its events."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from executions.events import State, duration_ms, empty_state, iso, node_state
from executions.models import Execution
from executions.plans import node_names
from executions.statuses import NODE_SETTLED, NodeStatus

_RUN = ("last_seq", "status", "started_at", "finished_at", "error", "flow_version__graph")
_NODE = (
    "node_id", "attempt", "status", "started_at", "finished_at",
    "item_counts", "error", "retry_at", "wait_until", "progress",
)  # fmt: skip


def snapshot(execution_id: UUID) -> State:
    """The run's state. Raises Execution.DoesNotExist.

    Run and nodes come from ONE statement, and so from one moment, without a transaction: on SQLite each transaction
    here takes the write lock.
    """
    rows = list(
        Execution.objects.filter(pk=execution_id)
        .order_by("node_executions__attempt")
        .values_list(*_RUN, *(f"node_executions__{field}" for field in _NODE))
    )
    if not rows:
        raise Execution.DoesNotExist(f"There is no execution {execution_id}.")
    last_seq, status, started_at, finished_at, error, graph = rows[0][: len(_RUN)]
    state = empty_state(str(execution_id), node_names(graph))
    for row in rows:
        node_id, *values = row[len(_RUN) :]
        if node_id is not None:
            state["nodes"][node_id] = _node(*values)
    settled = sum(node["status"] in NODE_SETTLED for node in state["nodes"].values())
    return {
        **state,
        "seq": last_seq,
        "status": status,
        "startedAt": _iso(started_at),
        "finishedAt": _iso(finished_at),
        "durationMs": _duration(started_at, finished_at),
        "error": error,
        "progress": {"done": settled, "total": len(state["nodes"])},
    }


def _node(
    attempt: int,
    status: str,
    started_at: datetime | None,
    finished_at: datetime | None,
    item_counts: Any,
    error: Any,
    retry_at: datetime | None,
    wait_until: datetime | None,
    progress: Any,
) -> State:
    return node_state(
        NodeStatus.WAITING if retry_at else status,
        attempt=attempt,
        startedAt=_iso(started_at),
        finishedAt=_iso(finished_at),
        durationMs=_duration(started_at, finished_at),
        itemCounts=item_counts,
        error=error,
        willRetryAt=_iso(retry_at),
        waitUntil=_iso(wait_until),
        progress=progress,
    )


def _iso(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _duration(started_at: datetime | None, finished_at: datetime | None) -> int | None:
    return duration_ms(started_at, finished_at) if started_at and finished_at else None
