"""A world for the engine without a database: a journal in memory, and nodes whose behaviour a test scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Any

import orjson

from executions.engine.plan import NodeBehaviour, Plan, make_plan
from executions.engine.ports import Entry, HeadRow, NodeValues, SystemClock
from executions.engine.run import Outcome, Restored, Run, RunCommand, RunHead, RunLimits
from executions.events import Event, State, duration_ms, empty_state, iso, node_state
from executions.statuses import NODE_SETTLED, NodeStatus, RunStatus
from flows.context import NodeContext, Ports, Resumption
from flows.graph import Edge, Graph, Node

Script = Callable[[NodeContext], Awaitable[Ports]]


class MemoryJournal:
    """Commits what it is given after a turn or more of the loop, a group at a time."""

    def __init__(self, delay: Callable[[], float] = lambda: 0.0) -> None:
        self.taken: list[Entry] = []
        self.entries: list[Entry] = []
        self._groups: asyncio.Queue[Sequence[Entry]] = asyncio.Queue()
        self._delay = delay
        self._news = asyncio.Event()
        self.dead = False
        self.lease = asyncio.Event()
        """Whether the run is held."""
        self.lease.set()
        self.signals: dict[int, dict[str, Any] | None] = {}
        """What the signals brought, by the ids of their commands."""
        self._committer = asyncio.ensure_future(self._commit())

    def append(self, entries: Sequence[Entry]) -> None:
        self.taken.extend(entries)
        self._groups.put_nowait(list(entries))

    async def _commit(self) -> None:
        while True:
            group = await self._groups.get()
            await asyncio.sleep(self._delay())
            if not self.dead:
                self.entries.extend(group)
                self._news.set()
                self._news = asyncio.Event()

    @property
    def durable(self) -> int:
        return self.entries[-1].seq if self.entries else 0

    async def committed(self, seq: int) -> None:
        while self.durable < seq:
            await self._news.wait()

    async def held(self) -> None:
        await self.lease.wait()

    async def ready(self) -> None:
        pass

    def close(self) -> None:
        self.dead = True
        self._committer.cancel()

    # -- what a database would hold -----------------------------------------------------------------------------------

    def rows(self) -> dict[str, NodeValues]:
        """The newest attempt at each node."""
        rows: dict[str, NodeValues] = {}
        for entry in self.entries:
            if entry.node is not None:
                rows[entry.node[0]] = entry.node
        return rows

    def head(self) -> HeadRow | None:
        head = None
        for entry in self.entries:
            head = entry.head or head
        return head

    def events(self) -> list[Event]:
        return [Event(entry.seq, entry.type, orjson.loads(entry.data)) for entry in self.entries]

    def restored(self) -> dict[str, Restored]:
        return {
            node_id: Restored(
                status=row[2],
                attempt=row[1],
                outputs={port: orjson.dumps(items) for port, items in orjson.loads(row[6] or b"{}").items()},
                started_at=row[3],
                retry_at=row[9],
                wait_until=row[10],
                resumption=self.resumption(node_id, row[1]),
                error=orjson.loads(row[8]) if row[8] else None,
            )
            for node_id, row in self.rows().items()
        }

    def resumption(self, node_id: str, attempt: int) -> Resumption | None:
        """What the newest event about the end of a wait says."""
        found = None
        for event in self.events():
            about = (event.data.get("nodeId"), event.data.get("attempt"))
            if event.type == "executionResumed" and about == (node_id, attempt):
                kind, command = event.data["reason"], event.data["command"]
                found = Resumption(kind=kind, data=self.signals[command] if kind == "signal" else None)
        return found


class World:
    """A graph whose nodes do what `scripts` say (by node id; the others pass their items on)."""

    def __init__(
        self,
        graph: Graph,
        scripts: dict[str, Script] | None = None,
        *,
        pure: set[str] | None = None,
        triggers: set[str] | None = None,
        delay: Callable[[], float] = lambda: 0.0,
        input: dict[str, Any] | None = None,
    ) -> None:
        self.graph = graph
        scripts = scripts or {}
        first = graph.nodes[0].id
        self.triggers = {first} if triggers is None else triggers
        self.pure = {node.id for node in graph.nodes} if pure is None else pure
        self.started: list[str] = []
        self.committed_at_start: dict[str, int] = {}
        self.told: dict[tuple[str, int], list[Any]] = {}
        """What ended the waits of nodes, as it was told to each of their attempts."""
        self.plan: Plan = make_plan(
            graph,
            {
                node.id: NodeBehaviour(
                    execute=self._tracked(node, scripts.get(node.id, pass_on)),
                    pure=node.id in self.pure,
                    trigger=node.id in self.triggers,
                )
                for node in graph.nodes
            },
        )
        self.delay = delay
        self.input = input or {}
        self.journal = MemoryJournal(delay)

    def _tracked(self, node: Node, script: Script) -> Script:
        async def execute(ctx: NodeContext) -> Ports:
            self.started.append(node.id)
            self.committed_at_start[node.id] = self.journal.durable
            return await script(ctx)

        return execute

    def run(self, **limits: Any) -> Run:
        """The run as it stands in the journal, to be driven on."""
        head = self.journal.head()
        return Run(
            self.plan,
            RunHead(
                execution_id="run-1",
                flow={"id": 1, "name": "Flow", "version": 1},
                mode="api",
                input=self.input,
                seq=self.journal.durable,
                status=head.status if head else RunStatus.QUEUED,
                started_at=head.started_at if head else None,
            ),
            self.journal,
            SystemClock(),
            restored=self.journal.restored(),
            limits=RunLimits(**limits),
        )

    async def drive(self, commands: Sequence[RunCommand] = (), **limits: Any) -> Outcome:
        return await asyncio.wait_for(self.run(**limits).drive(commands), 10)

    def crash(self) -> None:
        """Lose what was not committed, and go on with what was."""
        entries, signals = self.journal.entries, self.journal.signals
        self.journal.close()
        self.journal = MemoryJournal(self.delay)
        self.journal.entries = list(entries)
        self.journal.signals = signals

    # -- what tests look at -------------------------------------------------------------------------------------------

    def types(self) -> list[str]:
        return [event.type for event in self.journal.events()]

    def statuses(self) -> dict[str, NodeStatus]:
        rows = self.journal.rows()
        return {node.id: rows[node.id][2] if node.id in rows else NodeStatus.IDLE for node in self.graph.nodes}

    def after(self, node_id: str) -> list[Event]:
        return [
            event
            for event in self.journal.events()
            if event.type == "nodeExecutionAfter" and event.data["nodeId"] == node_id
        ]

    def state_of_rows(self) -> State:
        """The state as the stored rows give it, apart from any event."""
        state = empty_state("run-1", [node.id for node in self.graph.nodes])
        for node_id, row in self.journal.rows().items():
            _, attempt, status, started, finished, _, _, counts, error, retry_at, wait_until, progress = row
            state["nodes"][node_id] = node_state(
                NodeStatus.WAITING if retry_at else status,
                attempt=attempt,
                startedAt=iso(started),
                finishedAt=iso(finished) if finished else None,
                durationMs=duration_ms(started, finished) if finished else None,
                itemCounts=orjson.loads(counts) if counts else None,
                error=orjson.loads(error) if error else None,
                willRetryAt=iso(retry_at) if retry_at else None,
                waitUntil=iso(wait_until) if wait_until else None,
                progress=orjson.loads(progress) if progress else None,
            )
        head = self.journal.head()
        assert head is not None
        done = sum(node["status"] in NODE_SETTLED for node in state["nodes"].values())
        return {
            **state,
            "seq": self.journal.durable,
            "status": str(head.status),
            "startedAt": iso(head.started_at),
            "finishedAt": iso(head.finished_at) if head.finished_at else None,
            "durationMs": duration_ms(head.started_at, head.finished_at) if head.finished_at else None,
            "error": orjson.loads(head.error) if head.error else None,
            "progress": {"done": done, "total": len(self.graph.nodes)},
        }


async def pass_on(ctx: NodeContext) -> Ports:
    return {"main": [item for items in ctx.inputs.values() for item in items]}


def chain(*ids: str, **settings: Any) -> Graph:
    """Nodes in a row; `settings` are keyword arguments by node id for `Node`."""
    nodes = tuple(Node(id=id, type="test", name=id.title(), **settings.get(id, {})) for id in ids)
    return Graph(nodes, tuple(Edge(source=a, target=b) for a, b in pairwise(ids)))
