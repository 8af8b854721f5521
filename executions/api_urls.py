"""Addresses of the API of runs, below /api/v1/."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from executions.api.streams import ExecutionStreamView, StartStreamView
from executions.api.views import (
    CancelView,
    ExecutionsView,
    ExecutionView,
    FlowExecutionsView,
    NodeResumeView,
    NodesView,
    NodeView,
    PauseView,
    ResumeView,
    RetryView,
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("executions", ExecutionsView.as_view(), name="api-executions"),
    path("executions/stream", StartStreamView.as_view(), name="api-executions-stream"),
    path("executions/<uuid:execution_id>", ExecutionView.as_view(), name="api-execution"),
    path("executions/<uuid:execution_id>/stream", ExecutionStreamView.as_view(), name="api-execution-stream"),
    path("executions/<uuid:execution_id>/nodes", NodesView.as_view(), name="api-execution-nodes"),
    path("executions/<uuid:execution_id>/nodes/<str:node_id>", NodeView.as_view(), name="api-execution-node"),
    path(
        "executions/<uuid:execution_id>/nodes/<str:node_id>/resume",
        NodeResumeView.as_view(),
        name="api-execution-node-resume",
    ),
    path("executions/<uuid:execution_id>/pause", PauseView.as_view(), name="api-execution-pause"),
    path("executions/<uuid:execution_id>/resume", ResumeView.as_view(), name="api-execution-resume"),
    path("executions/<uuid:execution_id>/cancel", CancelView.as_view(), name="api-execution-cancel"),
    path("executions/<uuid:execution_id>/retry", RetryView.as_view(), name="api-execution-retry"),
    path("flows/<int:flow_id>/executions", FlowExecutionsView.as_view(), name="api-flow-executions"),
]
