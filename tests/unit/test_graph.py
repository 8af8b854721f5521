"""Graphs and their JSON."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given

from flows.graph import (
    DEEPEST_VALUE,
    Edge,
    Graph,
    GraphError,
    Node,
    NodeSettings,
    OnError,
    Retry,
    canonical_checksum,
    dump_graph,
    parse_graph,
)
from tests.unit.graphs import any_graphs, json_values


@given(any_graphs)
def test_a_graph_is_read_back_as_it_was_written(graph: Graph) -> None:
    text = orjson.dumps(dump_graph(graph))
    assert parse_graph(orjson.loads(text)) == graph


@given(any_graphs)
def test_the_written_form_of_a_graph_is_canonical(graph: Graph) -> None:
    written = dump_graph(graph)
    assert canonical_checksum(dump_graph(parse_graph(written))) == canonical_checksum(written)


@given(json_values)
def test_any_json_is_a_graph_or_a_graph_error(value: object) -> None:
    with suppress(GraphError):
        assert parse_graph(value) == parse_graph(dump_graph(parse_graph(value)))


def test_what_is_left_out_has_its_default() -> None:
    graph = parse_graph(
        {
            "nodes": [{"id": "a", "type": "manual"}, {"id": "b", "type": "noop", "name": "B"}],
            "edges": [{"source": "a", "target": "b"}],
        }
    )
    assert graph.nodes == (Node(id="a", type="manual", name="a"), Node(id="b", type="noop", name="B"))
    assert graph.edges == (Edge(source="a", source_port="main", target="b", target_port="main"),)


def test_settings_hold_only_what_differs_from_the_defaults() -> None:
    node = Node(
        id="a", type="t", name="A", settings=NodeSettings(retry=Retry(max_attempts=3), on_error=OnError.CONTINUE)
    )
    (written,) = dump_graph(Graph((node,)))["nodes"]
    assert written["settings"] == {"retry": {"max_attempts": 3}, "on_error": "continue"}


def test_whole_numbers_are_written_as_people_write_them() -> None:
    node = Node(id="a", type="t", name="A", position=(280.0, -0.5), settings=NodeSettings(timeout=30.0))
    text = orjson.dumps(dump_graph(Graph((node,)))).decode()
    assert '"position":[280,-0.5]' in text and '"timeout":30}' in text


def test_the_checksum_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical_checksum({"a": 1, "b": {"c": 2, "d": 3}}) == canonical_checksum({"b": {"d": 3, "c": 2}, "a": 1})
    assert canonical_checksum({"a": 1}) != canonical_checksum({"a": 2})


def test_a_node_is_found_by_its_id() -> None:
    node = Node(id="a", type="t", name="A")
    assert Graph((node,)).node("a") is node
    with pytest.raises(KeyError, match="b"):
        Graph((node,)).node("b")


def with_node(**entries: Any) -> dict[str, Any]:
    return {"nodes": [{"id": "a", "type": "t", **entries}]}


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        (None, "", "must be an object, not null"),
        ([], "", "must be an object, not a list"),
        ("{}", "", "must be an object, not text"),
        ({}, "", "'nodes' is missing"),
        ({"nodes": {}}, "nodes", "must be a list, not an object"),
        ({"nodes": [], "edges": 3}, "edges", "must be a list, not a number"),
        ({"nodes": [], "notes": []}, "", "unknown key 'notes'"),
        ({"nodes": [True]}, "nodes[0]", "must be an object, not true or false"),
        ({"nodes": [{"id": "a"}]}, "nodes[0]", "'type' is missing"),
        (with_node(id=1), "nodes[0].id", "must be text"),
        (with_node(parameters={}), "nodes[0]", "unknown key 'parameters'"),
        (with_node(params=[]), "nodes[0].params", "must be an object"),
        (with_node(position=[0]), "nodes[0].position", "must be a list of two numbers"),
        (with_node(position=[0, "1"]), "nodes[0].position[1]", "must be a number, not text"),
        (with_node(position=[0, True]), "nodes[0].position[1]", "must be a number, not true or false"),
        (with_node(position=[0, float("nan")]), "nodes[0].position[1]", "finite"),
        (with_node(position=[0, 10**400]), "nodes[0].position[1]", "64 bits"),
        (with_node(settings={"disabled": 1}), "nodes[0].settings.disabled", "must be true or false"),
        (with_node(settings={"on_error": "ignore"}), "nodes[0].settings.on_error", "stop, continue, error_output"),
        (with_node(settings={"on_error": None}), "nodes[0].settings.on_error", "must be text"),
        (with_node(settings={"retry": {"max_attempts": 1.5}}), "nodes[0].settings.retry.max_attempts", "whole number"),
        (with_node(settings={"retries": 3}), "nodes[0].settings", "unknown key 'retries'"),
        (with_node(params={"a": [1, {"b": float("inf")}]}), "nodes[0].params.a[1].b", "finite"),
        (with_node(params={"a": 2**63}), "nodes[0].params.a", "64 bits"),
        (with_node(params={"a": "\ud800"}), "nodes[0].params.a", "half of a surrogate pair"),
        (with_node(params={"\udfff": 1}), "nodes[0].params", "half of a surrogate pair"),
        (with_node(name="\ud83d"), "nodes[0].name", "half of a surrogate pair"),
        (with_node(**{"\ud800": 1}), "nodes[0]", "unknown key"),
        (with_node(params={1: 1}), "nodes[0].params", "the key 1 is not text"),
        (with_node(params={"a": {1, 2}}), "nodes[0].params.a", "set is not a JSON value"),
        (with_node(params={"a": nested(100_000)}), "nodes[0].params.a[0][0]", "levels deep"),
        ({"nodes": [], "edges": [{"source": "a"}]}, "edges[0]", "'target' is missing"),
        ({"nodes": [], "edges": [{"source": "a", "target": None}]}, "edges[0].target", "must be text, not null"),
    ],
)
def test_what_is_not_of_a_graphs_shape_is_refused_with_its_place(value: object, path: str, message: str) -> None:
    with pytest.raises(GraphError) as caught:
        parse_graph(value)
    assert caught.value.path.startswith(path) and bool(path) == bool(caught.value.path)
    assert message in caught.value.message
    str(caught.value).encode()


def test_parameters_may_be_nested_as_deep_as_the_limit_and_are_stored() -> None:
    graph = parse_graph(with_node(params={"a": nested(DEEPEST_VALUE - 1)}))
    assert parse_graph(orjson.loads(orjson.dumps(dump_graph(graph)))) == graph
