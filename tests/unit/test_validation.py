"""What is wrong with a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from flows.graph import Edge, Graph, Node, NodeSettings, OnError, parse_graph
from flows.validation import (
    FARTHEST_POSITION,
    LONGEST_ID,
    LONGEST_NAME,
    LONGEST_NOTES,
    MOST_EDGES,
    MOST_NODES,
    NodeDescription,
    Problem,
    find_cycles,
    has_errors,
    validate,
)
from tests.unit.graphs import acyclic_graphs, any_graphs, directed_graphs, plain_graph


def check_step(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    problems = [("seconds", "Enter a number.")] if params.get("seconds") == "soon" else []
    return problems + ([("", "Choose one of both.")] if params.get("both") else [])


class Steps:
    """A catalog of three types: a trigger `start`, a `step`, and `branch` with two outputs and two inputs."""

    types = {
        "start": NodeDescription(inputs=(), outputs=("main",), trigger=True, check_params=lambda params: []),
        "step": NodeDescription(inputs=("main",), outputs=("main",), trigger=False, check_params=check_step),
        "branch": NodeDescription(
            inputs=("one", "two"), outputs=("true", "false"), trigger=False, check_params=lambda params: []
        ),
    }

    def describe(self, type_name: str) -> NodeDescription | None:
        return self.types.get(type_name)


def chain(*nodes: Node, edges: tuple[Edge, ...] | None = None) -> Graph:
    """Start -> the nodes one behind the other, unless other edges are given."""
    all_nodes = (Node(id="start", type="start", name="Start"), *nodes)
    joined = tuple(Edge(source=a.id, target=b.id) for a, b in pairwise(all_nodes))
    return Graph(all_nodes, joined if edges is None else edges)


def step(node_id: str = "a", name: str = "A", **entries: Any) -> Node:
    return Node(**{"id": node_id, "type": "step", "name": name, **entries})


def problems_of(graph: Graph) -> list[tuple[str | None, str, str | None]]:
    return [(problem.node, problem.code, problem.field) for problem in validate(graph, Steps())]


def only(graph: Graph) -> Problem:
    (problem,) = validate(graph, Steps())
    return problem


def test_a_sound_graph_has_no_problem() -> None:
    assert validate(chain(step("a", "A"), step("b", "B")), Steps()) == []


def test_a_cycle_is_named_by_the_names_along_it() -> None:
    edges = (
        Edge(source="start", target="a"),
        Edge(source="a", target="b"),
        Edge(source="b", target="c"),
        Edge(source="c", target="a"),
    )
    problem = only(chain(step("a", "Fetch"), step("b", "Filter"), step("c", "Send"), edges=edges))
    assert problem.code == "cycle" and problem.severity == "error"
    assert problem.path == ("Fetch", "Filter", "Send", "Fetch")
    assert "Fetch -> Filter -> Send -> Fetch" in problem.message


def test_a_node_that_leads_to_itself_is_a_cycle() -> None:
    edges = (Edge(source="start", target="a"), Edge(source="a", target="a"))
    assert only(chain(step("a", "A"), edges=edges)).path == ("A", "A")


def test_each_of_several_cycles_is_named() -> None:
    graph = plain_graph(5, [(0, 1), (1, 0), (1, 2), (3, 4), (4, 3)])
    assert [set(cycle) for cycle in find_cycles(graph)] == [{"n0", "n1"}, {"n3", "n4"}]


@given(directed_graphs())
def test_a_cycle_is_found_exactly_where_there_is_one_and_is_one(graph: Graph) -> None:
    cycles = find_cycles(graph)
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for edge in graph.edges:
        sorter.add(edge.target, edge.source)
    try:
        sorter.prepare()
        cyclic = False
    except CycleError:
        cyclic = True
    assert bool(cycles) == cyclic
    joined = {(edge.source, edge.target) for edge in graph.edges}
    for cycle in cycles:
        assert cycle[0] == cycle[-1] and len(set(cycle)) == len(cycle) - 1
        assert set(pairwise(cycle)) <= joined


@given(directed_graphs())
def test_wherever_nodes_lead_to_each_other_a_cycle_is_named(graph: Graph) -> None:
    reached = {node.id: {edge.target for edge in graph.edges if edge.source == node.id} for node in graph.nodes}
    for middle in list(reached):
        for node_id, targets in reached.items():
            if middle in targets:
                reached[node_id] = targets | reached[middle]
    named = {node_id for cycle in find_cycles(graph) for node_id in cycle}
    for node_id, targets in reached.items():
        if node_id in targets:
            component = {other for other in targets if node_id in reached[other]}
            assert component & named


@given(acyclic_graphs())
def test_no_cycle_is_found_where_all_edges_lead_forward(graph: Graph) -> None:
    assert find_cycles(graph) == []


def test_a_long_chain_is_no_matter_of_recursion() -> None:
    count = MOST_NODES
    ring = plain_graph(count, [(number, (number + 1) % count) for number in range(count)])
    (cycle,) = find_cycles(ring)
    assert len(cycle) == count + 1


@given(any_graphs)
def test_any_graph_is_judged(graph: Graph) -> None:
    for problem in validate(graph, Steps()):
        assert problem.message and problem.severity in ("error", "warning")


def test_all_problems_are_told_at_once() -> None:
    graph = chain(step("a", "A", params={"seconds": "soon"}), step("b", "A"), step("c", "C", type="gone"))
    assert problems_of(graph) == [
        ("b", "duplicate_name", "name"),
        ("a", "bad_params", "seconds"),
        ("c", "unknown_type", "type"),
    ]


def test_a_problem_of_the_whole_form_names_no_field() -> None:
    problem = only(chain(step(params={"both": True})))
    assert (problem.code, problem.field) == ("bad_params", None)
    assert problem.message == "'A': Choose one of both."


def test_two_nodes_of_one_id() -> None:
    graph = chain(step("a", "A"), step("a", "B"), edges=(Edge(source="start", target="a"),))
    assert problems_of(graph) == [("a", "duplicate_id", "id")]


@pytest.mark.parametrize("end", ["source", "target"])
def test_an_edge_to_a_node_that_is_not_there(end: str) -> None:
    loose = replace(Edge(source="start", target="a"), **{end: "gone"})
    problem = only(chain(step(), edges=(Edge(source="start", target="a"), loose)))
    assert problem.code == "dangling_edge" and "'gone'" in problem.message
    assert problem.node == ("a" if end == "source" else "start")


def test_the_same_edge_twice() -> None:
    edge = Edge(source="start", target="a")
    assert problems_of(chain(step(), edges=(edge, edge))) == [("a", "duplicate_edge", None)]


@pytest.mark.parametrize(
    ("edge", "node", "message"),
    [
        (Edge(source="a", source_port="yes", target="b", target_port="one"), "a", "no output port 'yes'; it has main"),
        (Edge(source="a", target="b"), "b", "no input port 'main'; it has one, two"),
        (Edge(source="a", target="start"), "start", "is a trigger"),
        (Edge(source="a", source_port="error", target="b", target_port="one"), "a", "on_error: error_output"),
    ],
)
def test_a_port_that_is_not_there(edge: Edge, node: str, message: str) -> None:
    graph = chain(step(), step("b", "B", type="branch"), edges=())
    joined = (Edge(source="start", target="a"), Edge(source="start", target="b", target_port="two"), edge)
    problems = [found for found in validate(replace(graph, edges=joined), Steps()) if found.code == "missing_port"]
    assert [problem.node for problem in problems] == [node]
    assert message in problems[0].message


def test_the_error_port_is_there_where_errors_go_to_it() -> None:
    node = step(settings=NodeSettings(on_error=OnError.ERROR_OUTPUT))
    edges = (Edge(source="start", target="a"), Edge(source="a", source_port="error", target="b"))
    assert validate(chain(node, step("b", "B"), edges=edges), Steps()) == []


def test_a_flow_needs_a_trigger_that_is_not_disabled() -> None:
    assert problems_of(Graph((step(),))) == [(None, "no_trigger", None)]
    assert problems_of(Graph()) == [(None, "no_trigger", None)]
    disabled = Node(id="start", type="start", name="Start", settings=NodeSettings(disabled=True))
    assert problems_of(Graph((disabled,))) == [(None, "no_trigger", None)]


def test_several_triggers_are_allowed() -> None:
    second = Node(id="second", type="start", name="Second")
    edges = (Edge(source="start", target="a"), Edge(source="second", target="a"))
    assert validate(chain(second, step(), edges=edges), Steps()) == []


def test_an_unreachable_node_is_a_warning() -> None:
    problem = only(chain(step(), step("b", "B"), edges=(Edge(source="start", target="a"),)))
    assert (problem.node, problem.code, problem.severity) == ("b", "unreachable", "warning")
    assert not has_errors([problem]) and has_errors([problem, Problem(None, "cycle", "A cycle.")])


@pytest.mark.parametrize("node_id", ["", "a b", "a/b", "ä", "a\n", "x" * (LONGEST_ID + 1), '"'])
def test_an_id_that_would_need_escaping(node_id: str) -> None:
    assert problems_of(chain(step(node_id))) == [(node_id, "bad_id", "id")]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00", "x" * (LONGEST_NAME + 1)])
def test_a_name_nobody_can_read(name: str) -> None:
    assert problems_of(chain(step(name=name))) == [("a", "bad_name", "name")]


@pytest.mark.parametrize("name", ["Ä ö 東京 🎉", "x" * LONGEST_NAME, 'a/b "quoted" <b>'])
def test_a_name_may_be_any_readable_text(name: str) -> None:
    assert validate(chain(step(name=name)), Steps()) == []


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"retry": {"max_attempts": 0}}, "retry.max_attempts"),
        ({"retry": {"max_attempts": 101}}, "retry.max_attempts"),
        ({"retry": {"backoff": -1}}, "retry.backoff"),
        ({"retry": {"max_delay": 1e9}}, "retry.max_delay"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": -5}, "timeout"),
        ({"timeout": 1e6}, "timeout"),
        ({"notes": "x" * (LONGEST_NOTES + 1)}, "notes"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], field: str) -> None:
    node = parse_graph({"nodes": [{"id": "a", "type": "step", "settings": settings}]}).nodes[0]
    assert problems_of(chain(node)) == [("a", "bad_settings", field)]


def test_a_position_out_of_sight() -> None:
    assert problems_of(chain(step(position=(0.0, FARTHEST_POSITION + 1.0)))) == [("a", "bad_position", "position")]


@pytest.mark.parametrize(
    "graph",
    [
        Graph(tuple(step(f"n{number}", f"N{number}") for number in range(MOST_NODES + 1))),
        Graph((step(),), (Edge(source="a", target="a"),) * (MOST_EDGES + 1)),
    ],
)
def test_a_graph_beyond_the_limits_has_this_one_problem(graph: Graph) -> None:
    problem = only(graph)
    assert problem.code == "too_large" and str(MOST_NODES) in problem.message


def test_messages_stay_short_whatever_the_names_are() -> None:
    long = "x" * 1_000_000
    node = step(long, long, type=long)
    edges = tuple(Edge(source=long, source_port=f"{number}", target=long) for number in range(50))
    for problem in validate(chain(node, edges=edges), Steps()):
        assert len(problem.message) < 1000
