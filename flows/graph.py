"""What a flow's graph is: nodes, edges, and how both are read from and written to JSON. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

MAIN = "main"
"""The name of a node's only port."""

ERROR_PORT = "error"
"""The extra output port of a node whose `on_error` is `error_output`."""

DEEPEST_VALUE = 50
"""How many lists and objects may lie within one another in a node's parameters; orjson writes 254 at most."""

LONGEST_PATH = 200
"""What an error shows of the way to it, since the keys along it may be of any length."""

INTEGER_BITS = 64
"""JSON integers beyond these are refused by orjson, and changed by every reader that takes numbers for doubles."""


class GraphError(ValueError):
    """The JSON is not of a graph's shape; `path` says where, e.g. `nodes[2].params`."""

    def __init__(self, path: str, message: str) -> None:
        path = path[:LONGEST_PATH]
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class OnError(StrEnum):
    STOP = "stop"
    CONTINUE = "continue"
    ERROR_OUTPUT = "error_output"


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """`max_attempts` counts the first one; `backoff` and `max_delay` are seconds, doubled from attempt to attempt."""

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


def parse_graph(value: object) -> Graph:
    """The graph that a JSON value describes; only `id` and `type` of a node and the ends of an edge have no default.

    Raises GraphError where the value is not of a graph's shape, or could not be stored and read back unchanged: an
    unknown key (it would be lost at the next save), a number beyond 64 bits or not finite, half of a surrogate pair,
    too deep nesting.
    """
    entries = _object(value, "", known=("nodes", "edges"), required=("nodes",))
    nodes = _list(entries["nodes"], "nodes")
    edges = _list(entries.get("edges", []), "edges")
    return Graph(
        tuple(_node(node, f"nodes[{index}]") for index, node in enumerate(nodes)),
        tuple(_edge(edge, f"edges[{index}]") for index, edge in enumerate(edges)),
    )


def dump_graph(graph: Graph) -> dict[str, Any]:
    """The JSON of a graph; of a node's settings only what differs from the defaults."""
    return {"nodes": [_dump_node(node) for node in graph.nodes], "edges": [_dump_edge(edge) for edge in graph.edges]}


def canonical_checksum(graph_json: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of the JSON of a graph as `dump_graph` writes it, with sorted keys and no white space."""
    return hashlib.sha256(orjson.dumps(graph_json, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _node(value: object, path: str) -> Node:
    known = ("id", "type", "name", "params", "position", "settings")
    entries = _object(value, path, known=known, required=("id", "type"))
    node_id = _text(entries["id"], f"{path}.id")
    params = _object(entries.get("params", {}), f"{path}.params")
    _check_json(params, f"{path}.params")
    return Node(
        id=node_id,
        type=_text(entries["type"], f"{path}.type"),
        name=_text(entries.get("name", node_id), f"{path}.name"),
        params=params,
        position=_position(entries.get("position", (0, 0)), f"{path}.position"),
        settings=_settings(entries.get("settings", {}), f"{path}.settings"),
    )


def _edge(value: object, path: str) -> Edge:
    known = ("source", "source_port", "target", "target_port")
    entries = _object(value, path, known=known, required=("source", "target"))
    return Edge(
        source=_text(entries["source"], f"{path}.source"),
        source_port=_text(entries.get("source_port", MAIN), f"{path}.source_port"),
        target=_text(entries["target"], f"{path}.target"),
        target_port=_text(entries.get("target_port", MAIN), f"{path}.target_port"),
    )


def _settings(value: object, path: str) -> NodeSettings:
    entries = _object(value, path, known=("disabled", "notes", "retry", "timeout", "on_error"))
    default = NodeSettings()
    timeout = entries.get("timeout")
    return NodeSettings(
        disabled=_boolean(entries.get("disabled", default.disabled), f"{path}.disabled"),
        notes=_text(entries.get("notes", default.notes), f"{path}.notes"),
        retry=_retry(entries.get("retry", {}), f"{path}.retry"),
        timeout=None if timeout is None else _number(timeout, f"{path}.timeout"),
        on_error=_on_error(entries.get("on_error", default.on_error), f"{path}.on_error"),
    )


def _retry(value: object, path: str) -> Retry:
    entries = _object(value, path, known=("max_attempts", "backoff", "max_delay"))
    default = Retry()
    return Retry(
        max_attempts=_integer(entries.get("max_attempts", default.max_attempts), f"{path}.max_attempts"),
        backoff=_number(entries.get("backoff", default.backoff), f"{path}.backoff"),
        max_delay=_number(entries.get("max_delay", default.max_delay), f"{path}.max_delay"),
    )


def _on_error(value: object, path: str) -> OnError:
    text = _text(value, path)
    try:
        return OnError(text)
    except ValueError:
        raise GraphError(path, f"must be one of {', '.join(OnError)}") from None


def _position(value: object, path: str) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise GraphError(path, "must be a list of two numbers, x and y")
    return _number(value[0], f"{path}[0]"), _number(value[1], f"{path}[1]")


def _object(
    value: object, path: str, *, known: Sequence[str] | None = None, required: Sequence[str] = ()
) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise GraphError(path, f"must be an object, not {_kind(value)}")
    for key in required:
        if key not in value:
            raise GraphError(path, f"{key!r} is missing")
    for key in value:
        if known is not None and key not in known:
            raise GraphError(path, f"unknown key {key!r}; known are {', '.join(known)}")
    return value


def _list(value: object, path: str) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise GraphError(path, f"must be a list, not {_kind(value)}")
    return value


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise GraphError(path, f"must be text, not {_kind(value)}")
    _check_scalar(value, path)
    return value


def _boolean(value: object, path: str) -> bool:
    if not isinstance(value, bool):
        raise GraphError(path, f"must be true or false, not {_kind(value)}")
    return value


def _integer(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise GraphError(path, f"must be a whole number, not {_kind(value)}")
    _check_scalar(value, path)
    return value


def _number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GraphError(path, f"must be a number, not {_kind(value)}")
    _check_scalar(value, path)
    return float(value)


def _kind(value: object) -> str:
    """What a value is, in JSON's words."""
    if value is None:
        return "null"
    kinds = ((bool, "true or false"), (str, "text"), (int | float, "a number"), (list | tuple, "a list"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "an object")


def _check_json(value: object, path: str, depth: int = 0) -> None:
    """Raise GraphError for what cannot be stored as JSON; its own depth is bounded by DEEPEST_VALUE."""
    if depth > DEEPEST_VALUE:
        raise GraphError(path, f"is nested more than {DEEPEST_VALUE} levels deep")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise GraphError(path, f"the key {key!r} is not text")
            _check_scalar(key, path)
            _check_json(inner, f"{path}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check_json(inner, f"{path}[{index}]", depth + 1)
    else:
        _check_scalar(value, path)


def _check_scalar(value: object, path: str) -> None:
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise GraphError(path, "holds half of a surrogate pair, which is not a character")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise GraphError(path, "must be a finite number")
    elif isinstance(value, int):
        if value.bit_length() >= INTEGER_BITS:
            raise GraphError(path, f"is a number beyond {INTEGER_BITS} bits; write it as text")
    elif value is not None:
        raise GraphError(path, f"{type(value).__name__} is not a JSON value")


def _dump_node(node: Node) -> dict[str, Any]:
    return {
        "id": node.id,
        "type": node.type,
        "name": node.name,
        "params": dict(node.params),
        "position": [_plain(coordinate) for coordinate in node.position],
        "settings": _dump_settings(node.settings),
    }


def _dump_edge(edge: Edge) -> dict[str, Any]:
    return {
        "source": edge.source,
        "source_port": edge.source_port,
        "target": edge.target,
        "target_port": edge.target_port,
    }


def _dump_settings(settings: NodeSettings) -> dict[str, Any]:
    default = NodeSettings()
    dumped: dict[str, Any] = {}
    if settings.disabled != default.disabled:
        dumped["disabled"] = settings.disabled
    if settings.notes != default.notes:
        dumped["notes"] = settings.notes
    if retry := _dump_retry(settings.retry):
        dumped["retry"] = retry
    if settings.timeout is not None:
        dumped["timeout"] = _plain(settings.timeout)
    if settings.on_error is not default.on_error:
        dumped["on_error"] = settings.on_error.value
    return dumped


def _dump_retry(retry: Retry) -> dict[str, Any]:
    default = Retry()
    dumped: dict[str, Any] = {}
    if retry.max_attempts != default.max_attempts:
        dumped["max_attempts"] = retry.max_attempts
    if retry.backoff != default.backoff:
        dumped["backoff"] = _plain(retry.backoff)
    if retry.max_delay != default.max_delay:
        dumped["max_delay"] = _plain(retry.max_delay)
    return dumped


def _plain(number: float) -> int | float:
    """A whole number without its `.0`, as people write it; beyond 2**53 a double is no longer exact."""
    return int(number) if number == int(number) and abs(number) < 2**53 else number
