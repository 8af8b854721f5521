"""Runs as the admin's tests look at them: rows, without an engine that makes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from executions.models import Execution, Mode, NodeExecution
from flows.models import Flow
from tests.integration.flow_data import make_user

RUNS = "/admin/executions/execution/"
NODE_RUNS = "/admin/executions/nodeexecution/"
STARTED = datetime(2026, 11, 22, 16, 0, 0, tzinfo=UTC)


def staff(name: str, *permissions: str) -> User:
    user = make_user(name, *permissions)
    user.is_staff = True
    user.save()
    return user


def logged_in(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def make_run(flow: Flow, status: str = "success", *, took: float = 6.0, **fields: Any) -> Execution:
    """A run of the flow's newest version; one that has ended took so many seconds."""
    ended = status in {"success", "error", "canceled"}
    values: dict[str, Any] = {
        "mode": Mode.API.value,
        "requester": flow.owner,
        "started_at": STARTED,
        "finished_at": STARTED + timedelta(seconds=took) if ended else None,
    }
    version = flow.versions.get(number=flow.head)
    return Execution.objects.create(flow=flow, flow_version=version, status=status, **{**values, **fields})


def make_node_run(run: Execution, node_id: str, status: str = "success", **fields: Any) -> NodeExecution:
    values: dict[str, Any] = {"started_at": STARTED, "finished_at": STARTED + timedelta(seconds=2)}
    return NodeExecution.objects.create(execution=run, node_id=node_id, status=status, **{**values, **fields})


def listed(client: Client, address: str) -> list[Any]:
    """The keys of the rows that a list shows."""
    response = client.get(address)
    assert response.status_code == 200, response
    return [row.pk for row in response.context["cl"].result_list]


def queries_of(client: Client, address: str) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return [query["sql"] for query in captured.captured_queries]
