"""What a node is given when it runs. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from flows.graph import Node

Item = dict[str, Any]
"""One JSON object."""
Items = list[Item]
Ports = dict[str, Items]
"""Items by port. A port that is absent delivers nothing: what hangs on it alone is skipped."""


class NodeError(Exception):
    """A node could not do its work. `message` says what was wrong, `hint` what to do next."""

    def __init__(self, message: str, *, hint: str = "", type: str = "NodeError") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.type = type


class Suspend(Exception):
    """Raised by a node's `run` to wait without a worker: until a moment, for a signal from outside, or for either.

    The node is run again when the wait is over, as the same attempt and with the same inputs, and `ctx.resumption` says
    what ended it. With `until` None only a signal ends it. `reason` is shown to people. A time-out in the node's
    settings counts while the node runs, not while it waits.
    """

    def __init__(self, *, until: datetime | None = None, reason: str = "") -> None:
        if until is not None and until.tzinfo is None:
            raise ValueError("Suspend(until=...) needs a time with a time zone, as datetime.now(UTC) has.")
        super().__init__(reason)
        self.until = until
        self.reason = reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumption:
    """What ended a node's wait: a signal, with the data that it brought, or its time."""

    kind: Literal["signal", "timeout"]
    data: Mapping[str, Any] | None = None


class Progress(Protocol):
    async def __call__(self, fraction: float | None = None, message: str = "", text: str = "") -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What expressions see beside `item` and `items`.

    `nodes` gives the settled output items (first output port that delivered) of an upstream node by its NAME and raises
    KeyError for one that did not run; `upstream` is the names it knows. `input` is the run's input.
    """

    flow: Mapping[str, Any] = field(default_factory=dict)  # id, name, version
    execution: Mapping[str, Any] = field(default_factory=dict)  # id, mode, startedAt
    input: Mapping[str, Any] = field(default_factory=dict)
    nodes: Callable[[str], Items] = lambda name: []
    upstream: tuple[str, ...] = ()
    now: str = ""  # ISO 8601, UTC; one value for a whole node attempt


@dataclass(kw_only=True, slots=True)
class NodeContext:
    """One attempt at one node.

    `inputs` holds the items of every input port that delivered. `params` are the node's parameters, resolved and
    cleaned against the first item; `params_for()` gives one dict per item of the first input port, in order (resolved
    in one batch). `idempotency_key` is the same for every attempt at this node in this run, also after a crash: hand it
    to services that deduplicate. `progress` may be called as often as a node likes: what piles up within a moment is
    sent as one event. `started_at` is when the attempt began, however often it has waited (`Suspend`) since then;
    `resumption` says what ended its wait, and is None when it has not waited.
    """

    node: Node
    attempt: int
    inputs: Ports
    scope: Scope
    idempotency_key: str
    progress: Progress
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    resumption: Resumption | None = None
    params: dict[str, Any] = field(default_factory=dict)
    params_for: Callable[[], Awaitable[list[dict[str, Any]]]]
