"""Flows and users for the benchmarks, and their table."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from django.contrib.auth.models import User

from flows.models import Flow
from flows.versions import create_flow


def user() -> User:
    found, _ = User.objects.get_or_create(username="bench", defaults={"is_active": True})
    return found


def chain(node_type: str, length: int, params: dict[str, Any] | None = None, *, lead_in: float | None = None) -> Flow:
    """A saved flow: a trigger, and nodes of one type in a row behind it; `length` counts all.

    `lead_in`: seconds of a delay behind the trigger.
    """
    nodes: list[dict[str, Any]] = [{"id": "start", "type": "manual", "name": "Start"}]
    if lead_in is not None:
        nodes.append({"id": "lead_in", "type": "delay", "name": "Lead in", "params": {"seconds": lead_in}})
    nodes += [
        {"id": f"n{number}", "type": node_type, "name": f"N{number}", "params": params or {}}
        for number in range(1, length)
    ]
    edges = [
        {"source": before["id"], "source_port": "main", "target": after["id"], "target_port": "main"}
        for before, after in pairwise(nodes)
    ]
    return create_flow(name=f"{length} x {node_type}", owner=user(), graph_json={"nodes": nodes, "edges": edges})


def heading(title: str, *columns: str) -> None:
    print(f"\n{title}")
    row(*columns)
    print("|" + " --- |" * len(columns))


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)
