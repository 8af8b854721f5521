"""Users and graphs for tests of flows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient


def graph_of(*seconds: float) -> dict[str, Any]:
    """Manual start, then a chain of delays."""
    nodes: list[dict[str, Any]] = [{"id": "start", "type": "manual", "name": "Start"}]
    nodes += [
        {"id": f"wait{number}", "type": "delay", "name": f"Wait {number}", "params": {"seconds": value}}
        for number, value in enumerate(seconds)
    ]
    edges = [{"source": before["id"], "target": behind["id"]} for before, behind in pairwise(nodes)]
    return {"nodes": nodes, "edges": edges}


def cyclic_graph() -> dict[str, Any]:
    graph = graph_of(1, 2)
    graph["edges"].append({"source": "wait1", "target": "wait0"})
    return graph


def make_user(name: str, *permissions: str) -> User:
    user = User.objects.create_user(username=name, password="secret")
    for permission in permissions:
        app_label, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app_label, codename=codename))
    return user


def client_of(user: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client
