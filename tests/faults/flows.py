"""Random flows: chains, branches, joins, conditions, retries and waits, of nodes that leave traces."""

from __future__ import annotations

import random
from typing import Any

Outlet = tuple[str, str]
"""A node and one of its output ports."""

NEAR = 4
"""A node hangs on some of the newest outlets, so that graphs are about as deep as they are wide."""

KINDS = {"effect": 40, "compute": 25, "if": 10, "delay": 10, "moody": 10, "tolerated": 5}


def random_graph(rng: random.Random, size: int | None = None) -> dict[str, Any]:
    """A graph of 5 to 30 nodes; each run of it ends with success, and with the same output."""
    nodes: list[dict[str, Any]] = [{"id": "start", "type": "manual", "name": "Start"}]
    edges: list[dict[str, str]] = []
    outlets: list[Outlet] = [("start", "main")]
    for number in range(1, size or rng.randint(5, 30)):
        node_id = f"n{number}"
        kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
        nodes.append({"id": node_id, "name": f"Node {number}", **_node(kind, rng)})
        near = outlets[-NEAR:]
        for source, port in rng.sample(near, min(len(near), rng.choice((1, 1, 1, 2, 3)))):
            edges.append({"source": source, "source_port": port, "target": node_id})
        outlets += [(node_id, port) for port in _outputs(kind)]
    return {"nodes": nodes, "edges": edges}


def failing_graph(rng: random.Random) -> dict[str, Any]:
    """A graph whose runs fail, all at the same node."""
    graph = random_graph(rng, 8)
    failing = {"id": "failing", "type": "faults.effect", "name": "Failing", "params": {"seconds": 0.05, "failures": 99}}
    return {
        "nodes": [*graph["nodes"], failing],
        "edges": [*graph["edges"], {"source": "start", "target": "failing"}],
    }


def chain_of_effects(*seconds: float) -> dict[str, Any]:
    """A start and, one behind the other, nodes `n0`, `n1` ... that take so long."""
    nodes: list[dict[str, Any]] = [{"id": "start", "type": "manual", "name": "Start"}]
    edges = []
    for number, duration in enumerate(seconds):
        params = {"seconds": duration, "failures": 0}
        nodes.append({"id": f"n{number}", "type": "faults.effect", "name": f"Node {number}", "params": params})
        edges.append({"source": nodes[-2]["id"], "target": f"n{number}"})
    return {"nodes": nodes, "edges": edges}


def _node(kind: str, rng: random.Random) -> dict[str, Any]:
    seconds = round(rng.choice((0, rng.uniform(0, 0.1), rng.uniform(0, 0.4))), 3)
    if kind == "compute":
        return {"type": "faults.compute"}
    if kind == "if":
        return {"type": "if", "params": {"condition": '=item.get("value", 0) % 2 == 0'}}
    if kind == "delay":
        return {"type": "delay", "params": {"seconds": round(rng.choice((0.05, 0.2, 1.0)), 3)}}
    if kind == "moody":
        settings = {"retry": {"max_attempts": 3, "backoff": 0.1, "max_delay": 1}}
        params = {"seconds": seconds, "failures": rng.randint(1, 2)}
        return {"type": "faults.effect", "params": params, "settings": settings}
    if kind == "tolerated":
        params = {"seconds": seconds, "failures": 99}
        return {"type": "faults.effect", "params": params, "settings": {"on_error": "continue"}}
    return {"type": "faults.effect", "params": {"seconds": seconds, "failures": 0}}


def _outputs(kind: str) -> tuple[str, ...]:
    return ("true", "false") if kind == "if" else ("main",)
