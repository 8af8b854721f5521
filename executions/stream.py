"""A reader of a run: everything behind the last event it has seen, from the journal, then live from the hub."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

import orjson

from executions import sse
from executions.conf import execution_settings
from executions.events import LAST_EVENTS, Event
from executions.hub import Topic, hub
from executions.journal import reader
from executions.journal.reader import reader_pool

logger = logging.getLogger(__name__)


async def frames(execution_id: UUID, after: int = 0) -> AsyncGenerator[bytes, None]:
    """The run's events behind `after` as server-sent events, many to a chunk if they are there, up to the last one.

    A fault of the server is logged with the run's id and raised: it must end the response so that the client sees it.
    """
    yield sse.RETRY
    try:
        with hub.subscribe(execution_id) as topic:
            async with aclosing(_follow(topic, after)) as chunks:
                async for chunk in chunks:
                    yield chunk
    except Exception:
        logger.exception("execution %s: its stream broke off", execution_id)
        raise


async def _follow(topic: Topic, after: int) -> AsyncGenerator[bytes, None]:
    seen = after
    look_up = True
    while True:
        bell = topic.bell()
        found = None if look_up else topic.after(seen)
        if found is not None:
            chunk, seen = found
            yield chunk
        elif look_up or topic.is_behind(seen):
            events = await reader_pool.run(reader.events_after, topic.execution_id, seen)
            look_up = len(events) == reader.READ_AT_ONCE
            for chunk in _chunks(events):
                yield chunk
            if events:
                seen = events[-1].seq
                if events[-1].type in LAST_EVENTS:
                    return
            elif topic.is_behind(seen) and await _is_over(topic.execution_id, seen):
                return  # it was deleted: the ring has later events, and the journal none
        elif topic.ended_at is not None and seen >= topic.ended_at:
            return
        elif not await _rings(bell):
            yield sse.KEEP_ALIVE
            look_up = True
            if await _is_over(topic.execution_id, seen):
                return


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


async def _is_over(execution_id: UUID, seen: int) -> bool:
    """Whether there is nothing more to come: the run has ended, or it was deleted."""
    position = (await reader_pool.run(reader.positions, [execution_id])).get(execution_id)
    return position is None or (position.ended and seen >= position.last_seq)


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
