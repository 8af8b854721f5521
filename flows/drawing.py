"""The drawing of a flow's graph, as its installed node types look."""

from __future__ import annotations

from dataclasses import replace

from flows.graph import parse_graph
from flows.layout import Appearance, Box, Drawing, draw
from flows.models import FlowVersion
from flows.node_types import registry

CLOSE_MARGIN = 36.0
NARROWEST_CLOSE_UP = 640.0


def drawing_of(version: FlowVersion) -> Drawing:
    """What `flows/_graph.html` shows of a version. Raises GraphError for JSON that is not of a graph's shape."""
    return draw(parse_graph(version.graph), appearance)


def close_up(drawing: Drawing) -> Drawing:
    """The drawing without the room around it that an editor wants."""
    content = drawing.content
    width = max(content.width + 2 * CLOSE_MARGIN, NARROWEST_CLOSE_UP)
    height = content.height + 2 * CLOSE_MARGIN
    x = content.x - (width - content.width) / 2
    return replace(drawing, view=Box(x=x, y=content.y - CLOSE_MARGIN, width=width, height=height))


def appearance(type_name: str) -> Appearance | None:
    """How a node type looks; None for one that is not installed."""
    node_type = registry.get(type_name)
    if node_type is None:
        return None
    field = node_type.Params.base_fields.get(node_type.summary)
    return Appearance(
        label=node_type.label,
        icon=node_type.icon,
        inputs=tuple(node_type.inputs),
        outputs=tuple(node_type.outputs),
        summary=node_type.summary,
        summary_label=str(field.label) if field is not None and field.label else "",
        trigger=node_type.trigger,
    )
