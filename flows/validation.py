"""What is wrong with a graph: all of it at once, each problem with the node it is at. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from flows.graph import ERROR_PORT, Edge, Graph, Node, OnError

MOST_NODES = 2_000
MOST_EDGES = 10_000
LONGEST_ID = 100
LONGEST_NAME = 100
LONGEST_NOTES = 10_000
FARTHEST_POSITION = 100_000

NODE_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST_ID}}}")
"""What needs no escaping in a URL, an HTML attribute or a CSS selector."""

ATTEMPTS = (1, 100)
BACKOFF = (0.0, 3600.0)
MAX_DELAY = (0.0, 86_400.0)
TIMEOUT = (0.001, 86_400.0)
"""Seconds; a day at most: what waits longer is not a node that runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeDescription:
    """What must be known of a node type to judge a node of it; `check_params` gives (field, message) pairs."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    trigger: bool
    check_params: Callable[[Mapping[str, Any]], list[tuple[str, str]]]


class Catalog(Protocol):
    def describe(self, type_name: str) -> NodeDescription | None:
        """The node type of that name; None when there is none."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a graph.

    `node` is the id of the node it is at, None for the graph as a whole; `field` the parameter or setting; `path` the
    names of the nodes along a cycle, the first one again at its end. A graph with a problem of severity "error" is not
    saved.
    """

    node: str | None
    code: str
    message: str
    severity: Literal["error", "warning"] = "error"
    field: str | None = None
    path: tuple[str, ...] = ()


def validate(graph: Graph, catalog: Catalog) -> list[Problem]:
    """All problems of a graph: those of its nodes in their order, then those of its edges, then those of the whole."""
    if len(graph.nodes) > MOST_NODES or len(graph.edges) > MOST_EDGES:
        return [_too_large(graph)]
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        nodes.setdefault(node.id, node)
    described = {node.type: catalog.describe(node.type) for node in graph.nodes}
    return [
        *_duplicates(graph),
        *(problem for node in graph.nodes for problem in _node_problems(node, described[node.type])),
        *_edge_problems(graph, nodes, described),
        *(_cycle_problem(cycle, nodes) for cycle in find_cycles(graph)),
        *_trigger_problems(graph, described),
    ]


def has_errors(problems: Iterable[Problem]) -> bool:
    """Whether one of the problems forbids saving or running the graph."""
    return any(problem.severity == "error" for problem in problems)


def find_cycles(graph: Graph) -> list[tuple[str, ...]]:
    """Cycles as node ids along the edges, the first id again at the end; no node is in two of them.

    Empty if and only if there is no cycle: a depth-first search meets in every strongly connected component an edge
    back to a node of its own path, and the first such edge closes a cycle of which no node is in one already.
    """
    targets = _targets(graph)
    found: list[tuple[str, ...]] = []
    in_cycle: set[str] = set()
    finished: set[str] = set()
    for root in targets:
        path: dict[str, Iterator[str]] = {} if root in finished else {root: iter(targets[root])}
        while path:
            node_id, rest = next(reversed(path.items()))
            target = next(rest, None)
            if target is None:
                path.popitem()
                finished.add(node_id)
            elif target in path and target not in in_cycle:
                along = list(path)
                cycle = along[along.index(target) :]
                if in_cycle.isdisjoint(cycle):
                    in_cycle.update(cycle)
                    found.append((*cycle, target))
            elif target not in path and target not in finished:
                path[target] = iter(targets[target])
    return found


def _targets(graph: Graph) -> dict[str, list[str]]:
    """The nodes that each node has an edge to; edges whose ends are not there are left out."""
    targets: dict[str, list[str]] = {node.id: [] for node in graph.nodes}
    for edge in graph.edges:
        if edge.source in targets and edge.target in targets:
            targets[edge.source].append(edge.target)
    return targets


def _too_large(graph: Graph) -> Problem:
    return Problem(
        None,
        "too_large",
        f"The graph has {len(graph.nodes)} nodes and {len(graph.edges)} edges; at most {MOST_NODES} nodes and "
        f"{MOST_EDGES} edges are allowed. Split the flow.",
    )


def _duplicates(graph: Graph) -> Iterator[Problem]:
    ids: set[str] = set()
    names: set[str] = set()
    edges: set[Edge] = set()
    for node in graph.nodes:
        if node.id in ids:
            yield Problem(node.id, "duplicate_id", f"Two nodes have the id {_quoted(node.id)}.", field="id")
        if node.name in names:
            yield Problem(node.id, "duplicate_name", f"Two nodes have the name {_named(node)}.", field="name")
        ids.add(node.id)
        names.add(node.name)
    for edge in graph.edges:
        if edge in edges:
            yield Problem(edge.target, "duplicate_edge", f"{_shown(edge)} is there twice.")
        edges.add(edge)


def _node_problems(node: Node, description: NodeDescription | None) -> Iterator[Problem]:
    if not NODE_ID.fullmatch(node.id):
        message = f"The node id {_quoted(node.id)} is not 1 to {LONGEST_ID} of: letters A to Z, digits, - and _."
        yield Problem(node.id, "bad_id", message, field="id")
    if not node.name.strip() or len(node.name) > LONGEST_NAME or not node.name.isprintable():
        message = f"A node's name is 1 to {LONGEST_NAME} printable characters; {_named(node)} is not."
        yield Problem(node.id, "bad_name", message, field="name")
    if any(abs(coordinate) > FARTHEST_POSITION for coordinate in node.position):
        message = f"{_named(node)} lies more than {FARTHEST_POSITION} from the origin."
        yield Problem(node.id, "bad_position", message, field="position")
    yield from _settings_problems(node)
    if description is None:
        message = f"{_named(node)} is of the unknown type {_quoted(node.type)}."
        yield Problem(node.id, "unknown_type", message, field="type")
        return
    for field, message in description.check_params(node.params):
        named = f"{_named(node)}, {field}: {message}" if field else f"{_named(node)}: {message}"
        yield Problem(node.id, "bad_params", named, field=field or None)


def _settings_problems(node: Node) -> Iterator[Problem]:
    settings = node.settings
    for field, value, (least, most) in (
        ("retry.max_attempts", settings.retry.max_attempts, ATTEMPTS),
        ("retry.backoff", settings.retry.backoff, BACKOFF),
        ("retry.max_delay", settings.retry.max_delay, MAX_DELAY),
        ("timeout", settings.timeout, TIMEOUT),
        ("notes", len(settings.notes), (0, LONGEST_NOTES)),
    ):
        if value is not None and not least <= value <= most:
            what = f"its length {value}" if field == "notes" else f"{value}"
            message = f"{_named(node)}, setting {field}: {what} is not between {least} and {most}."
            yield Problem(node.id, "bad_settings", message, field=field)


def _edge_problems(
    graph: Graph, nodes: Mapping[str, Node], described: Mapping[str, NodeDescription | None]
) -> Iterator[Problem]:
    for edge in graph.edges:
        source, target = nodes.get(edge.source), nodes.get(edge.target)
        if source is None or target is None:
            known = source or target
            absent = " and ".join(_quoted(end) for end in dict.fromkeys((edge.source, edge.target)) if end not in nodes)
            message = f"{_shown(edge)}: there is no node with the id {absent}."
            yield Problem(known.id if known else None, "dangling_edge", message)
            continue
        outputs, inputs = described[source.type], described[target.type]
        if outputs is not None and edge.source_port not in _output_ports(source, outputs):
            yield Problem(source.id, "missing_port", _no_output(source, edge.source_port, outputs))
        if inputs is not None and edge.target_port not in inputs.inputs:
            yield Problem(target.id, "missing_port", _no_input(target, edge.target_port, inputs))


def _output_ports(node: Node, description: NodeDescription) -> tuple[str, ...]:
    extra = (ERROR_PORT,) if node.settings.on_error is OnError.ERROR_OUTPUT else ()
    return description.outputs + extra


def _no_output(node: Node, port: str, description: NodeDescription) -> str:
    if port == ERROR_PORT:
        setting = f"on_error: {OnError.ERROR_OUTPUT}"
        return f"{_named(node)} has the output port {_quoted(port)} only with the setting {setting}."
    ports = ", ".join(_output_ports(node, description)) or "none"
    return f"{_named(node)} has no output port {_quoted(port)}; it has {ports}."


def _no_input(node: Node, port: str, description: NodeDescription) -> str:
    if description.trigger:
        return f"{_named(node)} is a trigger, nothing can lead to it."
    return f"{_named(node)} has no input port {_quoted(port)}; it has {', '.join(description.inputs) or 'none'}."


def _cycle_problem(cycle: tuple[str, ...], nodes: Mapping[str, Node]) -> Problem:
    names = tuple(nodes[node_id].name[:LONGEST_NAME] for node_id in cycle)
    return Problem(cycle[0], "cycle", f"The nodes form a cycle: {' -> '.join(names)}.", path=names)


def _trigger_problems(graph: Graph, described: Mapping[str, NodeDescription | None]) -> Iterator[Problem]:
    """No trigger, or nodes that none leads to. Several triggers are allowed: each receives the run's input."""
    triggers = [
        node.id
        for node in graph.nodes
        if (description := described[node.type]) is not None and description.trigger and not node.settings.disabled
    ]
    if not triggers:
        message = "No trigger starts the flow; add one, for instance a Manual start."
        yield Problem(None, "no_trigger", message)
        return
    targets = _targets(graph)
    reached = set(triggers)
    stack = triggers
    while stack:
        fresh = set(targets[stack.pop()]) - reached
        reached |= fresh
        stack.extend(fresh)
    for node in graph.nodes:
        if node.id not in reached:
            message = f"{_named(node)} is never reached: no path leads to it from a trigger."
            yield Problem(node.id, "unreachable", message, severity="warning")


def _shown(edge: Edge) -> str:
    source = f"{_quoted(edge.source)} ({edge.source_port[:LONGEST_NAME]})"
    return f"The edge from {source} to {_quoted(edge.target)} ({edge.target_port[:LONGEST_NAME]})"


def _named(node: Node) -> str:
    return _quoted(node.name)


def _quoted(text: str) -> str:
    """Cut, since one text of a megabyte may be in the messages of ten thousand edges."""
    return repr(text[:LONGEST_NAME])
