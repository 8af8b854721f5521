"""Hints over a real Redis: quick, quiet while it is away, back by themselves, and lost without harm."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from executions import announcer as announcers
from executions import runtime, stream
from executions.announcer import Announcer
from executions.dispatch import start_execution
from executions.hub import Hub
from executions.models import Mode
from tests.faults.services import Redis, running
from tests.integration.execution_data import assert_complete, make_flow, read_frames, wait_for_status
from tests.integration.flow_data import make_user
from tests.integration.scripted_nodes import Gate, Scripts, scripted_chain
from tests.servers import wait_until, within

pytestmark = pytest.mark.services_only

PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"
CORE = "channels_redis.core.RedisChannelLayer"


@pytest.fixture(scope="module")
def redis_server() -> Iterator[Redis]:
    with running(Redis) as server:
        yield server


def use_layer(settings: Any, url: str, backend: str = PUBSUB, **config: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [url], "prefix": "test", **config}}}


@pytest.fixture
def pair() -> Iterator[tuple[Announcer, Announcer, Any]]:
    """Who speaks, who listens, and what was heard."""
    heard: Any = queue.SimpleQueue()
    speaker = Announcer(lambda execution_id, upto: None)
    listener = Announcer(lambda execution_id, upto: heard.put((execution_id, upto)))
    yield speaker, listener, heard
    speaker.close()
    listener.close()


def begin(listener: Announcer, heard: Any) -> UUID:
    """Watch a run, and return its id when hints about it are heard: the first one says that the listener has joined."""
    run = uuid4()
    listener.watch(run, True)
    assert heard.get(timeout=within(10)) == (run, 0)
    return run


numbers = itertools.count(1_000)


def say_until_heard(speaker: Announcer, heard: Any, run: UUID, seconds: float = 20.0) -> None:
    """Announce one commit after the other until one of them is heard."""
    deadline = time.monotonic() + within(seconds)
    first = next(numbers)
    while True:
        assert time.monotonic() < deadline, "nothing is heard any more"
        speaker.announce(run, next(numbers))
        try:
            while heard.get(timeout=0.05)[1] < first:
                pass
        except queue.Empty:
            continue
        return


@pytest.mark.parametrize("backend", [PUBSUB, CORE])
def test_a_hint_from_a_plain_thread_is_heard_at_once(
    redis_server: Redis, pair: Any, settings: Any, backend: str
) -> None:
    use_layer(settings, redis_server.url, backend)
    speaker, listener, heard = pair
    run = begin(listener, heard)
    say_until_heard(speaker, heard, run)
    delays = []
    for upto in range(1, 6):
        time.sleep(0.3)  # both loops fall asleep
        began = time.monotonic()
        speaker.announce(run, upto)
        while heard.get(timeout=5) != (run, upto):
            pass
        delays.append(time.monotonic() - began)
    assert sorted(delays)[2] < within(0.05)


def test_hints_of_all_runs_go_as_one_message_and_only_the_newest(
    redis_server: Redis, pair: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_layer(settings, redis_server.url)
    sent: list[int] = []
    original = announcers._message

    def message(news: Any) -> dict[str, Any]:
        sent.append(len(news))
        return original(news)

    monkeypatch.setattr(announcers, "_message", message)
    speaker, listener, heard = pair
    runs = [begin(listener, heard)]
    for _ in range(199):
        runs.append(uuid4())
        listener.watch(runs[-1], True)
    say_until_heard(speaker, heard, runs[0])
    sent.clear()
    for upto in range(1, 6):
        for run in runs:
            speaker.announce(run, upto)
    newest: dict[UUID, int] = {}
    while len(newest) < 200 or min(newest.values()) < 5:
        run, upto = heard.get(timeout=10)
        newest[run] = upto
    assert sum(sent) >= 200
    assert len(sent) <= 20, "not a message for each of 1,000 hints"


def test_who_reads_nothing_is_in_no_group(redis_server: Redis, pair: Any, settings: Any) -> None:
    use_layer(settings, redis_server.url)
    speaker, listener, heard = pair
    run = begin(listener, heard)

    def subscribers() -> int:
        found: list[Any] = []
        redis_server.ask(lambda client: found.append(client.pubsub_numsub("test__group__executions")))
        return int(found[0][0][1])

    wait_until(lambda: subscribers() == 1)
    speaker.announce(uuid4(), 1)
    listener.watch(run, False)
    wait_until(lambda: subscribers() == 0)
    assert begin(listener, heard)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    own = (record for record in caplog.records if record.name == announcers.__name__)
    return [record.getMessage() for record in own if record.levelno >= logging.WARNING]


def test_redis_that_dies_and_comes_back_costs_a_line_and_hints_come_again(
    redis_server: Redis, pair: Any, settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcers, "ECHO_SECONDS", 0.2)
    monkeypatch.setattr(announcers, "DEAF_SECONDS", 0.7)
    use_layer(settings, redis_server.url)
    speaker, listener, heard = pair
    run = begin(listener, heard)
    say_until_heard(speaker, heard, run)
    before = psutil.Process().num_threads()
    for _ in range(2):
        redis_server.stop(signal.SIGKILL)
        try:
            caplog.clear()

            def keep_talking() -> bool:
                for _ in range(100):
                    speaker.announce(uuid4(), 1)
                return bool(speaker._away and listener._away)

            wait_until(keep_talking, 20)
            time.sleep(1)
            keep_talking()
            warnings = lines_of(caplog)
            assert len(warnings) == 2, "one for each of the two, and not one for each hint"
            assert all("the channel layer cannot be reached" in line for line in warnings)
            assert len(speaker._news) <= announcers.MAX_NEWS, "what nobody hears is not kept for ever"
        finally:
            redis_server.start()
        say_until_heard(speaker, heard, run)
    wait_until(lambda: psutil.Process().num_threads() <= before)  # one that connects has a thread for a moment


def test_connections_that_are_cut_are_made_again(
    redis_server: Redis, pair: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcers, "ECHO_SECONDS", 0.2)
    monkeypatch.setattr(announcers, "DEAF_SECONDS", 0.7)
    use_layer(settings, redis_server.url)
    speaker, listener, heard = pair
    run = begin(listener, heard)
    for _ in range(3):
        redis_server.cut_clients()
        say_until_heard(speaker, heard, run)


def test_redis_that_hangs_is_as_good_as_away(
    redis_server: Redis, pair: Any, settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcers, "SEND_SECONDS", 0.2)
    use_layer(settings, redis_server.url)
    speaker, listener, heard = pair
    run = begin(listener, heard)
    say_until_heard(speaker, heard, run)
    frozen = threading.Thread(target=redis_server.freeze, args=(1.5,))
    frozen.start()
    began = time.monotonic()
    while frozen.is_alive():
        speaker.announce(uuid4(), 1)
        time.sleep(0.001)
    assert time.monotonic() - began < within(5), "who announces never waits"
    say_until_heard(speaker, heard, run)
    assert len(lines_of(caplog)) == 1


def test_a_process_that_starts_without_redis_finds_it_later(
    redis_server: Redis, pair: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    use_layer(settings, redis_server.url)
    speaker, listener, heard = pair
    run = uuid4()
    redis_server.stop(signal.SIGKILL)
    try:
        listener.watch(run, True)
        speaker.announce(run, 1)
        wait_until(lambda: len(lines_of(caplog)) == 2)
    finally:
        redis_server.start()
    say_until_heard(speaker, heard, run)
    assert len(lines_of(caplog)) == 2


# Readers


@pytest.fixture
def far_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The readers of the test are those of another process, which hears of commits over Redis."""
    far = Hub()
    listener = Announcer(far.hint)
    far.on_watch = listener.watch
    monkeypatch.setattr(stream, "hub", far)
    yield far
    far.close()
    listener.close()
    runtime.announcer.close()


@pytest.fixture
def author(executor: None) -> User:
    return make_user("author")


async def read(execution_id: UUID) -> list[Any]:
    async with asyncio.timeout(within(30)):
        return read_frames([chunk async for chunk in stream.frames(execution_id)])


@pytest.mark.parametrize(
    ("backend", "config"),
    [(PUBSUB, {}), (CORE, {"capacity": 1, "expiry": 1}), (CORE, {"capacity": 1, "group_expiry": 1})],
)
async def test_readers_lose_nothing_over_redis_whatever_it_drops(
    redis_server: Redis,
    author: User,
    scripts: Scripts,
    far_hub: Hub,
    settings: Any,
    backend: str,
    config: dict[str, Any],
) -> None:
    use_layer(settings, redis_server.url, backend, **config)
    settings.WATAOMI_PROGRESS_INTERVAL = 0
    gate = scripts["a"] = Gate()

    async def report(ctx: Any) -> None:
        for number in range(300):
            await ctx.progress(number / 300)
            if number % 10 == 0:
                await asyncio.sleep(0.005)

    scripts["b"] = report
    flow = await sync_to_async(make_flow)(author, scripted_chain("a", "b"))
    run = await sync_to_async(start_execution)(flow, input_data={}, requester=author, mode=Mode.API)
    await asyncio.to_thread(gate.wait_entered)
    reading = [asyncio.ensure_future(read(run.pk)) for _ in range(5)]
    await asyncio.sleep(0.3)
    gate.open()
    for frames in await asyncio.gather(*reading):
        assert_complete(frames)
        assert len(frames) > 300


async def test_readers_go_on_by_the_slow_look_while_redis_is_away(
    redis_server: Redis, author: User, scripts: Scripts, far_hub: Hub, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    use_layer(settings, redis_server.url)
    gates = [Gate() for _ in range(3)]
    scripts.update(dict(zip("abc", gates, strict=True)))
    flow = await sync_to_async(make_flow)(author, scripted_chain(*"abc"))
    run = await sync_to_async(start_execution)(flow, input_data={}, requester=author, mode=Mode.API)
    reading = asyncio.ensure_future(read(run.pk))
    await asyncio.to_thread(gates[0].wait_entered)
    await asyncio.to_thread(redis_server.stop, signal.SIGKILL)
    try:
        gates[0].open()
        await asyncio.to_thread(gates[1].wait_entered)
        await asyncio.to_thread(wait_until, lambda: far_hub._topics[run.pk].newest >= 4)
        gates[1].open()
        await asyncio.to_thread(gates[2].wait_entered)
    finally:
        await asyncio.to_thread(redis_server.start)
    gates[2].open()
    await sync_to_async(wait_for_status)(run.pk)
    assert_complete(await reading)
    assert sum("channel layer" in line for line in lines_of(caplog)) <= 2
