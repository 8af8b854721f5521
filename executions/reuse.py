"""Which nodes of an earlier run a retry need not run again. Pure."""

from __future__ import annotations

from collections.abc import Collection

from flows.graph import Edge, Graph, Node


def reusable_nodes(before: Graph, after: Graph, settled: Collection[str]) -> list[str]:
    """The ids of nodes that were settled in the run of `before` and that `after` would run with the same input: neither
    the node nor anything that it depends on has changed."""
    earlier = {node.id: node for node in before.nodes}
    feeds_before, feeds_after = _feeds(before), _feeds(after)
    same = {
        node.id
        for node in after.nodes
        if node.id in settled
        and _same_work(node, earlier.get(node.id))
        and feeds_before.get(node.id, set()) == feeds_after.get(node.id, set())
    }
    changed = [node.id for node in after.nodes if node.id not in same]
    targets: dict[str, list[str]] = {}
    for edge in after.edges:
        targets.setdefault(edge.source, []).append(edge.target)
    while changed:
        for target in targets.get(changed.pop(), ()):
            if target in same:
                same.discard(target)
                changed.append(target)
    return [node.id for node in after.nodes if node.id in same]


def _same_work(node: Node, earlier: Node | None) -> bool:
    """Whether both do the same; where a card lies and what its notes say does not matter."""
    return (
        earlier is not None
        and (node.type, node.name, node.params) == (earlier.type, earlier.name, earlier.params)
        and node.settings.disabled == earlier.settings.disabled
    )


def _feeds(graph: Graph) -> dict[str, set[Edge]]:
    feeds: dict[str, set[Edge]] = {}
    for edge in graph.edges:
        feeds.setdefault(edge.target, set()).add(edge)
    return feeds
