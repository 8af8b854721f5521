"""What a run does with nodes that wait, one behaviour at a time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from executions.engine.ports import HeadRow
from executions.engine.run import Outcome
from executions.statuses import NodeStatus, RunStatus
from flows.context import NodeContext, NodeError, Ports, Resumption, Suspend
from flows.graph import Edge, Graph, Node, NodeSettings, Retry
from tests.unit.engine_world import World, chain, pass_on


class Waiter:
    """A node that waits once in each attempt, and keeps what it was told."""

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self.told: list[tuple[Resumption | None, int, datetime]] = []

    async def __call__(self, ctx: NodeContext) -> Ports:
        self.told.append((ctx.resumption, ctx.attempt, ctx.started_at))
        if ctx.resumption is None:
            until = None if self.seconds is None else ctx.started_at + timedelta(seconds=self.seconds)
            raise Suspend(until=until, reason="for an answer")
        return await pass_on(ctx)


def fork(**settings: Any) -> Graph:
    """A start, and two nodes behind it: `left` and `right`."""
    nodes = [Node(id=id, type="t", name=id.title(), **settings.get(id, {})) for id in ("start", "left", "right")]
    return Graph(tuple(nodes), (Edge(source="start", target="left"), Edge(source="start", target="right")))


def head(world: World) -> HeadRow:
    row = world.journal.head()
    assert row is not None
    return row


def said(world: World, type_name: str) -> list[dict[str, Any]]:
    return [dict(event.data) for event in world.journal.events() if event.type == type_name]


def signal(world: World, number: int, node_id: str, **data: Any) -> tuple[str, int, str, dict[str, Any]]:
    world.journal.signals[number] = data
    return ("signal", number, node_id, data)


async def reached(world: World, node_id: str, status: NodeStatus) -> None:
    while world.statuses()[node_id] is not status:
        await world.journal.committed(world.journal.durable + 1)


async def test_a_run_that_only_waits_leaves_its_worker_with_one_event() -> None:
    waiter = Waiter(3600)
    world = World(chain("a", "ask", "c"), {"ask": waiter})
    assert await world.drive() is Outcome.WAITING
    (event,) = said(world, "executionWaiting")
    row = world.journal.rows()["ask"]
    assert row[2] is NodeStatus.WAITING
    assert head(world).status is RunStatus.WAITING
    assert head(world).wake_at == row[10] == waiter.told[0][2] + timedelta(seconds=3600)
    until = event.pop("until")
    assert datetime.fromisoformat(until) == row[10]
    assert event == {
        "executionId": "run-1", "nodeId": "ask", "nodeName": "Ask", "attempt": 1,
        "reason": "for an answer", "status": "waiting",
    }  # fmt: skip


async def test_a_signal_goes_on_with_the_same_attempt_and_its_data() -> None:
    waiter = Waiter()
    world = World(chain("a", "ask", "c"), {"ask": waiter}, input={"x": 1})
    assert await world.drive() is Outcome.WAITING
    assert head(world).wake_at is None
    assert await world.drive([signal(world, 5, "ask", ok=True)]) is Outcome.ENDED
    first, second = waiter.told
    assert second == (Resumption(kind="signal", data={"ok": True}), 1, first[2])
    (resumed,) = said(world, "executionResumed")
    assert (resumed["reason"], resumed["nodeId"], resumed["status"], resumed["command"]) == (
        "signal", "ask", "running", 5,
    )  # fmt: skip
    assert [data["startedAt"] for data in said(world, "nodeExecutionBefore") if data["nodeId"] == "ask"] == [
        said(world, "nodeExecutionAfter")[1]["startedAt"]
    ] * 2
    assert world.after("c")[0].data["output"] == {"main": [{"x": 1}]}
    assert {entry.obeyed for entry in world.journal.entries} == {None, 5}


async def test_a_short_wait_ends_in_the_engine() -> None:
    waiter = Waiter(0.02)
    world = World(chain("a", "ask", "c"), {"ask": waiter})
    assert await world.drive() is Outcome.ENDED
    assert waiter.told[1][0] == Resumption(kind="timeout")
    assert [data["status"] for data in said(world, "executionWaiting")] == ["running"]
    assert [data["reason"] for data in said(world, "executionResumed")] == ["timeout"]
    assert world.journal.rows()["ask"][10] is None


async def test_a_wait_that_is_over_when_the_run_is_taken_ends_at_once() -> None:
    waiter = Waiter(0.02)
    world = World(chain("a", "ask"), {"ask": waiter})
    assert await world.drive(park_after=0) is Outcome.WAITING
    await asyncio.sleep(0.03)
    assert await world.drive(park_after=0) is Outcome.ENDED
    assert waiter.told[1][0] == Resumption(kind="timeout")


async def test_a_run_that_is_taken_for_nothing_leaves_again_without_an_event() -> None:
    world = World(chain("a", "ask"), {"ask": Waiter(3600)})
    await world.drive()
    before = world.types()
    run = world.run()
    assert await run.drive([signal(world, 3, "a")]) is Outcome.WAITING
    assert run.newest_command == 3, "noted as dealt with when the run is parked"
    assert world.types() == before


async def test_other_branches_go_on_and_the_run_leaves_behind_them() -> None:
    gate = asyncio.Event()

    async def works(ctx: NodeContext) -> Ports:
        await gate.wait()
        return await pass_on(ctx)

    world = World(fork(), {"left": Waiter(3600), "right": works})
    drive = asyncio.ensure_future(world.drive())
    await reached(world, "left", NodeStatus.WAITING)
    gate.set()
    assert await drive is Outcome.WAITING
    first, last = said(world, "executionWaiting")
    assert (first["nodeId"], first["status"]) == ("left", "running")
    assert (last["nodeId"], last["status"], last["until"]) == (None, "waiting", first["until"])


async def test_a_back_off_that_is_long_leaves_its_worker_and_goes_on_as_the_next_attempt() -> None:
    async def second_time(ctx: NodeContext) -> Ports:
        if ctx.attempt == 1:
            raise NodeError("not yet")
        return {"main": []}

    world = World(chain("a", "b", b={"settings": NodeSettings(retry=Retry(max_attempts=2, backoff=0.05))}), {
        "b": second_time
    })  # fmt: skip
    assert await world.drive(park_after=0) is Outcome.WAITING
    assert head(world).wake_at == world.journal.rows()["b"][9]
    await asyncio.sleep(0.06)
    assert await world.drive(park_after=0) is Outcome.ENDED
    assert [event.data["attempt"] for event in world.after("b")] == [1, 2]
    assert [(data["reason"], data["nodeId"]) for data in said(world, "executionResumed")] == [("retry", None)]


async def test_an_attempt_behind_one_that_waited_is_told_nothing_of_its_wait() -> None:
    waiter = Waiter()

    async def waits_and_fails(ctx: NodeContext) -> Ports:
        await waiter(ctx)
        if ctx.attempt == 1:
            raise NodeError("down")
        return {"main": []}

    retry = {"settings": NodeSettings(retry=Retry(max_attempts=2, backoff=0.001))}
    world = World(chain("a", "ask", ask=retry), {"ask": waits_and_fails})
    assert await world.drive() is Outcome.WAITING
    assert await world.drive([signal(world, 1, "ask")]) is Outcome.WAITING
    assert await world.drive([signal(world, 2, "ask", second=True)]) is Outcome.ENDED
    assert [(told[0] and told[0].data, told[1]) for told in waiter.told] == [
        (None, 1), ({}, 1), (None, 2), ({"second": True}, 2),
    ]  # fmt: skip
    assert waiter.told[2][2] > waiter.told[1][2]


async def test_the_time_out_of_a_node_counts_while_it_runs_and_not_while_it_waits() -> None:
    waiter = Waiter(0.2)
    world = World(chain("a", "ask", ask={"settings": NodeSettings(timeout=0.1)}), {"ask": waiter})
    assert await world.drive() is Outcome.ENDED
    assert world.statuses()["ask"] is NodeStatus.SUCCESS


@pytest.mark.parametrize("ends", ["cancel", "failure"])
async def test_what_waits_when_the_run_ends_is_canceled(ends: str) -> None:
    gate = asyncio.Event()

    async def fails_late(ctx: NodeContext) -> Ports:
        await gate.wait()
        raise NodeError("down")

    world = World(fork(), {"left": Waiter(3600), "right": fails_late})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await reached(world, "left", NodeStatus.WAITING)
    if ends == "cancel":
        run.cancel()
    gate.set()
    assert await drive is Outcome.ENDED
    assert world.after("left")[0].data["status"] == "canceled"
    assert world.journal.rows()["left"][10] is None
    assert head(world).wake_at is None


async def test_a_run_that_waits_is_canceled_when_it_is_taken() -> None:
    world = World(chain("a", "ask", "c"), {"ask": Waiter()}, input={"x": 1})
    await world.drive()
    assert await world.drive([("cancel", 9)]) is Outcome.ENDED
    assert world.statuses() == {"a": "success", "ask": "canceled", "c": "idle"}
    assert world.journal.rows()["ask"][5] == b'{"main":[{"x":1}]}', "its input is kept"


async def test_a_node_that_was_running_when_its_worker_died_is_canceled_with_its_run() -> None:
    entered = asyncio.Event()

    async def hangs(ctx: NodeContext) -> Ports:
        entered.set()
        await asyncio.sleep(60)
        return {}

    world = World(chain("a", "b"), {"b": hangs})
    drive = asyncio.ensure_future(world.run().drive())
    await entered.wait()
    await world.journal.committed(4)
    drive.cancel()
    await asyncio.wait({drive})
    world.crash()
    assert await world.drive([("cancel", 1)]) is Outcome.ENDED
    assert world.statuses() == {"a": "success", "b": "canceled"}


async def test_a_pause_keeps_a_wait_and_one_that_is_over_ends_behind_it() -> None:
    waiter = Waiter(0.03)
    world = World(chain("a", "ask"), {"ask": waiter})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await reached(world, "ask", NodeStatus.WAITING)
    run.pause(1)
    assert await drive is Outcome.PAUSED
    assert head(world).wake_at is None
    await asyncio.sleep(0.04)
    assert world.statuses()["ask"] is NodeStatus.WAITING
    assert await world.drive([("resume", 2)]) is Outcome.ENDED
    assert waiter.told[1][0] == Resumption(kind="timeout")


async def test_a_signal_that_comes_while_the_run_is_pausing_counts_behind_the_pause() -> None:
    gate = asyncio.Event()

    async def works(ctx: NodeContext) -> Ports:
        await gate.wait()
        return await pass_on(ctx)

    waiter = Waiter()
    world = World(fork(), {"left": waiter, "right": works})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await reached(world, "left", NodeStatus.WAITING)
    run.pause(1)
    run.obey(*signal(world, 2, "left", n=1))
    gate.set()
    assert await drive is Outcome.PAUSED
    assert world.statuses()["left"] is NodeStatus.QUEUED
    world.crash()
    assert await world.drive([("resume", 3)]) is Outcome.ENDED
    assert waiter.told[1][0] == Resumption(kind="signal", data={"n": 1})


@pytest.mark.parametrize(("seconds", "outcome"), [(20, Outcome.HANDED_OVER), (3600, Outcome.WAITING)])
async def test_what_a_run_leaves_as_when_it_is_handed_over_while_it_waits(seconds: float, outcome: Outcome) -> None:
    gate = asyncio.Event()

    async def works(ctx: NodeContext) -> Ports:
        await gate.wait()
        return await pass_on(ctx)

    world = World(fork(), {"left": Waiter(seconds), "right": works})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await reached(world, "left", NodeStatus.WAITING)
    run.hand_over()
    gate.set()
    assert await drive is outcome


@pytest.mark.parametrize("pure", [True, False])
async def test_a_node_that_ran_again_when_its_worker_died_is_told_the_same(pure: bool) -> None:
    waiter, entered = Waiter(), asyncio.Event()
    hang = True

    async def asks(ctx: NodeContext) -> Ports:
        result = await waiter(ctx)
        entered.set()
        if hang:
            await asyncio.sleep(60)
        return result

    world = World(chain("a", "ask"), {"ask": asks}, pure={"a", "ask"} if pure else {"a"})
    await world.drive()
    drive = asyncio.ensure_future(world.run().drive([signal(world, 1, "ask", n=1)]))
    await entered.wait()
    await reached(world, "ask", NodeStatus.RUNNING)
    drive.cancel()
    await asyncio.wait({drive})
    world.crash()
    hang = False
    assert await world.drive() is Outcome.ENDED
    assert waiter.told[1] == waiter.told[2]
    assert waiter.told[2][0] == Resumption(kind="signal", data={"n": 1})


async def test_of_a_signal_and_the_end_of_the_time_the_first_wins() -> None:
    gate = asyncio.Event()

    async def works(ctx: NodeContext) -> Ports:
        await gate.wait()
        return await pass_on(ctx)

    waiter = Waiter(0.02)
    world = World(chain("a", "ask", "c"), {"ask": waiter, "c": works})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await reached(world, "c", NodeStatus.RUNNING)
    assert run.obey(*signal(world, 4, "ask")), "dealt with, and of no effect"
    gate.set()
    assert await drive is Outcome.ENDED
    assert [told[0] for told in waiter.told] == [None, Resumption(kind="timeout")]
    assert {entry.obeyed for entry in world.journal.entries} == {None, 4}


def test_the_end_of_a_wait_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Suspend(until=datetime(2026, 1, 1))  # noqa: DTZ001
    assert Suspend(until=datetime(2026, 1, 1, tzinfo=UTC)).until is not None


async def test_a_fault_of_a_timer_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError("a fault of the engine")

    world = World(chain("a", "ask"), {"ask": Waiter(0.02)})
    monkeypatch.setattr("executions.engine.messages.resumed", broken)
    assert await world.drive() is Outcome.ENDED
    assert world.journal.events()[-1].data["error"]["type"] == "ZeroDivisionError"
