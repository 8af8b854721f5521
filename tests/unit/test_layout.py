"""Where cards and edges are drawn, for every graph that parses."""

import json
import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.graph import Edge, Graph, Node, NodeSettings, OnError
from flows.layering import COLUMN, ROW, arrange
from flows.layout import (
    CARD_HEIGHT,
    CARD_WIDTH,
    FARTHEST,
    SMALLEST_VIEW,
    Appearance,
    curve,
    draw,
    fitting,
    number,
    positions,
    summarise,
    text_width,
)

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "drawing.json").read_text())

PLAIN = Appearance(label="No-op", icon="noop")
START = Appearance(label="Manual start", icon="play", trigger=True)
IF = Appearance(label="If", icon="branch", outputs=("true", "false"), summary="condition", summary_label="Condition")
MERGE = Appearance(label="Merge", inputs=("one", "two"))
LOOKS = {"manual": START, "noop": PLAIN, "if": IF, "merge": MERGE}


def node(name: str, x: float = 0.0, y: float = 0.0, kind: str = "noop", **more: object) -> Node:
    return Node(id=name, type=kind, name=more.pop("label", name), position=(x, y), **more)  # type: ignore[arg-type]


def chain(*names: str) -> tuple[Edge, ...]:
    return tuple(Edge(source=one, target=two) for one, two in pairwise(names))


def test_cards_are_where_the_graph_says() -> None:
    drawing = draw(Graph((node("a", 10, 20), node("b", 400, -30.5)), chain("a", "b")), LOOKS.get)
    assert [(card.x, card.y) for card in drawing.cards] == [(10, 20), (400, -30.5)]


def test_an_edge_runs_from_the_middle_of_one_side_to_the_middle_of_the_other() -> None:
    drawing = draw(Graph((node("a", 0, 0), node("b", 280, 100)), chain("a", "b")), LOOKS.get)
    [line] = drawing.lines
    assert line.path == "M 200 36 C 240 36, 240 136, 280 136"
    assert (line.x, line.y) == (240, 86)


def test_branch_outputs_are_labelled_and_each_has_its_place() -> None:
    graph = Graph(
        (node("which", 0, 0, "if"), node("yes", 280, 0), node("no", 280, 120)),
        (
            Edge(source="which", source_port="true", target="yes"),
            Edge(source="which", source_port="false", target="no"),
        ),
    )
    drawing = draw(graph, LOOKS.get)
    assert [(port.name, port.label, port.x, port.y) for port in drawing.cards[0].outputs] == [
        ("true", "true", CARD_WIDTH, 24.0),
        ("false", "false", CARD_WIDTH, 48.0),
    ]
    assert drawing.lines[0].path.startswith("M 200 24 ")
    assert drawing.lines[1].path.startswith("M 200 48 ")


def test_a_single_port_has_no_label() -> None:
    [card] = draw(Graph((node("a"),)), LOOKS.get).cards
    assert [port.label for port in (*card.inputs, *card.outputs)] == ["", ""]


def test_a_trigger_has_no_input() -> None:
    [card] = draw(Graph((node("start", kind="manual"),)), LOOKS.get).cards
    assert card.inputs == ()


def test_an_error_output_is_a_port_of_its_own() -> None:
    settings = NodeSettings(on_error=OnError.ERROR_OUTPUT)
    [card] = draw(Graph((node("a", settings=settings),)), LOOKS.get).cards
    assert [port.label for port in card.outputs] == ["main", "error"]


def test_a_card_grows_with_its_ports() -> None:
    many = Appearance(label="Switch", outputs=[f"case {n}" for n in range(8)])
    [card] = draw(Graph((node("a"),)), lambda name: many).cards
    assert card.height == 8 * 24
    assert len({port.y for port in card.outputs}) == 8
    assert all(0 < port.y < card.height for port in card.outputs)


def test_an_unknown_type_is_drawn_with_the_ports_its_edges_name() -> None:
    graph = Graph(
        (node("a", 0, 0, "gone.app"), node("b", 280, 0)),
        (Edge(source="a", source_port="left", target="b"), Edge(source="a", source_port="right", target="b")),
    )
    card = draw(graph, LOOKS.get).cards[0]
    assert not card.known
    assert "gone.app" in card.label
    assert [port.name for port in card.outputs] == ["left", "right"]


def test_an_edge_to_a_port_or_node_that_is_not_there_does_not_break_the_drawing() -> None:
    graph = Graph(
        (node("a", 0, 0), node("b", 280, 0)),
        (Edge(source="a", source_port="nope", target="b", target_port="nope"), Edge(source="a", target="nowhere")),
    )
    [line] = draw(graph, LOOKS.get).lines
    assert line.path.startswith("M 200 36 ")
    assert line.path.endswith("280 36")


def test_a_graph_without_positions_is_arranged_left_to_right() -> None:
    graph = Graph(tuple(node(name) for name in "abcd"), chain("a", "b", "c", "d"))
    assert [card.x for card in draw(graph, LOOKS.get).cards] == [0, COLUMN, 2 * COLUMN, 3 * COLUMN]
    assert {card.y for card in draw(graph, LOOKS.get).cards} == {0}


def test_branches_lie_beside_each_other_and_their_join_between_them() -> None:
    edges = [("start", "up"), ("start", "down"), ("up", "join"), ("down", "join")]
    places = arrange(["start", "up", "down", "join"], edges)
    assert places["up"][0] == places["down"][0] == COLUMN
    assert abs(places["up"][1] - places["down"][1]) == ROW
    assert places["start"][1] == places["join"][1] == (places["up"][1] + places["down"][1]) / 2


def test_branches_do_not_cross_when_they_need_not() -> None:
    # Named so that the order of the names would cross every edge.
    edges = [("s", "a"), ("s", "b"), ("s", "c"), ("a", "z"), ("b", "y"), ("c", "x")]
    places = arrange(["s", "a", "b", "c", "x", "y", "z"], edges)
    assert [places[name][1] for name in "zyx"] == sorted(places[name][1] for name in "zyx")


def test_a_long_edge_gets_room_between_the_cards_it_passes() -> None:
    places = arrange(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    assert places["b"][1] != places["a"][1]


def test_one_card_that_hides_another_moves_below_and_the_others_stay() -> None:
    graph = Graph((node("a", 0, 0), node("b", 280, 0), node("c", 560, 0), node("d", 840, 0), node("e", 285, 3)))
    assert positions(graph) == {"a": (0, 0), "b": (280, 0), "c": (560, 0), "d": (840, 0), "e": (285, 3 + ROW)}


def test_cards_that_only_touch_stay_where_the_author_put_them() -> None:
    graph = Graph((node("a", 0, 0), node("b", 150, 40)))
    assert positions(graph) == {"a": (0, 0), "b": (150, 40)}


def test_a_cycle_is_drawn_all_the_same() -> None:
    graph = Graph(tuple(node(name) for name in "abc"), (*chain("a", "b", "c"), Edge(source="c", target="a")))
    drawing = draw(graph, LOOKS.get)
    assert [card.x for card in drawing.cards] == [0, COLUMN, 2 * COLUMN]
    assert len(drawing.lines) == 3


def test_a_chain_of_thousands_of_nodes_does_not_exhaust_the_stack() -> None:
    names = [str(index) for index in range(3000)]
    assert arrange(names, list(pairwise(names)))["2999"] == (2999 * COLUMN, 0)


def test_a_position_out_of_all_bounds_is_drawn_at_the_bound() -> None:
    assert positions(Graph((node("a", 1e300, -1e300),)))["a"] == (FARTHEST, -FARTHEST)


def test_an_empty_graph_has_a_view() -> None:
    drawing = draw(Graph(), LOOKS.get)
    assert drawing.cards == ()
    assert str(drawing.view) == "-560 -310 1120 620"


def test_a_small_flow_is_not_blown_up_and_a_large_one_fits() -> None:
    small = draw(Graph((node("a", 100, 100),)), LOOKS.get).view
    assert (small.width, small.height) == SMALLEST_VIEW
    assert small.x + small.width / 2 == 200
    large = draw(Graph((node("a", 0, 0), node("b", 5000, 3000))), LOOKS.get)
    assert large.view.width > large.content.width == 5000 + CARD_WIDTH
    assert large.view.height > large.content.height == 3000 + CARD_HEIGHT


@pytest.mark.parametrize("case", VECTORS["curves"], ids=lambda case: f"{case['start']} to {case['end']}")
def test_curves_are_those_that_the_editor_draws_too(case: dict[str, Any]) -> None:
    assert curve(case["start"], case["end"]) == case["path"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.0, "0"), (-0.001, "0"), (12.0, "12"), (12.5, "12.5"), (100, "100"), (1 / 3, "0.33")],
)
def test_numbers_are_written_without_noise(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("case", VECTORS["summaries"], ids=lambda case: str(case["params"]))
def test_the_card_tells_the_key_parameter(case: dict[str, Any]) -> None:
    look = Appearance(label="Delay", summary="seconds", summary_label="Seconds")
    assert summarise(case["params"], look) == case["text"]


def test_text_that_fits_is_left_alone_and_what_does_not_is_cut() -> None:
    assert fitting("Short", 128, 13) == "Short"
    cut = fitting("A name that is far too long for any card", 128, 13)
    assert cut.endswith("…")
    assert text_width(cut, 13) <= 128


def test_a_long_expression_is_cut_by_its_characters() -> None:
    graph = Graph((node("which", kind="if", params={"condition": "=item['total'] > 100 and item['vip']"}),))
    [card] = draw(graph, LOOKS.get).cards
    assert card.expression
    assert card.shown_summary == "=item['total'] > 10…"


names = st.lists(st.sampled_from("abcdefghij"), unique=True, min_size=1, max_size=10)


@st.composite
def graphs(draw_from: st.DrawFn) -> Graph:
    ids = draw_from(names)
    place = st.sampled_from([0.0, 0.0, 100.0, 280.0, 560.0])
    edges = draw_from(st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), max_size=20))
    return Graph(
        tuple(node(name, draw_from(place), draw_from(place)) for name in ids),
        tuple(Edge(source=one, target=two) for one, two in edges),
    )


@given(graphs())
def test_every_graph_is_drawn_with_no_card_hidden_and_all_in_view(graph: Graph) -> None:
    drawing = draw(graph, LOOKS.get)
    assert [card.id for card in drawing.cards] == [each.id for each in graph.nodes]
    assert len(drawing.lines) == len(graph.edges)
    for one, two in combinations(drawing.cards, 2):
        assert abs(one.x - two.x) >= CARD_WIDTH / 2 or abs(one.y - two.y) >= CARD_HEIGHT / 2
    for card in drawing.cards:
        assert drawing.view.x < card.x
        assert card.x + card.width < drawing.view.x + drawing.view.width
        assert drawing.view.y < card.y
        assert card.y + card.height < drawing.view.y + drawing.view.height
    for line in drawing.lines:
        assert re.fullmatch(r"M -?[\d.]+ -?[\d.]+ C(,? -?[\d.]+ -?[\d.]+){3}", line.path)


@given(graphs())
def test_arranged_cards_never_overlap_and_edges_of_acyclic_graphs_run_to_the_right(graph: Graph) -> None:
    edges = [(edge.source, edge.target) for edge in graph.edges if edge.source < edge.target]
    places = arrange([each.id for each in graph.nodes], edges)
    for one, two in combinations(places.values(), 2):
        assert abs(one[0] - two[0]) >= COLUMN or abs(one[1] - two[1]) >= CARD_HEIGHT
    for source, target in edges:
        assert places[source][0] < places[target][0]
