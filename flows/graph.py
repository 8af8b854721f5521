"""What a flow's graph is: nodes, edges, and how both are read from and written to JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAIN = "main"
"""The name of a node's only port."""

ERROR_PORT = "error"
"""The extra output port of a node whose `on_error` is `error_output`."""


class GraphError(ValueError):
    """The JSON is not of a graph's shape; `path` says where, e.g. `nodes[2].params`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class OnError(StrEnum):
    STOP = "stop"
    CONTINUE = "continue"
    ERROR_OUTPUT = "error_output"


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """`max_attempts` counts the first one; `backoff` and `max_delay` are seconds, doubled from one attempt to the next."""

    max_attempts: int = 1
    backoff: float = 1.0
    max_delay: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSettings:
    """How the engine treats a node, whatever its type. `timeout` is seconds for each attempt, None for no limit."""

    disabled: bool = False
    notes: str = ""
    retry: Retry = Retry()
    timeout: float | None = None
    on_error: OnError = OnError.STOP


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    id: str
    type: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    position: tuple[float, float] = (0.0, 0.0)
    settings: NodeSettings = NodeSettings()


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    source: str
    source_port: str = MAIN
    target: str
    target_port: str = MAIN


@dataclass(frozen=True, slots=True)
class Graph:
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()

    def node(self, node_id: str) -> Node:
        """The node of that id. Raises KeyError."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(node_id)
