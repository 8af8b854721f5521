"""Addresses of the flow API, below /api/v1/."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from flows.api import FlowViewSet, NodeTypesView

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("flows", FlowViewSet, basename="api-flow")

urlpatterns: list[URLPattern | URLResolver] = [
    path("node-types", NodeTypesView.as_view(), name="api-node-types"),
    *router.urls,
]
