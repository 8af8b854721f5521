"""What a retry takes over from the run before it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from executions.reuse import reusable_nodes
from flows.graph import Edge, Graph, Node, NodeSettings, Retry

#      a -> b -> d
#        -> c ---^   e
EDGES = (
    Edge(source="a", target="b"),
    Edge(source="a", target="c"),
    Edge(source="b", target="d", target_port="one"),
    Edge(source="c", target="d", target_port="two"),
)
NODES = tuple(Node(id=id, type="test", name=id.upper(), params={"p": 1}) for id in "abcde")
GRAPH = Graph(NODES, EDGES)
ALL = set("abcde")


def changed(id: str, **change: object) -> Graph:
    return Graph(tuple(replace(node, **change) if node.id == id else node for node in NODES), EDGES)  # type: ignore


def test_all_that_was_settled_in_the_same_graph_is_taken_over() -> None:
    assert reusable_nodes(GRAPH, GRAPH, ALL) == list("abcde")
    assert reusable_nodes(GRAPH, GRAPH, set()) == []


def test_behind_what_was_not_settled_nothing_is_taken_over() -> None:
    assert reusable_nodes(GRAPH, GRAPH, ALL - {"b"}) == ["a", "c", "e"]
    assert reusable_nodes(GRAPH, GRAPH, ALL - {"a"}) == ["e"]


@pytest.mark.parametrize(
    "change", [{"params": {"p": 2}}, {"type": "other"}, {"name": "Other"}, {"settings": NodeSettings(disabled=True)}]
)
def test_a_node_that_does_something_else_runs_again_with_all_behind_it(change: dict[str, object]) -> None:
    assert reusable_nodes(GRAPH, changed("b", **change), ALL) == ["a", "c", "e"]


@pytest.mark.parametrize(
    "change",
    [
        {"position": (5, 5)},
        {"settings": NodeSettings(notes="seen")},
        {"settings": NodeSettings(retry=Retry(max_attempts=3))},
    ],
)
def test_what_does_not_change_a_nodes_output_does_not_matter(change: dict[str, object]) -> None:
    assert reusable_nodes(GRAPH, changed("b", **change), ALL) == list("abcde")


@pytest.mark.parametrize(
    "edges",
    [
        EDGES[:3],
        (*EDGES, Edge(source="e", target="d", target_port="one")),
        (*EDGES[:3], Edge(source="c", target="d", target_port="one")),
        (*EDGES[:3], Edge(source="c", source_port="error", target="d", target_port="two")),
    ],
)
def test_a_node_that_is_fed_differently_runs_again(edges: tuple[Edge, ...]) -> None:
    assert reusable_nodes(GRAPH, Graph(NODES, edges), ALL) == ["a", "b", "c", "e"]


def test_the_order_of_edges_does_not_matter() -> None:
    assert reusable_nodes(GRAPH, Graph(NODES, EDGES[::-1]), ALL) == list("abcde")


def test_a_new_node_runs_with_all_behind_it_and_one_that_is_gone_is_not_asked_for() -> None:
    new = Node(id="new", type="test", name="New")
    after = Graph((*NODES[:4], new), (*EDGES, Edge(source="new", target="c")))
    assert reusable_nodes(GRAPH, after, ALL) == ["a", "b"]
