"""The hub's ring and bells: what a reader finds there, what it is sent to the journal for, and who is woken."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from executions import sse
from executions.engine.ports import Entry
from executions.hub import CHUNK_BYTES, RING_BYTES_PER_READER, WAKE_SECONDS_PER_READER, Hub, Topic, make_blocks
from executions.journal import reader
from tests.servers import wait_until

RING = 4096


def frame(seq: int, size: int = 0) -> tuple[int, bytes]:
    return seq, sse.encode(seq, "event", b'"%b"' % (b"x" * size))


def frames(first: int, last: int, size: int = 0) -> list[tuple[int, bytes]]:
    return [frame(seq, size) for seq in range(first, last + 1)]


def seqs(data: bytes) -> list[int]:
    return [int(line[4:]) for line in data.split(b"\n") if line.startswith(b"id: ")]


def entries(first: int, last: int, last_type: str = "event") -> list[Entry]:
    now = datetime.now(UTC)
    return [Entry(seq, last_type if seq == last else "event", b"{}", now) for seq in range(first, last + 1)]


@pytest.fixture
def topic() -> Topic:
    return Topic(uuid4(), RING)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub whose runs stand nowhere in a database: what it hears of them is what is published."""
    monkeypatch.setattr(reader, "positions", lambda ids: {id: reader.Position(0, False) for id in ids})
    monkeypatch.setattr(reader, "events_after", lambda execution_id, after: [])
    hub = Hub()
    yield hub
    hub.close()


# Blocks


@pytest.mark.parametrize("size", [0, 10, CHUNK_BYTES // 3, CHUNK_BYTES, 2 * CHUNK_BYTES])
def test_blocks_hold_each_frame_once_and_no_more_than_a_chunk(size: int) -> None:
    given = frames(1, 9, size)
    blocks = list(make_blocks(given))
    assert b"".join(block.data for block in blocks) == b"".join(data for _, data in given)
    assert [seq for block in blocks for seq in range(block.first, block.last + 1)] == list(range(1, 10))
    for block in blocks:
        assert len(block.data) <= CHUNK_BYTES or block.first == block.last, "only a single frame may be longer"


def test_a_block_gives_what_is_behind_any_of_its_events() -> None:
    (block,) = make_blocks(frames(5, 9))
    for seen in range(9):
        assert seqs(block.after(seen)) == list(range(max(seen + 1, 5), 10))


def test_no_frames_are_no_blocks() -> None:
    assert list(make_blocks([])) == []


# The ring


def test_a_ring_gives_what_is_behind_a_reader(topic: Topic) -> None:
    topic.push(frames(1, 3), None)
    topic.push(frames(4, 6), None)
    for seen in range(6):
        found = topic.after(seen)
        assert found is not None
        assert (seqs(found[0]), found[1]) == (list(range(seen + 1, 7)), 6)
    assert topic.after(6) is None
    assert not topic.is_behind(6)


def test_an_empty_ring_has_nothing_and_nobody_is_behind_it(topic: Topic) -> None:
    assert topic.after(0) is None
    assert not topic.is_behind(0)
    assert topic.newest == 0


def test_what_is_pushed_twice_is_there_once(topic: Topic) -> None:
    topic.push(frames(1, 4), None)
    topic.push(frames(2, 6), None)
    topic.push(frames(1, 3), None)
    found = topic.after(0)
    assert found is not None and seqs(found[0]) == [1, 2, 3, 4, 5, 6]


def test_behind_a_gap_a_reader_is_sent_to_the_journal(topic: Topic) -> None:
    topic.push(frames(1, 4), None)
    topic.push(frames(7, 8), None)
    assert topic.after(4) is None and topic.is_behind(4)
    found = topic.after(6)
    assert found is not None and seqs(found[0]) == [7, 8]


def test_what_comes_late_into_a_gap_is_left_to_the_journal(topic: Topic) -> None:
    topic.push(frames(1, 4), None)
    topic.push(frames(7, 8), None)
    topic.push(frames(5, 6), None)
    assert topic.is_behind(4)
    found = topic.after(6)
    assert found is not None and seqs(found[0]) == [7, 8]


def test_a_ring_is_bounded_and_keeps_the_newest(topic: Topic) -> None:
    for seq in range(1, 200):
        topic.push([frame(seq, 100)], None)
        assert topic._size == sum(len(block.data) for block in topic._ring) <= RING
    assert topic.is_behind(1) and topic.after(1) is None
    found = topic.after(198)
    assert found is not None and seqs(found[0]) == [199]


def test_a_ring_grows_with_its_readers(topic: Topic) -> None:
    topic.readers = 10
    for seq in range(1, 2000):
        topic.push([frame(seq, 100)], None)
    assert RING + 9 * RING_BYTES_PER_READER < topic._size <= RING + 10 * RING_BYTES_PER_READER
    topic.readers = 1
    topic.push([frame(2000, 100)], None)
    assert topic._size <= RING + RING_BYTES_PER_READER


def test_a_frame_longer_than_the_ring_is_kept_alone(topic: Topic) -> None:
    topic.push(frames(1, 3), None)
    topic.push([frame(4, 2 * RING)], None)
    assert len(topic._ring) == 1
    found = topic.after(3)
    assert found is not None and seqs(found[0]) == [4]


def test_a_chunk_is_bounded() -> None:
    topic = Topic(uuid4(), 100 * CHUNK_BYTES)
    for seq in range(1, 21):
        topic.push([frame(seq, CHUNK_BYTES // 3)], None)
    seen, chunks = 0, 0
    while (found := topic.after(seen)) is not None:
        assert len(found[0]) <= CHUNK_BYTES
        assert seqs(found[0]) == list(range(seen + 1, found[1] + 1))
        seen, chunks = found[1], chunks + 1
    assert seen == 20 and chunks == 10


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_pushed_a_reader_of_the_ring_sees_no_gap(seed: int) -> None:
    """Two sources push overlapping parts of one run, some of them late, some never."""
    chance = random.Random(seed)
    topic, seen, read = Topic(uuid4(), RING), 0, []
    for _ in range(300):
        first = chance.randint(max(1, topic.newest - 5), topic.newest + 3)
        topic.push(frames(first, first + chance.randint(0, 4), chance.choice([0, 500])), None)
        found = topic.after(seen)
        if found is not None:
            read += seqs(found[0])
            seen = found[1]
        elif topic.is_behind(seen):
            read += range(seen + 1, topic.newest + 1)  # as the journal gives them
            seen = topic.newest
        else:
            assert seen >= topic.newest
    assert read == list(range(1, seen + 1))


# Bells


async def test_a_push_between_the_look_and_the_wait_is_not_missed(topic: Topic) -> None:
    for seq in range(1, 50):
        bell = topic.bell()
        assert topic.after(seq - 1) is None
        topic.push([frame(seq)], None)
        await asyncio.wait_for(bell.wait(), 5)
        assert topic.after(seq - 1) is not None


async def test_many_pushes_before_a_turn_of_the_loop_wake_its_readers_once(topic: Topic) -> None:
    loop, calls = asyncio.get_running_loop(), []
    original = loop.call_soon_threadsafe
    loop.call_soon_threadsafe = lambda *args, **kwargs: calls.append(args) or original(*args, **kwargs)  # type: ignore
    bells = [topic.bell() for _ in range(3)]
    for seq in range(1, 100):
        topic.push([frame(seq)], None)
    await asyncio.wait_for(asyncio.gather(*(bell.wait() for bell in bells)), 5)
    assert len(calls) == 1


async def test_many_readers_are_woken_less_often_and_few_at_once(topic: Topic) -> None:
    loop = asyncio.get_running_loop()

    async def rings_in(seconds: float) -> int:
        rings, until = 0, loop.time() + seconds
        while loop.time() < until:
            bell = topic.bell()
            topic.push([frame(topic.newest + 1)], None)
            await asyncio.wait_for(bell.wait(), 5)
            rings += 1
        return rings

    topic.readers = 1
    assert await rings_in(0.3) > 30
    topic.readers = 1000
    assert await rings_in(0.5) <= 0.5 / (1000 * WAKE_SECONDS_PER_READER) + 2


async def test_a_bell_rings_for_what_came_while_the_loop_rested(topic: Topic) -> None:
    topic.readers = 2000
    for seq in range(1, 4):
        bell = topic.bell()
        topic.push([frame(seq)], None)
        await asyncio.wait_for(bell.wait(), 5)
        found = topic.after(seq - 1)
        assert found is not None and seqs(found[0]) == [seq]


async def test_a_push_from_a_plain_thread_wakes_a_reader_on_an_idle_loop(topic: Topic) -> None:
    bell = topic.bell()
    threading.Timer(0.05, topic.push, (frames(1, 1), None)).start()
    started = asyncio.get_running_loop().time()
    await asyncio.wait_for(bell.wait(), 5)
    assert asyncio.get_running_loop().time() - started < 1, "not when something else wakes the loop"


def test_readers_on_many_loops_see_everything() -> None:
    topic, last = Topic(uuid4(), RING), 400
    results: list[Sequence[int]] = []
    ready = threading.Barrier(5)

    async def read() -> list[int]:
        seen, read = 0, []
        topic.bell()
        await asyncio.to_thread(ready.wait, 10)
        while seen < last:
            bell = topic.bell()
            found = topic.after(seen)
            if found is not None:
                read += seqs(found[0])
                seen = found[1]
            elif topic.is_behind(seen):
                read += range(seen + 1, (newest := topic.newest) + 1)
                seen = newest
            else:
                await asyncio.wait_for(bell.wait(), 10)
        return read

    threads = [threading.Thread(target=lambda: results.append(asyncio.run(read()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    ready.wait(10)
    for seq in range(1, last + 1):
        topic.push([frame(seq)], None)
    for thread in threads:
        thread.join(20)
    assert results == [list(range(1, last + 1))] * 4


def test_a_loop_that_was_closed_is_forgotten(topic: Topic) -> None:
    async def listen() -> None:
        topic.bell()

    asyncio.run(listen())
    topic.push(frames(1, 1), None)
    assert topic._bells == {} and topic._ringing == set()


# The hub


async def test_what_is_published_reaches_who_reads_it_and_nobody_else(hub: Hub) -> None:
    run, other = uuid4(), uuid4()
    hub.publish(run, entries(1, 3))
    with hub.subscribe(run) as topic, hub.subscribe(other) as foreign:
        assert topic.after(0) is None, "what was there before is in the journal"
        hub.publish(run, entries(4, 5))
        found = topic.after(3)
        assert found is not None and seqs(found[0]) == [4, 5]
        assert foreign.after(0) is None


async def test_readers_of_a_run_share_one_topic_which_goes_with_the_last_of_them(hub: Hub) -> None:
    run = uuid4()
    watched: list[bool] = []
    hub.on_watch = lambda execution_id, here: watched.append(here)
    with hub.subscribe(run) as first:
        with hub.subscribe(run) as second:
            assert first is second
            assert hub.readers == 2
        assert watched == [True]
    assert watched == [True, False]
    assert hub.readers == 0 and hub._topics == {}
    with hub.subscribe(run) as third:
        assert third is not first


async def test_the_last_event_says_where_the_run_has_ended(hub: Hub) -> None:
    with hub.subscribe(run := uuid4()) as topic:
        hub.publish(run, entries(1, 3))
        assert topic.ended_at is None
        hub.publish(run, entries(4, 5, "executionFinished"))
        assert topic.ended_at == 5


async def test_a_run_that_leaves_this_process_is_looked_after_here(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    run = uuid4()
    looked: list[object] = []

    def positions(ids: Sequence[object]) -> dict[object, reader.Position]:
        looked.extend(ids)
        return {}

    monkeypatch.setattr(reader, "positions", positions)
    hub.executing(run, here=True)
    with hub.subscribe(run):
        await asyncio.sleep(0.1)  # the hub's thread has nothing to look after, and waits without end
        assert looked == [], "its commits come by themselves"
        hub.executing(run, here=False)
        await asyncio.to_thread(wait_until, lambda: run in looked, 5.0)


async def test_a_deleted_run_has_ended(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "positions", lambda ids: {})
    with hub.subscribe(uuid4()) as topic:
        await asyncio.to_thread(wait_until, lambda: topic.ended_at == 0)


async def test_the_hub_outlives_whatever_the_journal_raises(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([ZeroDivisionError("a fault"), KeyError("another")])
    run = uuid4()

    def positions(ids: object) -> dict[object, reader.Position]:
        for fault in answers:
            raise fault
        return {run: reader.Position(2, True)}

    stored = [reader.StoredEvent(1, "event", "{}"), reader.StoredEvent(2, "executionFinished", "{}")]
    monkeypatch.setattr(reader, "positions", positions)
    monkeypatch.setattr(reader, "events_after", lambda execution_id, after: stored[after:])
    with hub.subscribe(run) as topic:
        await asyncio.to_thread(wait_until, lambda: topic.ended_at == 2)
        found = topic.after(0)
        assert found is not None and seqs(found[0]) == [1, 2]


async def test_an_end_that_was_committed_behind_the_look_is_an_end(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its hint says nothing new then, and does not wake the hub again."""
    run = uuid4()
    stored = [reader.StoredEvent(1, "event", "{}"), reader.StoredEvent(2, "executionFinished", "{}")]
    monkeypatch.setattr(reader, "positions", lambda ids: {run: reader.Position(1, False)})
    monkeypatch.setattr(reader, "events_after", lambda execution_id, after: stored[after:])
    with hub.subscribe(run) as topic:
        await asyncio.to_thread(wait_until, lambda: topic.ended_at == 2)


async def test_a_hint_of_what_is_here_already_costs_no_look(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.WATAOMI_STREAM_POLL = 60
    run, looks = uuid4(), threading.Semaphore(0)
    stands = reader.Position(3, False)
    stored = [reader.StoredEvent(seq, "event", "{}") for seq in (1, 2, 3)]

    def positions(ids: object) -> dict[object, reader.Position]:
        looks.release()
        return {run: stands}

    monkeypatch.setattr(reader, "positions", positions)
    monkeypatch.setattr(reader, "events_after", lambda execution_id, after: stored[after:])
    with hub.subscribe(run) as topic:
        await asyncio.to_thread(wait_until, lambda: topic.newest == 3)
        while await asyncio.to_thread(looks.acquire, timeout=0.5):
            pass  # it looks twice when a reader comes
        for upto in (1, 3, 2, 3):
            hub.hint(run, upto)
        assert not await asyncio.to_thread(looks.acquire, timeout=0.2)
        hub.hint(run, 4)
        assert await asyncio.to_thread(looks.acquire, timeout=5)


async def test_a_hub_that_was_closed_starts_anew(hub: Hub) -> None:
    with hub.subscribe(uuid4()):
        hub.close()
    with hub.subscribe(uuid4()):
        assert hub._thread is not None and hub._thread.is_alive()
