"""A reader of a run: everything behind the last event it has seen, from the journal, then live from the hub."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
from django.db import InterfaceError, OperationalError

from executions import sse
from executions.conf import execution_settings
from executions.events import LAST_EVENTS, Event
from executions.hub import Topic, hub
from executions.journal import reader
from executions.journal.reader import reader_pool

logger = logging.getLogger(__name__)

T = TypeVar("T")

READ_PAUSES = (0.25, 0.5, 1.0, 2.0)
"""Seconds between two tries to read the journal while the database is away; the last one repeats."""

READ_PATIENCE = 60.0
"""Seconds after which a reader who waits for the database is sent away: it comes back, and is told how things are."""


class JournalAway(ConnectionError):
    """The journal cannot be read, and so the stream ends. The client comes back for what it has not seen."""


async def frames(execution_id: UUID, after: int = 0) -> AsyncGenerator[bytes, None]:
    """The run's events behind `after` as server-sent events, many to a chunk if they are there, up to the last one.

    While the database is away there are keep-alives, and after a while JournalAway is raised. A fault of the server is
    logged with the run's id and raised: it must end the response so that the client sees it.
    """
    yield sse.RETRY
    try:
        with hub.subscribe(execution_id) as topic:
            async with aclosing(_Follower(topic, after).chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
    except JournalAway:
        raise
    except Exception:
        logger.exception("execution %s: its stream broke off", execution_id)
        raise


class _Follower:
    """Where one reader of a run stands."""

    def __init__(self, topic: Topic, after: int) -> None:
        self._topic = topic
        self._seen = after
        self._look_up = True
        self._over = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """What is to be sent, up to the run's last event."""
        topic = self._topic
        while not self._over:
            bell = topic.bell()
            found = None if self._look_up else topic.after(self._seen)
            if found is not None:
                chunk, self._seen = found
                yield chunk
            elif self._look_up or topic.is_behind(self._seen):
                async for chunk in self._catch_up():
                    yield chunk
            elif topic.ended_at is not None and self._seen >= topic.ended_at:
                return
            elif not await _rings(bell):
                yield sse.KEEP_ALIVE
                self._look_up = True
                async for comment in self._ask_whether_over():
                    yield comment

    async def _catch_up(self) -> AsyncGenerator[bytes, None]:
        reading = _Reading(reader.events_after, self._topic.execution_id, self._seen)
        async for comment in reading.comments():
            yield comment
        events = reading.result
        self._look_up = len(events) == reader.READ_AT_ONCE
        for chunk in _chunks(events):
            yield chunk
        if events:
            self._seen = events[-1].seq
            self._over = events[-1].type in LAST_EVENTS
        elif self._topic.is_behind(self._seen):  # was it deleted? The ring has later events, and the journal none
            async for comment in self._ask_whether_over():
                yield comment

    async def _ask_whether_over(self) -> AsyncGenerator[bytes, None]:
        """Find out whether there is nothing more to come: the run has ended, or it was deleted."""
        asking = _Reading(reader.positions, [self._topic.execution_id])
        async for comment in asking.comments():
            yield comment
        position = asking.result.get(self._topic.execution_id)
        self._over = position is None or (position.ended and self._seen >= position.last_seq)


def _chunks(events: list[reader.StoredEvent]) -> list[bytes]:
    chunks, part, size = [], [], 0
    for event in events:
        frame = sse.encode(event.seq, event.type, event.data.encode())
        part.append(frame)
        size += len(frame)
        if size >= 64 * 1024:
            chunks.append(b"".join(part))
            part, size = [], 0
    return [*chunks, b"".join(part)] if part else chunks


async def _rings(bell: asyncio.Event) -> bool:
    """Wait for the next push; False when there was none within the keep-alive interval."""
    try:
        async with asyncio.timeout(execution_settings().keep_alive):
            await bell.wait()
    except TimeoutError:
        return False
    return True


class _Reading(Generic[T]):
    """A read of the journal, which goes on when the database has been away."""

    result: T

    def __init__(self, read: Callable[..., T], *args: Any) -> None:
        self._read = read
        self._args = args

    async def comments(self) -> AsyncGenerator[bytes, None]:
        """Read until there is a `result`, and meanwhile have the client know that somebody is here.

        Raises JournalAway when that takes too long.
        """
        keep_alive = execution_settings().keep_alive
        tries, began = 0, asyncio.get_running_loop().time()
        while True:
            reading = asyncio.ensure_future(reader_pool.run(self._read, *self._args))
            try:
                while not (await asyncio.wait({reading}, timeout=keep_alive))[0]:
                    yield sse.KEEP_ALIVE
                self.result = reading.result()
            except (OperationalError, InterfaceError) as error:
                if asyncio.get_running_loop().time() - began > READ_PATIENCE:
                    raise JournalAway("the database is away") from error
            else:
                return
            finally:
                reading.cancel()
            pause = READ_PAUSES[min(tries, len(READ_PAUSES) - 1)]
            await asyncio.sleep(pause * random.uniform(1, 2))  # noqa: S311 - so that not all readers come at once
            tries += 1
            yield sse.KEEP_ALIVE


async def events(execution_id: UUID, after: int = 0) -> AsyncGenerator[Event, None]:
    """The same events, decoded."""
    pending = b""
    async with aclosing(frames(execution_id, after)) as chunks:
        async for chunk in chunks:
            *whole, pending = (pending + chunk).split(b"\n\n")
            for frame in whole:
                yield _decode(frame)


def _decode(frame: bytes) -> Event:
    lines = dict(line.split(b": ", 1) for line in frame.split(b"\n") if line.startswith((b"data: ", b"id: ")))
    message = orjson.loads(lines[b"data"])
    return Event(int(lines[b"id"]), message["type"], message["data"])
