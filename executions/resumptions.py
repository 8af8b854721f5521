"""What ended the waits of nodes, as the events of their runs tell it: a node that was running again when its worker
died is told the same once more."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import orjson

from executions.events import EventType
from executions.models import Command, ExecutionEvent, NodeExecution
from executions.statuses import NodeStatus
from flows.context import Resumption

Attempt = tuple[UUID, str, int]
"""Run, node and number."""

_RAN = (NodeStatus.RUNNING, NodeStatus.QUEUED)


def resumptions(rows: Collection[NodeExecution]) -> dict[Attempt, Resumption]:
    """By attempt, of those that are under way and do not wait; those that have never waited are not in it."""
    attempts = {(row.execution_id, row.node_id, row.attempt) for row in rows if row.status in _RAN}
    if not attempts:
        return {}
    newest = {attempt: data for attempt, data in _ends_of_waits({run for run, *_ in attempts}) if attempt in attempts}
    signals = {data["command"] for data in newest.values() if data["command"] is not None}
    brought = dict(Command.objects.filter(id__in=signals).values_list("id", "data")) if signals else {}
    return {
        attempt: Resumption(kind=data["reason"], data=brought.get(data["command"])) for attempt, data in newest.items()
    }


def _ends_of_waits(execution_ids: Collection[UUID]) -> list[tuple[Attempt, Mapping[str, Any]]]:
    """In the order of events."""
    events = ExecutionEvent.objects.filter(execution_id__in=execution_ids, type=EventType.EXECUTION_RESUMED.value)
    ends = []
    for execution_id, text in events.order_by("seq").values_list("execution_id", "data"):
        data = orjson.loads(text)
        if data.get("nodeId") is not None:
            ends.append(((execution_id, data["nodeId"], data["attempt"]), data))
    return ends
