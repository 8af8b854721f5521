"""Whatever comes late, twice, never or in another order: a reader of a run sees each event once and in order."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth.models import User
from django.db import OperationalError

from executions import announcer as announcers
from executions import runtime, sse, stream
from executions.announcer import GROUP, Announcer
from executions.dispatch import start_execution
from executions.hub import Hub, Topic, hub
from executions.journal import reader
from executions.models import Execution, Mode
from flows.context import NodeContext
from flows.models import Flow
from tests.integration.execution_data import assert_complete, journal_of, make_flow, read_frames, wait_for_status
from tests.integration.flow_data import make_user
from tests.integration.lossy_layer import LossyLayer
from tests.integration.scripted_nodes import Gate, Scripts, scripted_chain
from tests.servers import wait_until, within

pytestmark = pytest.mark.usefixtures("executor")

WITHIN = 30.0
"""Seconds that a stream may take as a whole; behind them an event is taken for lost."""


@pytest.fixture
def author(executor: None) -> User:
    return make_user("author")


@pytest.fixture
def busy_flow(author: User, scripts: Scripts, settings: Any) -> Flow:
    """Twelve nodes; four of them report as often as they can, and pause now and then."""
    settings.WATAOMI_PROGRESS_INTERVAL = 0
    chance = random.Random(1)

    async def report(ctx: NodeContext) -> None:
        for number in range(30):
            await ctx.progress(number / 30, text="x" * chance.randint(0, 200))
            if chance.random() < 0.3:
                await asyncio.sleep(0.003 * chance.random())

    names = [f"n{number}" for number in range(12)]
    for name in names[::3]:
        scripts[name] = report
    return make_flow(author, scripted_chain(*names))


@pytest.fixture
def far_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The readers of the test are those of another process: its hub is told of no commit."""
    far = Hub()
    monkeypatch.setattr(stream, "hub", far)
    yield far
    far.close()


@pytest.fixture
def join(far_hub: Hub, settings: Any) -> Iterator[Callable[..., LossyLayer]]:
    """Return a function that joins the two processes by a channel layer with these properties."""
    announcers: list[Announcer] = []

    def join(**config: Any) -> LossyLayer:
        layer = {"BACKEND": "tests.integration.lossy_layer.LossyLayer", "CONFIG": config}
        settings.CHANNEL_LAYERS = {"default": layer}
        announcers.append(Announcer(far_hub.hint))
        far_hub.on_watch = announcers[-1].watch
        made = get_channel_layer()
        assert isinstance(made, LossyLayer)
        return made

    yield join
    for announcer in announcers:
        announcer.close()
    runtime.announcer.close()


def start(flow: Flow) -> Execution:
    return start_execution(flow, input_data={}, requester=flow.owner, mode=Mode.API)


async def read(execution_id: UUID, after: int = 0, pause: Callable[[], float] | None = None) -> list[Any]:
    """All frames of a stream, read by a reader who may be slow."""
    chunks = []
    async with asyncio.timeout(WITHIN), aclosing(stream.frames(execution_id, after)) as stream_chunks:
        async for chunk in stream_chunks:
            chunks.append(chunk)
            if pause is not None:
                await asyncio.sleep(pause())
    return read_frames(chunks)


async def assert_same_as_the_journal(run: Execution, frames: list[Any], after: int = 0) -> None:
    stored = await sync_to_async(journal_of)(run.pk)
    assert [(frame.seq, frame.type, frame.data) for frame in frames] == stored[after:]
    if after == 0:
        assert_complete(frames)


def delayed(monkeypatch: pytest.MonkeyPatch, chance: random.Random) -> None:
    """Each step on the way of an event takes a random time, in whichever thread it happens."""

    def slow(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if chance.random() < 0.3:
                time.sleep(0.008 * chance.random())
            result = original(*args, **kwargs)
            if chance.random() < 0.3:
                time.sleep(0.008 * chance.random())
            return result

        monkeypatch.setattr(owner, name, call)

    for owner, name in [
        (reader, "events_after"),
        (reader, "positions"),
        (Topic, "push"),
        (Topic, "bell"),
        (Topic, "after"),
        (Hub, "publish"),
        (Hub, "_enter"),
        (Hub, "executing"),
        (runtime.writer, "_publish"),
        (runtime.writer, "_commit"),
    ]:
        slow(owner, name)


async def read_at_random_moments(run: Execution, chance: random.Random, readers: int) -> None:
    async def one() -> None:
        await asyncio.sleep(0.3 * chance.random())
        pause = (lambda: 0.05 * chance.random()) if chance.random() < 0.3 else None
        await assert_same_as_the_journal(run, await read(run.pk, 0, pause))

    await asyncio.gather(*(one() for _ in range(readers)))


# One process


@pytest.mark.parametrize("seed", range(6))
async def test_with_delays_at_every_step_no_event_is_lost_or_doubled(
    busy_flow: Flow, monkeypatch: pytest.MonkeyPatch, settings: Any, seed: int
) -> None:
    chance = random.Random(seed)
    settings.WATAOMI_RING_BYTES = chance.choice([1024, 8 * 1024, 256 * 1024])
    settings.WATAOMI_KEEP_ALIVE = chance.choice([0.1, 15])
    delayed(monkeypatch, chance)
    run = await sync_to_async(start)(busy_flow)
    await read_at_random_moments(run, chance, 6)


async def test_a_reader_that_falls_behind_the_ring_reads_the_journal(
    author: User, scripts: Scripts, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WATAOMI_RING_BYTES = 1024
    settings.WATAOMI_PROGRESS_INTERVAL = 0
    behind: list[bool] = []
    original = Topic.is_behind

    def is_behind(topic: Topic, seq: int) -> bool:
        behind.append(original(topic, seq))
        return behind[-1]

    async def report(ctx: NodeContext) -> None:
        for _ in range(200):
            await ctx.progress(text="x" * 100)

    monkeypatch.setattr(Topic, "is_behind", is_behind)
    gate = scripts["a"] = Gate()
    scripts["b"] = report
    run = await sync_to_async(start)(await sync_to_async(make_flow)(author, scripted_chain("a", "b")))
    await asyncio.to_thread(gate.wait_entered)
    async with asyncio.timeout(WITHIN), aclosing(stream.frames(run.pk)) as chunks:
        received = b""
        while b'"nodeId":"a"' not in received:
            received += await anext(chunks)
        gate.open()
        await sync_to_async(wait_for_status)(run.pk)  # all of it happens while the reader does something else
        async for chunk in chunks:
            received += chunk
    await assert_same_as_the_journal(run, read_frames([received]))
    assert any(behind)


async def test_a_reader_resumes_behind_every_event(busy_flow: Flow) -> None:
    run = await sync_to_async(start)(busy_flow)
    everything = await read(run.pk)
    parts = [await read(run.pk, after) for after in range(0, len(everything), 7)]
    for after, frames in zip(range(0, len(everything), 7), parts, strict=True):
        assert [frame.seq for frame in frames] == list(range(after + 1, len(everything) + 1))


async def test_an_event_reaches_a_reader_on_an_idle_loop_at_once(author: User, scripts: Scripts, settings: Any) -> None:
    settings.WATAOMI_KEEP_ALIVE = 60
    gate = scripts["a"] = Gate()
    run = await sync_to_async(start)(await sync_to_async(make_flow)(author, scripted_chain("a")))
    opened: list[float] = []

    def open_gate() -> None:
        gate.wait_entered()
        threading.Event().wait(0.3)  # the loop of the reader falls asleep
        opened.append(time.monotonic())
        gate.open()

    threading.Thread(target=open_gate).start()
    frames = await read(run.pk)
    assert frames[-1].type == "executionFinished"
    assert time.monotonic() - opened[0] < 1


@pytest.mark.parametrize("ring", [1024, 256 * 1024])
async def test_a_run_that_is_deleted_ends_its_streams(author: User, scripts: Scripts, settings: Any, ring: int) -> None:
    settings.WATAOMI_RING_BYTES = ring
    settings.WATAOMI_PROGRESS_INTERVAL = 0
    gate = Gate()

    async def report_and_wait(ctx: NodeContext) -> None:
        for _ in range(200):
            await ctx.progress(text="x" * 100)
        await gate(ctx)

    scripts["a"] = report_and_wait
    run = await sync_to_async(start)(await sync_to_async(make_flow)(author, scripted_chain("a", "b")))
    await asyncio.to_thread(gate.wait_entered)
    behind = aiter(stream.frames(run.pk))
    await anext(behind)
    await anext(behind)  # and this reader reads no further for the moment
    ahead = asyncio.ensure_future(read(run.pk))
    await asyncio.sleep(0.2)
    await Execution.objects.filter(pk=run.pk).adelete()
    gate.open()
    async with asyncio.timeout(10):
        frames = await ahead
        rest = [chunk async for chunk in behind]
    assert [frame.seq for frame in frames] == list(range(1, len(frames) + 1))
    assert not any(frame.type == "executionFinished" for frame in frames)
    assert all(b"executionFinished" not in chunk for chunk in rest)


async def test_a_deleted_run_costs_a_reader_behind_its_ring_no_endless_reading(
    executor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []

    def nothing(execution_id: UUID, after: int) -> list[reader.StoredEvent]:
        reads.append(after)
        return []

    monkeypatch.setattr(reader, "events_after", nothing)
    monkeypatch.setattr(reader, "positions", lambda ids: {})
    execution_id = uuid4()
    with hub.subscribe(execution_id) as topic:
        topic.push([(number, b"id: %d\n\n" % number) for number in range(50, 60)], None)
        assert await read(execution_id) == []
    assert len(reads) <= 3


# A database that is away


@pytest.fixture
def quick_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "READ_PAUSES", (0.01,))


def away(monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> None:
    """Let so many reads of the journal fail, or twice as many: a thread tries again at once."""
    original, left = getattr(reader, name), iter(range(2 * times))

    def read(*args: Any) -> Any:
        for _ in left:
            raise OperationalError("the database is away")
        return original(*args)

    monkeypatch.setattr(reader, name, read)


async def test_a_reader_waits_for_a_database_that_is_away_and_misses_nothing(
    busy_flow: Flow, monkeypatch: pytest.MonkeyPatch, quick_tries: None
) -> None:
    run = await sync_to_async(start)(busy_flow)
    away(monkeypatch, "events_after", 3)
    async with asyncio.timeout(WITHIN):
        chunks = [chunk async for chunk in stream.frames(run.pk)]
    assert chunks[:4] == [sse.RETRY, *[sse.KEEP_ALIVE] * 3]
    await assert_same_as_the_journal(run, read_frames(chunks))


async def test_who_waits_for_the_end_of_an_idle_run_outlasts_the_database_too(
    author: User, scripts: Scripts, settings: Any, monkeypatch: pytest.MonkeyPatch, quick_tries: None
) -> None:
    settings.WATAOMI_KEEP_ALIVE = 0.1
    gate = scripts["a"] = Gate()
    run = await sync_to_async(start)(await sync_to_async(make_flow)(author, scripted_chain("a")))
    await asyncio.to_thread(gate.wait_entered)
    reading = asyncio.ensure_future(read(run.pk))
    await asyncio.sleep(0.05)
    away(monkeypatch, "positions", 3)
    await asyncio.sleep(0.5)
    gate.open()
    await assert_same_as_the_journal(run, await reading)


async def test_a_reader_is_sent_away_when_the_database_does_not_come_back(
    busy_flow: Flow, monkeypatch: pytest.MonkeyPatch, quick_tries: None, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream, "READ_PATIENCE", 0.1)
    run = await sync_to_async(start)(busy_flow)
    await sync_to_async(wait_for_status)(run.pk)
    away(monkeypatch, "events_after", 1_000_000)
    with pytest.raises(stream.JournalAway):
        await read(run.pk)
    assert "Traceback" not in caplog.text, "a thousand readers would log a thousand"
    assert hub.readers == 0


# Two processes


@pytest.mark.parametrize("seed", range(4))
async def test_over_a_layer_that_loses_doubles_and_delays_nothing_is_lost(
    busy_flow: Flow,
    far_hub: Hub,
    join: Callable[..., LossyLayer],
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    seed: int,
) -> None:
    chance = random.Random(seed)
    settings.WATAOMI_RING_BYTES = chance.choice([1024, 256 * 1024])
    layer = join(capacity=1, expiry=1, loss=0.4, seed=seed)
    delayed(monkeypatch, chance)
    run = await sync_to_async(start)(busy_flow)
    await read_at_random_moments(run, chance, 4)
    assert layer.sent > 0


async def test_without_a_layer_a_slow_look_brings_everything(busy_flow: Flow, far_hub: Hub) -> None:
    run = await sync_to_async(start)(busy_flow)
    await assert_same_as_the_journal(run, await read(run.pk))


async def test_a_reader_whom_nobody_wakes_looks_at_the_journal_behind_each_keep_alive(
    author: User, scripts: Scripts, far_hub: Hub, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.WATAOMI_KEEP_ALIVE = 0.05
    monkeypatch.setattr(far_hub, "_watch", lambda stop: None)
    gate = scripts["a"] = Gate()
    run = await sync_to_async(start)(await sync_to_async(make_flow)(author, scripted_chain("a")))
    chunks = []
    async with asyncio.timeout(within(10)), aclosing(stream.frames(run.pk)) as stream_chunks:
        async for chunk in stream_chunks:
            chunks.append(chunk)
            if chunk == sse.KEEP_ALIVE:
                gate.open()
    await assert_same_as_the_journal(run, read_frames(chunks))


async def test_a_hint_makes_the_slow_look_a_quick_one(
    author: User, scripts: Scripts, join: Callable[..., LossyLayer], settings: Any
) -> None:
    settings.WATAOMI_STREAM_POLL = settings.WATAOMI_KEEP_ALIVE = 60
    layer = join(capacity=100, loss=0)
    gate = scripts["a"] = Gate()
    run = await sync_to_async(start)(await sync_to_async(make_flow)(author, scripted_chain("a")))
    await asyncio.to_thread(gate.wait_entered)
    reading = asyncio.ensure_future(read(run.pk))
    await asyncio.to_thread(wait_until, lambda: layer.members(GROUP) == 1)
    gate.open()
    await assert_same_as_the_journal(run, await asyncio.wait_for(reading, 5))
    await asyncio.to_thread(wait_until, lambda: layer.members(GROUP) == 0)
    assert layer.delivered > 0


async def test_a_hint_that_nobody_can_read_stops_nothing(
    author: User, scripts: Scripts, far_hub: Hub, join: Callable[..., LossyLayer], settings: Any
) -> None:
    settings.WATAOMI_STREAM_POLL = settings.WATAOMI_KEEP_ALIVE = 60
    layer = join(capacity=100, loss=0)
    gate = scripts["a"] = Gate()
    run = await sync_to_async(start)(await sync_to_async(make_flow)(author, scripted_chain("a")))
    await asyncio.to_thread(gate.wait_entered)
    reading = asyncio.ensure_future(read(run.pk))
    await asyncio.to_thread(wait_until, lambda: layer.members(GROUP) == 1)
    for hints in (b"no hint", "no bytes", None, bytes(24)):
        await layer.group_send(GROUP, {"type": "executions.hints", "hints": hints})
    await layer.group_send(GROUP, {"type": "of another version"})
    gate.open()
    await assert_same_as_the_journal(run, await asyncio.wait_for(reading, 5))


async def test_a_run_that_moves_to_another_process_is_seen_to_its_end(
    author: User, scripts: Scripts, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given back here, and goes on where this process hears of no commit."""
    settings.WATAOMI_KEEP_ALIVE = 60
    gate = scripts["a"] = Gate()
    run = await sync_to_async(start)(await sync_to_async(make_flow)(author, scripted_chain("a", "b")))
    await asyncio.to_thread(gate.wait_entered)
    reading = asyncio.ensure_future(read(run.pk))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(runtime.executor().stop)
    gate.open()
    monkeypatch.setattr(hub, "publish", lambda *args: None)
    monkeypatch.setattr(hub, "executing", lambda *args, **kwargs: None)

    def go_on_elsewhere() -> None:
        runtime.use(None)
        runtime.executor(recover=True)
        wait_for_status(run.pk)

    await sync_to_async(go_on_elsewhere)()
    await assert_same_as_the_journal(run, await asyncio.wait_for(reading, 10))


# The announcer


def announcer_threads() -> int:
    return sum(thread.name == "announcer" for thread in threading.enumerate())


def test_over_the_layer_of_one_process_nothing_is_sent_and_nothing_runs(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    before = announcer_threads()
    announcer = Announcer(lambda execution_id, upto: None)
    announcer.watch(uuid4(), True)
    announcer.announce(uuid4(), 7)
    assert announcer_threads() == before
    assert announcer._session is None
    announcer.close()


def test_an_announcer_that_was_closed_starts_anew(settings: Any) -> None:
    layer = {"BACKEND": "tests.integration.lossy_layer.LossyLayer", "CONFIG": {"loss": 0, "capacity": 100}}
    settings.CHANNEL_LAYERS = {"default": layer}
    before = announcer_threads()
    heard: list[UUID] = []
    listener, speaker = (
        Announcer(lambda execution_id, upto: heard.append(execution_id)),
        Announcer(lambda execution_id, upto: None),
    )
    made = get_channel_layer()
    assert isinstance(made, LossyLayer)
    for _ in range(3):
        run = uuid4()
        listener.watch(run, True)
        wait_until(lambda run=run: made.members(GROUP) > 0)
        speaker.announce(run, 1)
        wait_until(lambda run=run: run in heard)
        listener.close()
        speaker.close()
        listener.watch(run, False)  # a reader that leaves behind the end
    assert announcer_threads() == before


def test_an_announcer_that_hears_nothing_any_more_joins_anew(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcers, "ECHO_SECONDS", 0.02)
    monkeypatch.setattr(announcers, "DEAF_SECONDS", 0.05)
    monkeypatch.setattr(announcers, "PAUSES_AFTER_ERROR", (0.01,))
    original = LossyLayer.receive

    async def receive(layer: LossyLayer, channel: str) -> dict[str, Any]:
        if channel.endswith("!0"):  # the first that is joined falls silent
            await asyncio.Event().wait()
        return await original(layer, channel)

    monkeypatch.setattr(LossyLayer, "receive", receive)
    layer = {"BACKEND": "tests.integration.lossy_layer.LossyLayer", "CONFIG": {"loss": 0, "capacity": 100}}
    settings.CHANNEL_LAYERS = {"default": layer}
    heard: list[tuple[UUID, int]] = []
    announcer = Announcer(lambda execution_id, upto: heard.append((execution_id, upto)))
    run = uuid4()
    announcer.watch(run, True)

    def hears() -> bool:
        announcer.announce(run, 7)
        return (run, 7) in heard

    try:
        wait_until(hears)
    finally:
        announcer.close()
    assert heard[:2] == [(run, 0), (run, 0)], "what was lost meanwhile is looked for"


def test_closing_an_announcer_while_others_use_it_is_no_deadlock_and_mixes_no_loops(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.integration.lossy_layer.LossyLayer"}}
    announcer = Announcer(lambda execution_id, upto: None)
    faults: list[BaseException] = []

    def use(number: int) -> None:
        try:
            for turn in range(30):
                if number == 0 and turn % 5 == 0:
                    announcer.close()
                announcer.watch(uuid4(), True)
                announcer.announce(uuid4(), turn)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=use, args=(number,), daemon=True) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert not any(thread.is_alive() for thread in threads)
    announcer.close()
    assert faults == []
    assert "event loop" not in caplog.text
