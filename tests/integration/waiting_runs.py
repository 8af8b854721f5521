"""Runs for tests that have come to a wait, and have left their worker."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User

from executions import runtime
from executions.dispatch import start_execution
from executions.models import Execution, Mode, NodeExecution
from executions.runtime import EmbeddedExecutor
from tests.integration.execution_data import make_flow, wait_for_status
from tests.servers import wait_until


def approval(**params: Any) -> dict[str, Any]:
    """A manual start, the node `ask` that waits, and one behind each of its ports: `yes` and `late`."""
    return {
        "nodes": [
            {"id": "start", "type": "manual", "name": "Start"},
            {"id": "ask", "type": "wait_for_resume", "name": "Ask", "params": params},
            {"id": "yes", "type": "noop", "name": "Answered"},
            {"id": "late", "type": "noop", "name": "Too late"},
        ],
        "edges": [
            {"source": "start", "target": "ask"},
            {"source": "ask", "source_port": "resumed", "target": "yes"},
            {"source": "ask", "source_port": "timeout", "target": "late"},
        ],
    }


def start(author: User, graph: dict[str, Any], **input_data: Any) -> Execution:
    return start_execution(make_flow(author, graph), input_data=input_data, requester=author, mode=Mode.API)


def waiting(author: User, graph: dict[str, Any], **input_data: Any) -> Execution:
    """A run that waits, and that no worker holds."""
    run = start(author, graph, **input_data)
    wait_for_status(run.pk, "waiting")
    executor = runtime.executor()
    assert isinstance(executor, EmbeddedExecutor)
    wait_until(lambda: executor.worker.held == 0, what=lambda: "the run to leave the worker")
    run.refresh_from_db()
    return run


def node(run: Execution, node_id: str) -> NodeExecution:
    return NodeExecution.objects.get(execution=run, node_id=node_id)
