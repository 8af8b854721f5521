"""What is wrong with a graph: all of it at once, each problem with the node it is at. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from flows.graph import Graph


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

    `node` is the id of the node it is at, None for the graph as a whole; `field` the parameter or setting; `path` the names
    of the nodes along a cycle, the first one again at its end. A graph with a problem of severity "error" is not saved.
    """

    node: str | None
    code: str
    message: str
    severity: Literal["error", "warning"] = "error"
    field: str | None = None
    path: tuple[str, ...] = ()


def validate(graph: Graph, catalog: Catalog) -> list[Problem]:
    """All problems of a graph, in the order of its nodes and edges."""
    return []
