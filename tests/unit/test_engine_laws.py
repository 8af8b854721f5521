"""What must hold for every graph, whatever its nodes do, whenever it is paused, and wherever its worker dies."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from executions.engine.run import Outcome
from executions.events import LAST_EVENTS, empty_state, fold
from executions.statuses import NODE_SETTLED, NodeStatus, RunStatus
from flows.context import NodeContext, NodeError, Ports
from flows.graph import Edge, Graph, Node, NodeSettings, OnError, Retry
from tests.unit.engine_world import Script, World

PORTS = ("main", "other")


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

    def script_of(does: dict[str, Any]) -> Script:
        async def script(ctx: NodeContext) -> Ports:
            for _ in range(does["pauses"]):
                await asyncio.sleep(0)
            if ctx.attempt <= does["failures"]:
                raise NodeError(f"attempt {ctx.attempt}")
            return {port: [{"from": ctx.node.id}] for port in does["ports"]}

        return script

    return World(
        graph,
        {id: script_of(does) for id, does in behaviour.items()},
        pure={id for id, does in behaviour.items() if does["pure"]},
        triggers={"n0"},
        delay=lambda: chance.choice([0.0, 0.0, 0.001]),
    )


def check_laws(world: World) -> None:
    events = world.journal.events()
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events[0].type == "executionStarted"
    assert [event.is_last for event in events] == [False] * (len(events) - 1) + [True]
    check_fold_law(world)
    state = world.state_of_rows()
    assert not {node["status"] for node in state["nodes"].values()} & {"running", "waiting", "queued"}
    check_order(world)
    check_skipping(world)


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


@given(scenarios())
@settings(max_examples=150, deadline=None)
def test_any_graph_runs_to_one_end_and_obeys_the_laws(scenario: tuple[Graph, dict[str, Any], int]) -> None:
    async def scene() -> None:
        world = make_world(*scenario)
        assert await world.drive() is Outcome.ENDED
        check_laws(world)
        head = world.journal.head()
        assert head is not None
        failed = [e for e in world.journal.events() if e.type == "executionError"]
        assert (head.status is RunStatus.ERROR) == bool(failed)
        if not failed:
            assert all(status in NODE_SETTLED for status in world.statuses().values())

    asyncio.run(scene())


@given(scenarios(), st.lists(st.sampled_from(["pause", "resume", "cancel"]), max_size=6), st.integers(0, 2**16))
@settings(max_examples=150, deadline=None)
def test_any_sequence_of_commands_leaves_a_run_that_obeys_the_laws(
    scenario: tuple[Graph, dict[str, Any], int], commands: list[str], seed: int
) -> None:
    async def scene() -> None:
        world = make_world(*scenario)
        chance = random.Random(seed)
        waiting: list[tuple[str, int]] = []
        sent = iter([*commands, "resume", "resume"])
        ids = itertools.count(1)
        outcome = Outcome.PAUSED
        while outcome is Outcome.PAUSED:
            run = world.run()
            drive = asyncio.ensure_future(run.drive(waiting))
            waiting = []
            while not drive.done():
                await asyncio.sleep(chance.choice([0, 0, 0.001]))
                kind = next(sent, "cancel")
                command = next(ids)
                if not run.obey(kind, command):
                    waiting.append((kind, command))
            outcome = drive.result()
            waiting = waiting or [(next(sent, "cancel"), next(ids))]
        check_laws(world)

    asyncio.run(asyncio.wait_for(scene(), 20))


@given(scenarios(), st.lists(st.integers(1, 30), max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_run_goes_on_behind_its_last_commit_wherever_its_worker_dies(
    scenario: tuple[Graph, dict[str, Any], int], deaths: list[int]
) -> None:
    async def scene() -> None:
        world = make_world(*scenario)
        succeeded: set[tuple[str, int]] = set()
        for turns in deaths:
            drive = asyncio.ensure_future(world.run().drive())
            for _ in range(turns):
                await asyncio.sleep(0)
            if drive.done():
                break
            drive.cancel()
            await asyncio.wait({drive})
            world.crash()
            succeeded = {(id, row[1]) for id, row in world.journal.rows().items() if row[2] is NodeStatus.SUCCESS}
            world.started.clear()
            if world.types() and world.types()[-1] in LAST_EVENTS:
                break
        else:
            await world.drive()
            again = {(id, world.journal.rows()[id][1]) for id in world.started}
            assert not again & succeeded
        if not (world.types() and world.types()[-1] in LAST_EVENTS):
            await drive
        check_laws(world)

    asyncio.run(asyncio.wait_for(scene(), 20))
