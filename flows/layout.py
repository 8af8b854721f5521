"""Where everything of a graph's drawing is: cards, ports, the curves of its edges, and the box around them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.graph import ERROR_PORT, MAIN, Edge, Graph, Node, OnError
from flows.layering import ROW, arrange

CARD_WIDTH = 200.0
CARD_HEIGHT = 72.0
PORT_SPACING = 24.0
TEXT_WIDTH = 128.0
"""What a card has room for beside its icon."""
NOTE_WIDTH = 16.0
"""What the sign of a note takes from the room of the name."""
MARGIN = 60.0
SMALLEST_VIEW = (1120.0, 620.0)
"""A flow of two nodes is shown in the middle of this, not blown up to the size of the screen."""
FARTHEST = 100_000.0
"""Positions beyond this are drawn here."""

NAME_SIZE = 13.0
SUMMARY_SIZE = 11.5
EXPRESSION_LENGTH = 20
"""How many characters of an expression fit; it is shown in a font of fixed width."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Appearance:
    """What the drawing wants to know of a node type. `summary` is the name of the parameter shown on the card."""

    label: str
    icon: str = "box"
    inputs: Sequence[str] = (MAIN,)
    outputs: Sequence[str] = (MAIN,)
    summary: str = ""
    summary_label: str = ""
    trigger: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """A place on a card that edges start or end at; `x` and `y` count from the card's corner. `label` may be empty."""

    name: str
    x: float
    y: float
    label: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    id: str
    type: str
    name: str
    label: str
    icon: str
    summary: str
    shown_name: str
    shown_summary: str
    x: float
    y: float
    width: float = CARD_WIDTH
    height: float = CARD_HEIGHT
    inputs: Sequence[Port] = ()
    outputs: Sequence[Port] = ()
    disabled: bool = False
    known: bool = True
    notes: str = ""

    @property
    def inset(self) -> float:
        """How far the content is from the top of a card that has grown with its ports."""
        return (self.height - CARD_HEIGHT) / 2

    @property
    def expression(self) -> bool:
        return self.summary.startswith("=")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """An edge: its curve as an SVG path, and its middle, where the number of items is shown."""

    source: str
    source_port: str
    target: str
    target_port: str
    path: str
    x: float
    y: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    x: float
    y: float
    width: float
    height: float

    def __str__(self) -> str:
        return f"{number(self.x)} {number(self.y)} {number(self.width)} {number(self.height)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """`content` is the box around the cards, `view` the part to show at first (an SVG viewBox)."""

    cards: Sequence[Card] = ()
    lines: Sequence[Line] = ()
    content: Box = field(default_factory=lambda: Box(x=0, y=0, width=0, height=0))
    view: Box = field(default_factory=lambda: _view_of(Box(x=0, y=0, width=0, height=0)))


Look = Callable[[str], Appearance | None]


def draw(graph: Graph, look: Look) -> Drawing:
    """The drawing of a graph. `look` describes a node type by its name; what it does not know is drawn as unknown.

    Never fails on a graph that parses: an edge to a port that a card does not have ends in the middle of its side, and
    an edge to a node that is not there is left out.
    """
    places = positions(graph)
    cards = {node.id: _card(node, look(node.type), places[node.id], graph) for node in graph.nodes}
    lines = [_line(edge, cards) for edge in graph.edges if edge.source in cards and edge.target in cards]
    content = _around(list(cards.values()))
    return Drawing(cards=tuple(cards.values()), lines=tuple(lines), content=content, view=_view_of(content))


def positions(graph: Graph) -> dict[str, tuple[float, float]]:
    """Where each card's corner goes: where the graph says, but no card hides another.

    When many cards lie on one another (their positions are missing, most of the time) the whole graph is arranged anew.
    A single one moves to the next free place below.
    """
    taken: dict[str, tuple[float, float]] = {}
    hidden: list[Node] = []
    for node in graph.nodes:
        place = (_within(node.position[0]), _within(node.position[1]))
        if any(_hides(place, other) for other in taken.values()):
            hidden.append(node)
        else:
            taken[node.id] = place
    if len(hidden) * 3 >= len(graph.nodes):
        return arrange([node.id for node in graph.nodes], [(edge.source, edge.target) for edge in graph.edges])
    for node in hidden:
        x, y = _within(node.position[0]), _within(node.position[1])
        while any(_hides((x, y), other) for other in taken.values()):
            y += ROW
        taken[node.id] = (x, y)
    return {node.id: taken[node.id] for node in graph.nodes}


def curve(start: tuple[float, float], end: tuple[float, float]) -> str:
    """The path of an edge: leaves an output to the right, reaches an input from the left, also when it runs back."""
    (x1, y1), (x2, y2) = start, end
    reach = _reach(x2 - x1)
    points = ((x1 + reach, y1), (x2 - reach, y2), (x2, y2))
    return f"M {number(x1)} {number(y1)} C " + ", ".join(f"{number(x)} {number(y)}" for x, y in points)


def fitting(text: str, width: float, size: float) -> str:
    """The text, cut with an ellipsis where it is wider than `width` in a sans-serif font of `size` (by estimate)."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def text_width(text: str, size: float) -> float:
    """The estimated width of text; SVG cannot cut what is too long, and the server has no fonts to measure it with."""
    return size * sum(_GLYPH_WIDTHS.get(glyph, 0.56 if glyph.isascii() else 0.75) for glyph in text)


def number(value: float) -> str:
    """A coordinate as SVG wants it, without noise: `12`, `12.5`."""
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")


_GLYPH_WIDTHS = {
    **dict.fromkeys("iljI.,:;'|!", 0.27),
    **dict.fromkeys('ftr()[]{}/ "-', 0.35),
    **dict.fromkeys("mwMW@%", 0.87),
    **dict.fromkeys("ABCDEGHKNOPQRUVXY&", 0.69),
}


def _within(value: float) -> float:
    return round(max(-FARTHEST, min(FARTHEST, float(value))), 2)


def _hides(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return abs(one[0] - other[0]) < CARD_WIDTH / 2 and abs(one[1] - other[1]) < CARD_HEIGHT / 2


def _card(node: Node, look: Appearance | None, place: tuple[float, float], graph: Graph) -> Card:
    known = look is not None
    look = look or _unknown(node, graph)
    outputs = list(look.outputs)
    if node.settings.on_error == OnError.ERROR_OUTPUT and ERROR_PORT not in outputs:
        outputs.append(ERROR_PORT)
    height = max(CARD_HEIGHT, PORT_SPACING * max(len(look.inputs), len(outputs)))
    summary = summarise(node.params, look)
    return Card(
        id=node.id,
        type=node.type,
        name=node.name,
        label=look.label,
        icon=look.icon,
        summary=summary,
        shown_name=fitting(node.name, TEXT_WIDTH - (NOTE_WIDTH if node.settings.notes else 0), NAME_SIZE),
        shown_summary=_shown_summary(summary),
        x=place[0],
        y=place[1],
        height=height,
        inputs=_ports(() if look.trigger else look.inputs, 0.0, height),
        outputs=_ports(outputs, CARD_WIDTH, height),
        disabled=node.settings.disabled,
        known=known,
        notes=node.settings.notes,
    )


def _unknown(node: Node, graph: Graph) -> Appearance:
    """A type that is not installed gets the ports that its edges speak of."""
    inputs = dict.fromkeys(edge.target_port for edge in graph.edges if edge.target == node.id)
    outputs = dict.fromkeys(edge.source_port for edge in graph.edges if edge.source == node.id)
    return Appearance(label=f"Unknown type “{node.type}”", icon="unknown", inputs=tuple(inputs), outputs=tuple(outputs))


def summarise(params: Mapping[str, Any], look: Appearance) -> str:
    """One line of what a node does: its key parameter, numbers with the field's label; or the type's label."""
    value = params.get(look.summary) if look.summary else None
    if value is None or value == "" or isinstance(value, Mapping | list):
        return look.label
    if isinstance(value, bool | int | float):
        shown = str(value).lower().removesuffix(".0")
        return f"{look.summary_label or look.summary.capitalize()}: {shown}"
    return " ".join(str(value).split())


def _shown_summary(summary: str) -> str:
    if not summary.startswith("="):
        return fitting(summary, TEXT_WIDTH, SUMMARY_SIZE)
    return summary if len(summary) <= EXPRESSION_LENGTH else summary[: EXPRESSION_LENGTH - 1].rstrip() + "…"


def _ports(names: Sequence[str], x: float, height: float) -> tuple[Port, ...]:
    step = height / (len(names) + 1)
    return tuple(
        Port(name=name, x=x, y=round(step * (index + 1), 2), label=name if len(names) > 1 else "")
        for index, name in enumerate(names)
    )


def _line(edge: Edge, cards: Mapping[str, Card]) -> Line:
    start = _end(cards[edge.source], cards[edge.source].outputs, edge.source_port, CARD_WIDTH)
    end = _end(cards[edge.target], cards[edge.target].inputs, edge.target_port, 0.0)
    return Line(
        source=edge.source,
        source_port=edge.source_port,
        target=edge.target,
        target_port=edge.target_port,
        path=curve(start, end),
        x=round((start[0] + end[0]) / 2, 2),
        y=round((start[1] + end[1]) / 2, 2),
    )


def _end(card: Card, ports: Sequence[Port], name: str, side: float) -> tuple[float, float]:
    for port in ports:
        if port.name == name:
            return card.x + port.x, card.y + port.y
    return card.x + side, card.y + card.height / 2


def _reach(across: float) -> float:
    """How far a curve goes on straight: half the way; more when it runs back, to go round the cards."""
    return min(max(across / 2, 40.0) if across >= 0 else 60.0 - across / 2, 240.0)


def _around(cards: Sequence[Card]) -> Box:
    if not cards:
        return Box(x=0, y=0, width=0, height=0)
    left, top = min(card.x for card in cards), min(card.y for card in cards)
    right = max(card.x + card.width for card in cards)
    bottom = max(card.y + card.height for card in cards)
    return Box(x=left, y=top, width=right - left, height=bottom - top)


def _view_of(content: Box) -> Box:
    width = max(content.width + 2 * MARGIN, SMALLEST_VIEW[0])
    height = max(content.height + 2 * MARGIN, SMALLEST_VIEW[1])
    return Box(
        x=content.x - (width - content.width) / 2,
        y=content.y - (height - content.height) / 2,
        width=width,
        height=height,
    )
