"""The addresses for the operator."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from executions.status.views import metrics, status_page

urlpatterns: list[URLPattern | URLResolver] = [
    path("status", status_page, name="status"),
    path("metrics", metrics, name="metrics"),
]
