"""Plans: the order of nodes, and what each knows of its neighbours and of all that lies before it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions.engine.plan import NodeBehaviour, Plan, PlanError, make_plan
from flows.context import NodeContext, Ports
from flows.graph import Edge, Graph, Node


async def nothing(ctx: NodeContext) -> Ports:
    return {}


def node(id: str, **params: object) -> Node:
    return Node(id=id, type="test", name=id.upper(), params=params)


def plan_of(nodes: list[Node], *edges: tuple[str, str, str, str]) -> Plan:
    listed = tuple(Edge(source=a, source_port=p, target=b, target_port=q) for a, p, b, q in edges)
    return make_plan(Graph(tuple(nodes), listed), {each.id: NodeBehaviour(execute=nothing) for each in nodes})


def edge(source: str, target: str) -> tuple[str, str, str, str]:
    return source, "main", target, "main"


@st.composite
def acyclic(draw: st.DrawFn) -> tuple[list[str], set[tuple[str, str]]]:
    ids = [f"n{number}" for number in range(draw(st.integers(1, 12)))]
    pairs = [(a, b) for number, b in enumerate(ids) for a in ids[:number]]
    edges = draw(st.sets(st.sampled_from(pairs))) if pairs else set()
    return draw(st.permutations(ids)), edges


@given(acyclic())
def test_every_node_stands_once_behind_all_that_it_depends_on(drawn: tuple[list[str], set[tuple[str, str]]]) -> None:
    ids, edges = drawn
    plan = plan_of([node(id) for id in ids], *(edge(*pair) for pair in edges))
    order = [planned.node.id for planned in plan.nodes]
    assert sorted(order) == sorted(ids)
    assert [planned.index for planned in plan.nodes] == list(range(len(ids)))
    for source, target in edges:
        assert order.index(source) < order.index(target)


def test_nodes_that_do_not_depend_on_one_another_keep_their_order() -> None:
    plan = plan_of([node(id) for id in "cab"])
    assert [planned.node.id for planned in plan.nodes] == ["c", "a", "b"]


def test_a_node_knows_its_neighbours_by_port() -> None:
    plan = plan_of(
        [node(id) for id in "abc"], ("a", "true", "c", "one"), ("a", "false", "c", "one"), ("b", "main", "c", "two")
    )
    a, b, c = plan.nodes
    assert c.inputs == {"one": [(a.index, "true"), (a.index, "false")], "two": [(b.index, "main")]}
    assert c.feeds == 3
    assert a.outputs == [("true", c.index), ("false", c.index)]
    assert (a.feeds, b.outputs) == (0, [("main", c.index)])


@pytest.mark.parametrize("params", [{"a": "=item"}, {"a": {"b": [1, "=item"]}}, {"a": ["x", {"c": "=item"}]}])
def test_a_node_with_expressions_knows_all_that_lies_before_it(params: dict[str, object]) -> None:
    nodes = [node("a"), node("b"), node("beside"), node("c", **params)]
    plan = plan_of(nodes, edge("a", "b"), edge("b", "c"), edge("a", "beside"))
    assert plan.nodes[-1].node.id in {"c", "beside"}
    (last,) = (planned for planned in plan.nodes if planned.node.id == "c")
    assert {name: plan.nodes[index].node.id for name, index in last.upstream.items()} == {"A": "a", "B": "b"}


def test_a_node_without_expressions_is_spared_that() -> None:
    plan = plan_of([node("a"), node("b", text="a = b", number=1)], edge("a", "b"))
    assert plan.nodes[1].upstream == {}


@pytest.mark.parametrize("edges", [[edge("a", "a")], [edge("a", "b"), edge("b", "c"), edge("c", "b")]])
def test_a_cycle_has_no_plan(edges: list[tuple[str, str, str, str]]) -> None:
    with pytest.raises(PlanError, match="cycle"):
        plan_of([node(id) for id in "abc"], *edges)


@pytest.mark.parametrize("pair", [("a", "gone"), ("gone", "a")])
def test_an_edge_to_nowhere_has_no_plan(pair: tuple[str, str]) -> None:
    with pytest.raises(PlanError, match="not there"):
        plan_of([node("a")], edge(*pair))


def test_a_graph_without_nodes_is_a_plan_without_any() -> None:
    assert plan_of([]).nodes == ()


def test_a_long_chain_is_planned_without_a_deep_stack() -> None:
    ids = [f"n{number}" for number in range(3000)]
    nodes = [*(node(id) for id in ids[:-1]), node(ids[-1], a="=item")]
    plan = plan_of(nodes, *(edge(a, b) for a, b in pairwise(ids)))
    assert len(plan.nodes[-1].upstream) == 2999
