"""What must hold for every graph, whatever its nodes do, whenever it is paused, whatever it waits for, and wherever its
worker dies."""

from __future__ import annotations

import asyncio
import itertools
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from executions.engine.run import Outcome, RunCommand
from executions.events import LAST_EVENTS, empty_state, fold
from executions.statuses import NODE_SETTLED, NodeStatus, RunStatus
from flows.context import NodeContext, NodeError, Ports, Suspend
from flows.graph import Edge, Graph, Node, NodeSettings, OnError, Retry
from tests.unit.engine_world import Script, World

PORTS = ("main", "other")

WAITS = (None, None, None, "signal", 0.002, 60.0)
"""A node that waits, does so once in each attempt: for a signal alone, or for so many seconds."""

PARK_AFTER = st.sampled_from([0.0, 30.0])


@st.composite
def scenarios(draw: st.DrawFn) -> tuple[Graph, dict[str, dict[str, Any]], int]:
    """A random acyclic graph, what each of its nodes does, and a seed for delays."""
    count = draw(st.integers(1, 9))
    ids = [f"n{i}" for i in range(count)]
    edges = set()
    for target in range(1, count):
        for source in draw(st.lists(st.integers(0, target - 1), max_size=3, unique=True)):
            edges.add((ids[source], draw(st.sampled_from(PORTS)), ids[target], draw(st.sampled_from(PORTS))))
    behaviour = {
        id: {
            "ports": draw(st.sampled_from([PORTS, ("main",), ("other",), ()])),
            "failures": draw(st.sampled_from([0, 0, 0, 0, 1, 2])),
            "pure": draw(st.booleans()),
            "pauses": draw(st.integers(0, 3)),
            "waits": draw(st.sampled_from(WAITS)),
        }
        for id in ids
    }
    nodes = tuple(
        Node(
            id=id,
            type="test",
            name=id.upper(),
            settings=NodeSettings(
                disabled=draw(st.integers(0, 9)) == 0,
                retry=Retry(max_attempts=draw(st.sampled_from([1, 1, 2])), backoff=0.001),
                on_error=draw(st.sampled_from(list(OnError))),
            ),
        )
        for id in ids
    )
    shuffled = draw(st.permutations(nodes))
    graph = Graph(
        tuple(shuffled),
        tuple(Edge(source=a, source_port=p, target=b, target_port=q) for a, p, b, q in sorted(edges)),
    )
    return graph, behaviour, draw(st.integers(0, 2**16))


def make_world(graph: Graph, behaviour: dict[str, dict[str, Any]], seed: int) -> World:
    chance = random.Random(seed)
    told: dict[tuple[str, int], list[Any]] = {}

    def script_of(does: dict[str, Any]) -> Script:
        async def script(ctx: NodeContext) -> Ports:
            for _ in range(does["pauses"]):
                await asyncio.sleep(0)
            if does["waits"] is not None and ctx.resumption is None:
                seconds = does["waits"]
                raise Suspend(until=None if seconds == "signal" else ctx.started_at + timedelta(seconds=seconds))
            if ctx.resumption is not None:
                told.setdefault((ctx.node.id, ctx.attempt), []).append((ctx.resumption, ctx.started_at))
            if ctx.attempt <= does["failures"]:
                raise NodeError(f"attempt {ctx.attempt}")
            return {port: [{"from": ctx.node.id}] for port in does["ports"]}

        return script

    world = World(
        graph,
        {id: script_of(does) for id, does in behaviour.items()},
        pure={id for id, does in behaviour.items() if does["pure"]},
        triggers={"n0"},
        delay=lambda: chance.choice([0.0, 0.0, 0.001]),
    )
    world.told = told
    return world


class Outside:
    """Who sends commands, each of which is stored, and signals a node only when it waits and was not signalled."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ids = itertools.count(1)
        self._sent: list[RunCommand] = []
        self._parked = 0

    def send(self, kind: str, node_id: str = "") -> RunCommand:
        number = next(self._ids)
        data = {"command": number} if kind == "signal" else None
        self._world.journal.signals[number] = data
        command = (kind, number, node_id, data)
        self._sent.append(command)
        return command

    def left(self, newest_command: int) -> None:
        """A run has left its worker in order: what it was told is dealt with."""
        self._parked = max(self._parked, newest_command)

    def pending(self) -> list[RunCommand]:
        obeyed = [entry.obeyed for entry in self._world.journal.entries if entry.obeyed is not None]
        return [command for command in self._sent if command[1] > max([self._parked, *obeyed])]

    def waiting(self) -> list[str]:
        """The nodes that may be signalled."""
        signalled = {command[2] for command in self.pending() if len(command) > 2}
        rows = self._world.journal.rows()
        return sorted(id for id, row in rows.items() if row[2] is NodeStatus.WAITING and id not in signalled)


async def drive_to_its_end(world: World, outside: Outside, park_after: float) -> None:
    """Drive the run again and again: it is taken when its wait is over, or when it was signalled."""
    while True:
        run = world.run(park_after=park_after)
        outcome = await asyncio.wait_for(run.drive(outside.pending()), 10)
        if outcome is Outcome.ENDED:
            return
        assert outcome is Outcome.WAITING
        outside.left(run.newest_command)
        head = world.journal.head()
        assert head is not None
        assert head.status is RunStatus.WAITING
        left = (head.wake_at - datetime.now(UTC)).total_seconds() if head.wake_at else 60
        if left < 1:
            await asyncio.sleep(left)
        else:
            for node_id in outside.waiting():
                outside.send("signal", node_id)


def check_laws(world: World) -> None:
    events = world.journal.events()
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[0].type == "executionStarted"
    assert [event.is_last for event in events] == [False] * (len(events) - 1) + [True]
    check_fold_law(world)
    state = world.state_of_rows()
    assert not {node["status"] for node in state["nodes"].values()} & {"running", "waiting", "queued"}
    head = world.journal.head()
    assert head is not None
    assert head.wake_at is None
    check_order(world)
    check_skipping(world)
    check_waits(world)


def check_waits(world: World) -> None:
    """A node with an effect is told the same each time that an attempt goes on, and each of its waits has one end."""
    for (id, _), told in world.told.items():
        if id not in world.pure:
            assert all(said == told[0] for said in told)
    waiting: set[str] = set()
    for event in world.journal.events():
        node_id = event.data.get("nodeId")
        if event.type == "executionWaiting" and node_id is not None:
            assert node_id not in waiting
            waiting.add(node_id)
        elif event.type == "executionResumed" and node_id is not None:
            waiting.remove(node_id)
        elif event.type == "nodeExecutionBefore":
            assert node_id not in waiting


def check_fold_law(world: World) -> None:
    events = world.journal.events()
    state = empty_state("run-1", [node.id for node in world.graph.nodes])
    for event in events:
        before, state = state, fold(state, event)
        assert fold(state, event) == state
        assert before["seq"] == event.seq - 1
    assert state == world.state_of_rows()


def check_order(world: World) -> None:
    """Every node starts behind the end of all that it depends on, and one with an effect behind the commit of that."""
    ended: dict[str, int] = {}
    for event in world.journal.events():
        if event.type == "nodeExecutionBefore":
            sources = {edge.source for edge in world.graph.edges if edge.target == event.data["nodeId"]}
            assert sources <= ended.keys()
            if event.data["nodeId"] not in world.pure and sources:
                assert world.committed_at_start[event.data["nodeId"]] >= max(ended[source] for source in sources)
        if event.type == "nodeExecutionAfter" and event.data["willRetryAt"] is None:
            assert event.data["nodeId"] not in ended
            ended[event.data["nodeId"]] = event.seq


def check_skipping(world: World) -> None:
    """In a run that came to its end, a node is skipped exactly if nothing reached it."""
    head = world.journal.head()
    assert head is not None
    if head.status is not RunStatus.SUCCESS:
        return
    rows = world.journal.rows()
    delivered = {id: set(restored.outputs or {}) for id, restored in world.journal.restored().items()}
    for node in world.graph.nodes:
        reached = any(e.target == node.id and e.source_port in delivered[e.source] for e in world.graph.edges)
        runs = reached or node.id in world.triggers
        assert (rows[node.id][2] is NodeStatus.SKIPPED) == (node.settings.disabled or not runs)


@given(scenarios(), PARK_AFTER)
@settings(max_examples=150, deadline=None)
def test_any_graph_runs_to_one_end_and_obeys_the_laws(
    scenario: tuple[Graph, dict[str, Any], int], park_after: float
) -> None:
    async def scene() -> None:
        world = make_world(*scenario)
        await drive_to_its_end(world, Outside(world), park_after)
        check_laws(world)
        head = world.journal.head()
        assert head is not None
        failed = [e for e in world.journal.events() if e.type == "executionError"]
        assert (head.status is RunStatus.ERROR) == bool(failed)
        if not failed:
            assert all(status in NODE_SETTLED for status in world.statuses().values())

    asyncio.run(scene())


@given(
    scenarios(),
    PARK_AFTER,
    st.lists(st.sampled_from(["pause", "resume", "cancel", "signal", "signal"]), max_size=8),
    st.integers(0, 2**16),
)
@settings(max_examples=200, deadline=None)
def test_any_sequence_of_commands_leaves_a_run_that_obeys_the_laws(
    scenario: tuple[Graph, dict[str, Any], int], park_after: float, commands: list[str], seed: int
) -> None:
    async def scene() -> None:
        world = make_world(*scenario)
        outside = Outside(world)
        chance = random.Random(seed)
        sent = iter([*commands, "resume", "resume"])
        outcome = Outcome.PAUSED
        while outcome in (Outcome.PAUSED, Outcome.WAITING):
            run = world.run(park_after=park_after)
            drive = asyncio.ensure_future(run.drive(outside.pending()))
            while not drive.done():
                await asyncio.sleep(chance.choice([0, 0, 0.001]))
                if command := send_some(outside, next(sent, "cancel"), chance):
                    run.obey(*command)
            outcome = drive.result()
            if outcome is not Outcome.ENDED:
                outside.left(run.newest_command)
            if not outside.pending():
                send_some(outside, next(sent, "cancel"), chance)
        check_laws(world)

    asyncio.run(asyncio.wait_for(scene(), 20))


def send_some(outside: Outside, kind: str, chance: random.Random) -> RunCommand | None:
    if kind != "signal":
        return outside.send(kind)
    waiting = outside.waiting()
    return outside.send(kind, chance.choice(waiting)) if waiting else None


@given(scenarios(), PARK_AFTER, st.lists(st.integers(1, 30), max_size=4), st.integers(0, 2**16))
@settings(max_examples=200, deadline=None)
def test_a_run_goes_on_behind_its_last_commit_wherever_its_worker_dies(
    scenario: tuple[Graph, dict[str, Any], int], park_after: float, deaths: list[int], seed: int
) -> None:
    async def scene() -> None:
        world = make_world(*scenario)
        outside = Outside(world)
        chance = random.Random(seed)
        for turns in deaths:
            if await die_after(turns, world, outside, park_after, chance):
                break
        if not (world.types() and world.types()[-1] in LAST_EVENTS):
            succeeded = succeeded_in(world)
            world.started.clear()
            if chance.random() < 0.2:
                outside.send("cancel")
            await drive_to_its_end(world, outside, park_after)
            again = {(id, world.journal.rows()[id][1]) for id in world.started}
            assert not again & succeeded
        check_laws(world)

    asyncio.run(asyncio.wait_for(scene(), 20))


async def die_after(turns: int, world: World, outside: Outside, park_after: float, chance: random.Random) -> bool:
    """Let a worker drive the run, signal some of its nodes, and kill it; True when the run had ended before."""
    run = world.run(park_after=park_after)
    drive = asyncio.ensure_future(run.drive(outside.pending()))
    for _ in range(turns):
        await asyncio.sleep(chance.choice([0, 0, 0, 0, 0.001]))
        if chance.random() < 0.2 and (command := send_some(outside, "signal", chance)):
            run.obey(*command)
    if drive.done():
        outside.left(run.newest_command)
        return drive.result() is Outcome.ENDED
    drive.cancel()
    await asyncio.wait({drive})
    world.crash()
    return bool(world.types()) and world.types()[-1] in LAST_EVENTS


def succeeded_in(world: World) -> set[tuple[str, int]]:
    return {(id, row[1]) for id, row in world.journal.rows().items() if row[2] is NodeStatus.SUCCESS}
