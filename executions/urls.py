"""Addresses of pages about runs."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from executions.resume_page import resume_page

urlpatterns: list[URLPattern | URLResolver] = [
    path("resume/<str:token>", resume_page, name="resume"),
]
