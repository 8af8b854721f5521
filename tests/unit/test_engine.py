"""What a run does with its nodes, one behaviour at a time."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
from typing import Any

import pytest

from executions.engine.attempt import CANCEL_GRACE
from executions.engine.backoff import backoff_seconds
from executions.engine.plan import PlanError, make_plan
from executions.engine.ports import JournalLost
from executions.engine.run import Outcome, Run
from executions.statuses import NodeStatus, RunStatus
from flows.context import NodeContext, NodeError, Ports
from flows.graph import Edge, Graph, Node, NodeSettings, OnError, Retry
from tests.unit.engine_world import World, chain, pass_on


class Gate:
    """A node that says when it has started, and ends when it is let."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, ctx: NodeContext) -> Ports:
        self.entered.set()
        await self.opened.wait()
        return await pass_on(ctx)


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def failing(error: BaseException) -> Any:
    async def script(ctx: NodeContext) -> Ports:
        raise error

    return script


async def test_a_chain_runs_in_order_and_hands_its_items_on() -> None:
    world = World(chain("a", "b", "c"), input={"x": 1})
    assert await world.drive() is Outcome.ENDED
    assert world.types() == [
        "executionStarted",
        *["nodeExecutionBefore", "nodeExecutionAfter"] * 3,
        "executionFinished",
    ]
    head = world.journal.head()
    assert head is not None
    assert head.status is RunStatus.SUCCESS
    assert head.output == b'{"c":{"main":[{"x":1}]}}'
    assert [event.data["progress"]["done"] for node in "abc" for event in world.after(node)] == [1, 2, 3]


async def test_independent_branches_run_at_the_same_time() -> None:
    left, right = Gate(), Gate()
    graph = Graph(
        tuple(Node(id=id, type="t", name=id) for id in "slr"),
        (Edge(source="s", target="l"), Edge(source="s", target="r")),
    )
    world = World(graph, {"l": left, "r": right})
    drive = asyncio.ensure_future(world.drive())
    await left.entered.wait()
    await right.entered.wait()
    left.opened.set()
    right.opened.set()
    assert await drive is Outcome.ENDED


async def test_each_branch_gets_its_own_copy_of_the_items() -> None:
    seen = {}

    async def spoil(ctx: NodeContext) -> Ports:
        ctx.inputs["main"][0]["x"].append(ctx.node.id)
        seen[ctx.node.id] = ctx.inputs["main"][0]["x"]
        return ctx.inputs

    graph = Graph(
        tuple(Node(id=id, type="t", name=id) for id in "slr"),
        (Edge(source="s", target="l"), Edge(source="s", target="r")),
    )
    world = World(graph, {"l": spoil, "r": spoil}, input={"x": []})
    await world.drive()
    assert seen == {"l": ["l"], "r": ["r"]}


async def test_several_edges_into_one_port_join_their_items_in_the_order_of_the_plan() -> None:
    async def own(ctx: NodeContext) -> Ports:
        return {"main": [{"id": ctx.node.id}] if ctx.node.id != "b" else []}

    graph = Graph(
        tuple(Node(id=id, type="t", name=id) for id in "sabcm"),
        (*(Edge(source="s", target=id) for id in "abc"), *(Edge(source=id, target="m") for id in "abc")),
    )
    world = World(graph, dict.fromkeys("abc", own))
    await world.drive()
    assert world.after("m")[0].data["output"] == {"main": [{"id": "a"}, {"id": "c"}]}


@pytest.mark.parametrize(
    ("raised", "type_name", "message"),
    [
        (NodeError("no such file", hint="look", type="Missing"), "Missing", "no such file"),
        (ValueError("bad"), "ValueError", "bad"),
        (ZeroDivisionError(), "ZeroDivisionError", "ZeroDivisionError()"),
        (SystemExit(3), "SystemExit", "3"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt()"),
        (asyncio.CancelledError(), "CancelledError", "cancelled itself"),
        (GeneratorExit(), "GeneratorExit", "GeneratorExit()"),
        (BaseException("base"), "BaseException", "base"),
        (BaseExceptionGroup("both", [SystemExit()]), "BaseExceptionGroup", "both"),
        (Unreadable(), "Unreadable", "cannot be read"),
        (RecursionError("deep"), "RecursionError", "deep"),
        (ValueError("\ud800"), "ValueError", "?"),
        (ValueError("x" * 10_000), "ValueError", "x" * 2000),
    ],
)
async def test_whatever_a_node_raises_ends_the_run_with_an_error_that_names_it(
    raised: BaseException, type_name: str, message: str
) -> None:
    world = World(chain("a", "b", "c"), {"b": failing(raised)})
    assert await world.drive() is Outcome.ENDED
    last = world.journal.events()[-1]
    assert last.type == "executionError"
    assert (last.data["nodeId"], last.data["nodeName"]) == ("b", "B")
    assert last.data["error"]["type"] == type_name
    assert message in last.data["error"]["message"]
    assert world.statuses() == {"a": "success", "b": "error", "c": "idle"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"x": dt.date(2026, 1, 1)}, "date"),
        ({"x": float("nan")}, "NaN"),
        ({"x": {1, 2}}, "set"),
        ({1: "x"}, "str"),
        ({"x": 2**70}, "64-bit"),
        ({"x": "\ud800"}, "surrogates"),
        ({"x": object()}, "object"),
    ],
)
async def test_an_output_that_is_not_json_is_a_clear_error_of_the_node(value: dict[Any, Any], said: str) -> None:
    async def script(ctx: NodeContext) -> Ports:
        return {"main": [value]}

    world = World(chain("a", "b"), {"b": script})
    await world.drive()
    error = world.journal.events()[-1].data["error"]
    assert error["type"] == "OutputNotJSON"
    assert said in error["message"]
    assert error["hint"]


async def test_an_output_over_the_limit_is_an_error_of_the_node() -> None:
    async def script(ctx: NodeContext) -> Ports:
        return {"main": [{"x": "y" * 2000}]}

    world = World(chain("a"), {"a": script})
    await world.drive(output_bytes=1000)
    assert world.journal.events()[-1].data["error"]["type"] == "OutputTooLarge"


async def test_an_event_shows_the_first_items_of_a_large_output() -> None:
    async def script(ctx: NodeContext) -> Ports:
        return {"main": [{"n": n, "text": "x" * 100} for n in range(1000)]}

    world = World(chain("a"), {"a": script})
    await world.drive()
    data = world.after("a")[0].data
    assert data["truncated"] is True
    assert data["itemCounts"] == {"main": 1000}
    assert [item["n"] for item in data["output"]["main"]] == list(range(len(data["output"]["main"])))
    assert 50 < len(data["output"]["main"]) < 80


async def test_a_time_out_ends_a_node_even_if_it_ignores_its_cancellation() -> None:
    async def stubborn(ctx: NodeContext) -> Ports:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)
        return {"main": []}

    world = World(chain("a", "b", b={"settings": NodeSettings(timeout=0.01)}), {"b": stubborn})
    run = asyncio.ensure_future(world.drive())
    assert await run is Outcome.ENDED
    error = world.journal.events()[-1].data["error"]
    assert error["type"] == "NodeTimeout"
    assert "0.01 s" in error["message"]


@pytest.mark.parametrize("timeout", [None, 30.0])
@pytest.mark.parametrize("waits", [True, False])
async def test_a_node_that_cancels_its_own_task_does_not_hang_the_run(timeout: float | None, waits: bool) -> None:
    async def cancels_itself(ctx: NodeContext) -> Ports:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if waits:
            await asyncio.sleep(60)
        return {"main": []}

    world = World(chain("a", "b", b={"settings": NodeSettings(timeout=timeout)}), {"b": cancels_itself})
    assert await world.drive() is Outcome.ENDED
    assert world.statuses()["b"] in (NodeStatus.ERROR, NodeStatus.SUCCESS)
    if waits:
        assert world.journal.events()[-1].data["error"]["type"] == "CancelledError"


@pytest.mark.parametrize("ends", ["cancel", "failure"])
async def test_a_retry_that_is_waited_for_when_the_run_ends_is_canceled(ends: str) -> None:
    retry = NodeSettings(retry=Retry(max_attempts=2, backoff=30, max_delay=30))
    gate = Gate()

    async def fails_late(ctx: NodeContext) -> Ports:
        await gate(ctx)
        raise NodeError("down")

    graph = Graph(
        (
            Node(id="s", type="t", name="s"),
            Node(id="l", type="t", name="l", settings=retry),
            Node(id="r", type="t", name="r"),
        ),
        (Edge(source="s", target="l"), Edge(source="s", target="r")),
    )
    world = World(graph, {"l": failing(NodeError("not yet")), "r": fails_late})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    while not world.after("l"):
        await world.journal.committed(world.journal.durable + 1)
    if ends == "cancel":
        run.cancel()
    gate.opened.set()
    assert await drive is Outcome.ENDED
    first, second = world.after("l")
    assert (first.data["status"], first.data["attempt"]) == ("error", 1)
    assert (second.data["status"], second.data["attempt"], second.data["willRetryAt"]) == ("canceled", 2, None)
    state = world.state_of_rows()
    assert state["nodes"]["l"]["status"] == "canceled"
    assert state["progress"] == {"done": 3, "total": 3}


async def test_what_a_node_raises_is_logged_with_its_run_and_without_its_full_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(chain("a", "b"), {"b": failing(ValueError("x" * 100_000 + "\0"))})
    await world.drive()
    (record,) = [record for record in caplog.records if record.name == "executions.engine.attempt"]
    said = record.getMessage()
    assert "execution run-1: node 'B' (test) raised ValueError: 'xxx" in said
    assert "in script" in said
    assert len(said) < 5_000
    assert record.exc_info is None


async def test_a_failed_node_is_tried_again_and_each_attempt_is_recorded() -> None:
    async def second_time(ctx: NodeContext) -> Ports:
        if ctx.attempt == 1:
            raise NodeError("not yet")
        return {"main": []}

    retry = {"settings": NodeSettings(retry=Retry(max_attempts=3, backoff=0.001))}
    world = World(chain("a", "b", b=retry), {"b": second_time})
    await world.drive()
    first, second = world.after("b")
    assert (first.data["status"], first.data["attempt"], first.data["progress"]["done"]) == ("error", 1, 1)
    assert first.data["willRetryAt"] > first.data["finishedAt"]
    assert (second.data["status"], second.data["attempt"], second.data["willRetryAt"]) == ("success", 2, None)


async def test_a_backoff_holds_no_other_branch() -> None:
    retry = NodeSettings(retry=Retry(max_attempts=2, backoff=30, max_delay=30))
    graph = Graph(
        (
            Node(id="s", type="t", name="s"),
            Node(id="l", type="t", name="l", settings=retry),
            Node(id="r", type="t", name="r"),
        ),
        (Edge(source="s", target="l"), Edge(source="s", target="r")),
    )
    other = Gate()
    other.opened.set()
    world = World(graph, {"l": failing(NodeError("down")), "r": other})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await other.entered.wait()
    while not world.after("r"):
        await world.journal.committed(world.journal.durable + 1)
    run.cancel()
    assert await drive is Outcome.ENDED


def test_backoff_doubles_up_to_its_limit() -> None:
    retry = Retry(max_attempts=99, backoff=1.5, max_delay=10)
    assert [backoff_seconds(retry, n) for n in (1, 2, 3, 4, 5, 5000)] == [1.5, 3, 6, 10, 10, 10]


@pytest.mark.parametrize("on_error", [OnError.CONTINUE, OnError.ERROR_OUTPUT])
async def test_a_flow_can_go_on_behind_a_failed_node(on_error: OnError) -> None:
    port = "main" if on_error is OnError.CONTINUE else "error"
    graph = Graph(
        tuple(
            Node(id=id, type="t", name=id, settings=NodeSettings(on_error=on_error if id == "b" else OnError.STOP))
            for id in "abcd"
        ),
        (
            Edge(source="a", target="b"),
            Edge(source="b", source_port=port, target="c"),
            Edge(source="b", source_port="unused", target="d"),
        ),
    )
    world = World(graph, {"b": failing(NodeError("down"))})
    await world.drive()
    assert world.statuses() == {"a": "success", "b": "error", "c": "success", "d": "skipped"}
    assert world.after("c")[0].data["output"]["main"][0]["error"]["message"] == "down"
    assert world.types()[-1] == "executionFinished"


async def test_a_disabled_node_hands_its_items_on() -> None:
    world = World(
        chain("a", "b", "c", b={"settings": NodeSettings(disabled=True)}),
        {"b": failing(NodeError("ran"))},
        input={"x": 1},
    )
    await world.drive()
    assert world.statuses()["b"] is NodeStatus.SKIPPED
    assert world.after("c")[0].data["output"] == {"main": [{"x": 1}]}


async def test_an_error_cancels_what_runs_beside_it() -> None:
    beside = Gate()

    async def fails_then(ctx: NodeContext) -> Ports:
        await beside.entered.wait()
        raise NodeError("down")

    graph = Graph(
        tuple(Node(id=id, type="t", name=id) for id in "slr"),
        (Edge(source="s", target="l"), Edge(source="s", target="r")),
    )
    world = World(graph, {"l": beside, "r": fails_then})
    await world.drive()
    assert world.statuses() == {"s": "success", "l": "canceled", "r": "error"}
    assert world.journal.events()[-1].data["nodeId"] == "r"


async def test_cancel_ends_a_run_at_once_also_when_a_node_ignores_it() -> None:
    entered = asyncio.Event()

    async def stubborn(ctx: NodeContext) -> Ports:
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)
        return {"main": []}

    world = World(chain("a", "b"), {"b": stubborn})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await entered.wait()
    run.cancel(7)
    assert await asyncio.wait_for(drive, CANCEL_GRACE + 5) is Outcome.ENDED
    assert world.statuses() == {"a": "success", "b": "canceled"}
    assert world.journal.events()[-1].data["status"] == "canceled"
    assert {entry.obeyed for entry in world.journal.entries} == {None, 7}


async def test_pause_lets_the_running_node_end_and_starts_no_other() -> None:
    gate = Gate()
    world = World(chain("a", "b", "c"), {"b": gate})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await gate.entered.wait()
    run.pause(1)
    assert run.status is RunStatus.PAUSING
    gate.opened.set()
    assert await drive is Outcome.PAUSED
    assert world.statuses() == {"a": "success", "b": "success", "c": "idle"}
    assert [e.data["status"] for e in world.journal.events() if e.type == "executionPaused"] == ["pausing", "paused"]
    assert await world.drive([("resume", 2)]) is Outcome.ENDED
    assert world.started == ["a", "b", "c"]


async def test_resume_while_pausing_goes_on_without_a_break() -> None:
    gate = Gate()
    world = World(chain("a", "b", "c"), {"b": gate})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await gate.entered.wait()
    run.pause()
    run.resume()
    gate.opened.set()
    assert await drive is Outcome.ENDED


async def test_a_command_that_is_read_twice_is_obeyed_once() -> None:
    gate = Gate()
    world = World(chain("a", "b", "c"), {"b": gate})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await gate.entered.wait()
    assert run.obey("pause", 1) and run.obey("resume", 2)
    assert run.obey("pause", 1), "as if it had been read before the resume was there"
    gate.opened.set()
    assert await drive is Outcome.ENDED
    assert world.types().count("executionPaused") == 1


async def test_a_command_that_changes_nothing_is_noted_with_the_next_event() -> None:
    gate = Gate()
    world = World(chain("a", "b"), {"b": gate})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await gate.entered.wait()
    assert run.obey("resume", 5), "the run is not paused"
    gate.opened.set()
    assert await drive is Outcome.ENDED
    assert {entry.obeyed for entry in world.journal.entries} == {None, 5}


async def test_a_fault_while_a_run_is_ended_is_raised_and_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError("a fault of the engine")

    gate = Gate()
    world = World(chain("a", "b"), {"b": gate})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await gate.entered.wait()
    monkeypatch.setattr("executions.engine.messages.ended", broken)
    run.cancel(1)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(drive, 5)


async def test_a_pause_during_a_backoff_keeps_the_retry() -> None:
    retry = {"settings": NodeSettings(retry=Retry(max_attempts=2, backoff=0.05))}

    async def second_time(ctx: NodeContext) -> Ports:
        if ctx.attempt == 1:
            raise NodeError("not yet")
        return {"main": []}

    world = World(chain("a", "b", b=retry), {"b": second_time})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    while not world.after("b"):
        await world.journal.committed(world.journal.durable + 1)
    run.pause()
    assert await drive is Outcome.PAUSED
    assert await world.drive([("resume", 1)]) is Outcome.ENDED
    assert [event.data["attempt"] for event in world.after("b")] == [1, 2]


async def test_a_node_that_was_running_when_its_worker_died_runs_again_as_the_same_attempt() -> None:
    gate = Gate()
    keys = []

    async def script(ctx: NodeContext) -> Ports:
        keys.append((ctx.idempotency_key, ctx.attempt))
        return await gate(ctx)

    world = World(chain("a", "b"), {"b": script})
    drive = asyncio.ensure_future(world.run().drive())
    await gate.entered.wait()
    await world.journal.committed(4)
    drive.cancel()
    await asyncio.wait({drive})
    world.crash()
    gate.opened.set()
    assert await world.drive() is Outcome.ENDED
    assert keys == [("run-1:b", 1)] * 2
    assert world.started == ["a", "b", "b"]


async def test_a_run_that_is_handed_over_stops_between_nodes_and_goes_on_elsewhere() -> None:
    gate = Gate()
    world = World(chain("a", "b", "c"), {"b": gate})
    run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await gate.entered.wait()
    run.hand_over()
    gate.opened.set()
    assert await drive is Outcome.HANDED_OVER
    assert "executionPaused" not in world.types()
    assert await world.drive() is Outcome.ENDED
    assert world.started == ["a", "b", "c"]


async def test_a_run_that_lost_its_journal_stops_and_writes_nothing() -> None:
    gate = Gate()
    world = World(chain("a", "b"), {"b": gate})
    run: Run = world.run()
    drive = asyncio.ensure_future(run.drive())
    await gate.entered.wait()
    taken = len(world.journal.taken)
    run.abort(JournalLost("gone"))
    with pytest.raises(JournalLost):
        await drive
    gate.opened.set()
    await asyncio.sleep(0)
    assert len(world.journal.taken) == taken


async def test_progress_is_coalesced_without_losing_text() -> None:
    async def talk(ctx: NodeContext) -> Ports:
        for n in range(1000):
            await ctx.progress(fraction=n / 1000, message=f"{n}", text=f"{n},")
        return {"main": []}

    world = World(chain("a"), {"a": talk})
    await world.drive(progress_interval=30)
    reports = [event.data for event in world.journal.events() if event.type == "nodeExecutionProgress"]
    assert len(reports) == 2
    assert "".join(report["text"] for report in reports) == "".join(f"{n}," for n in range(1000))
    assert reports[-1]["fraction"] == 0.999


async def test_with_no_interval_each_report_is_an_event() -> None:
    async def talk(ctx: NodeContext) -> Ports:
        for n in range(50):
            await ctx.progress(text=f"{n} \ud800")
        return {"main": []}

    world = World(chain("a"), {"a": talk})
    await world.drive(progress_interval=0)
    assert world.types().count("nodeExecutionProgress") == 50


async def test_a_node_sees_what_ran_before_it_by_name() -> None:
    seen: dict[str, Any] = {}

    async def look(ctx: NodeContext) -> Ports:
        seen["upstream"] = ctx.scope.upstream
        seen["items"] = ctx.scope.nodes("A")
        seen["input"] = ctx.scope.input
        with pytest.raises(KeyError):
            ctx.scope.nodes("D")
        return {"main": []}

    world = World(chain("a", "b", "c", "d", c={"params": {"value": "=nodes['A'][0]"}}), {"c": look}, input={"x": 1})
    await world.drive()
    assert seen == {"upstream": ("A", "B"), "items": [{"x": 1}], "input": {"x": 1}}


async def test_a_long_chain_of_skipped_nodes_needs_no_deep_stack() -> None:
    ids = [f"n{i}" for i in range(sys.getrecursionlimit() * 2)]
    world = World(chain(*ids), triggers=set())
    await world.drive()
    assert set(world.statuses().values()) == {NodeStatus.SKIPPED}


@pytest.mark.parametrize(
    ("edges", "said"),
    [([("a", "b"), ("b", "a")], "cycle"), ([("a", "a")], "cycle"), ([("a", "x")], "not there")],
)
def test_a_graph_that_cannot_be_run_has_no_plan(edges: list[tuple[str, str]], said: str) -> None:
    graph = Graph(
        (Node(id="a", type="t", name="a"), Node(id="b", type="t", name="b")),
        tuple(Edge(source=a, target=b) for a, b in edges),
    )
    with pytest.raises(PlanError, match=said):
        make_plan(graph, {})
