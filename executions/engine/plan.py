"""A plan: a graph made ready to run. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.context import NodeContext, Ports
from flows.graph import MAIN, Edge, Graph, Node

Execute = Callable[[NodeContext], Awaitable[Ports]]


class PlanError(ValueError):
    """The graph cannot be run: it has a cycle, or an edge to a node that is not there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeBehaviour:
    """What the engine must know of a node beside its definition."""

    execute: Execute
    pure: bool = False
    trigger: bool = False
    resumable: bool = False
    """Whether it waits for someone outside, who is given a link for that."""
    output: str = MAIN
    """The first output port: where a disabled node passes its input on."""


@dataclass(kw_only=True, slots=True)
class PlanNode:
    """A node, and its neighbours by their index in the plan."""

    index: int
    node: Node
    behaviour: NodeBehaviour
    inputs: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """By input port: (index, output port) of each node that feeds it."""
    outputs: list[tuple[str, int]] = field(default_factory=list)
    """(output port, index) for each outgoing edge."""
    upstream: dict[str, int] = field(default_factory=dict)
    """Name and index of all that lies before this node; only where its parameters have expressions."""

    @property
    def feeds(self) -> int:
        """How many edges come in."""
        return sum(len(sources) for sources in self.inputs.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """Nodes in an order in which each stands behind all that it depends on."""

    nodes: tuple[PlanNode, ...]


def make_plan(graph: Graph, behaviours: Mapping[str, NodeBehaviour]) -> Plan:
    """The plan of `graph`; `behaviours` by node id. Raises PlanError."""
    order = _topological(graph)
    index = {node.id: position for position, node in enumerate(order)}
    plan = Plan(tuple(PlanNode(index=i, node=node, behaviour=behaviours[node.id]) for i, node in enumerate(order)))
    for edge in graph.edges:
        _connect(plan, index, edge)
    for planned in plan.nodes:
        if _has_expression(planned.node.params):
            planned.upstream = _upstream(plan, planned)
    return plan


def _connect(plan: Plan, index: Mapping[str, int], edge: Edge) -> None:
    source, target = plan.nodes[index[edge.source]], plan.nodes[index[edge.target]]
    source.outputs.append((edge.source_port, target.index))
    target.inputs.setdefault(edge.target_port, []).append((source.index, edge.source_port))


def _topological(graph: Graph) -> list[Node]:
    """Kahn's order, which keeps the graph's own order among nodes that do not depend on one another."""
    nodes = {node.id: node for node in graph.nodes}
    waiting = dict.fromkeys(nodes, 0)
    targets: dict[str, list[str]] = {node_id: [] for node_id in nodes}
    for edge in graph.edges:
        if edge.source not in nodes or edge.target not in nodes:
            raise PlanError(f"The edge from {edge.source!r} to {edge.target!r} joins a node that is not there.")
        waiting[edge.target] += 1
        targets[edge.source].append(edge.target)
    ready = deque(node_id for node_id, count in waiting.items() if count == 0)
    order = []
    while ready:
        node_id = ready.popleft()
        order.append(nodes[node_id])
        for target in targets[node_id]:
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    if len(order) < len(nodes):
        raise PlanError("The graph has a cycle.")
    return order


def _has_expression(value: Any) -> bool:
    if isinstance(value, str):
        return value.startswith("=")
    if isinstance(value, Mapping):
        return any(_has_expression(inner) for inner in value.values())
    return isinstance(value, list | tuple) and any(_has_expression(inner) for inner in value)


def _upstream(plan: Plan, planned: PlanNode) -> dict[str, int]:
    found: set[int] = set()
    stack = [planned.index]
    while stack:
        for sources in plan.nodes[stack.pop()].inputs.values():
            fresh = {index for index, _ in sources} - found
            found |= fresh
            stack.extend(fresh)
    return {plan.nodes[index].node.name: index for index in sorted(found)}
