"""A node type whose nodes do what a test tells them to, and graphs of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from flows.context import Items, NodeContext, Ports
from flows.node_types import NodeType, registry

Script = Callable[[NodeContext], Awaitable[Ports | Items | None]]


class Scripts(dict[str, Script]):
    """What nodes do, by their ids; the others pass their items on. `started` lists the nodes in the order they ran."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[str] = []


class Gate:
    """A node that waits in the run's event loop until the test, in its own thread, opens it."""

    def __init__(self) -> None:
        self._entered = threading.Semaphore(0)
        self._opened = threading.Event()

    async def __call__(self, ctx: NodeContext) -> None:
        self._entered.release()
        while not self._opened.is_set():
            await asyncio.sleep(0.005)

    def wait_entered(self, timeout: float = 10.0) -> None:
        assert self._entered.acquire(timeout=timeout), "the node was not started"

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def scripts() -> Iterator[Scripts]:
    """The node type `scripted` exists, and does what is put in here."""
    known = Scripts()

    class Scripted(NodeType):
        name = "scripted"

        async def run(self, ctx: NodeContext, items: Items) -> Any:
            known.started.append(ctx.node.id)
            script = known.get(ctx.node.id)
            result = None if script is None else await script(ctx)
            return items if result is None else result

    registry.register(Scripted)
    yield known
    if "scripted" in registry:
        registry.unregister("scripted")


def scripted_chain(*ids: str, **settings: dict[str, Any]) -> dict[str, Any]:
    """A manual start and, one behind the other, scripted nodes with these ids; `settings` by id."""
    nodes: list[dict[str, Any]] = [{"id": "start", "type": "manual", "name": "Start"}]
    nodes += [{"id": id, "type": "scripted", "name": id.upper(), "settings": settings.get(id, {})} for id in ids]
    order = ["start", *ids]
    edges = [{"source": before, "target": behind} for before, behind in pairwise(order)]
    return {"nodes": nodes, "edges": edges}
