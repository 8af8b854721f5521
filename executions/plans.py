"""The plan of a flow's version: its graph joined with the node types that are installed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from executions.engine.plan import NodeBehaviour, Plan, make_plan
from executions.errors import FlowInvalid
from flows.graph import MAIN, Graph, GraphError, Node, parse_graph
from flows.models import FlowVersion
from flows.node_types import execute, registry
from flows.validation import Problem, has_errors, validate

CACHED_PLANS = 256

_plans: dict[tuple[int, str], Plan] = {}


def plan_of(version: FlowVersion) -> Plan:
    """The version's plan; versions never change, so the newest plans are kept. Raises FlowInvalid."""
    key = (version.pk, version.checksum)
    plan = _plans.get(key)
    if plan is None:
        plan = _make(version)
        if len(_plans) >= CACHED_PLANS:
            _plans.pop(next(iter(_plans)), None)
        _plans[key] = plan
    return plan


def node_names(graph: object) -> dict[str, str]:
    """The names of a stored graph's nodes by their ids, in their order; none for a graph that cannot be read."""
    nodes = graph.get("nodes") if isinstance(graph, Mapping) else None
    known = [node for node in nodes if isinstance(node, Mapping) and "id" in node] if isinstance(nodes, list) else []
    return {str(node["id"]): str(node.get("name") or node["id"]) for node in known}


def _make(version: FlowVersion) -> Plan:
    graph, problems = _validated(version)
    if graph is None or has_errors(problems):
        errors = [problem for problem in problems if problem.severity == "error"]
        first = errors[0].message
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise FlowInvalid(f"{version} cannot be run: {first}{more}", errors)
    return make_plan(graph, {node.id: _behaviour(node) for node in graph.nodes})


def _validated(version: FlowVersion) -> tuple[Graph | None, list[Problem]]:
    try:
        graph = parse_graph(version.graph)
    except GraphError as error:
        return None, [Problem(node=None, code="graph", message=str(error))]
    return graph, validate(graph, registry)


def _behaviour(node: Node) -> NodeBehaviour:
    node_type = registry[node.type]
    return NodeBehaviour(
        execute=partial(execute, node_type),
        pure=node_type.pure,
        trigger=node_type.trigger,
        resumable=node_type.resumable,
        output=next(iter(node_type.outputs), MAIN),
    )
