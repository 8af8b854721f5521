"""The hub: brings what was committed to all readers of a process, as shared bytes and with one wake for each commit.

Truth is the journal. A topic is a run that someone reads here; it keeps the newest frames in a ring. Commits of this
process are pushed into it. For a run that another process executes, a thread looks where the run stands, at a slow pace
or when a hint says so, and pulls what is new from the journal. A hint is never trusted for more than that.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection

from executions import sse
from executions.conf import execution_settings
from executions.engine.ports import Entry
from executions.events import LAST_EVENTS
from executions.journal import reader

logger = logging.getLogger(__name__)

CHUNK_BYTES = 64 * 1024
"""What one chunk of a stream holds, at most (a single frame may be longer)."""

RING_BYTES_PER_READER = 8 * 1024
"""What a ring gets beside its setting for each reader. Many readers take longer to be served all, and if they fell
behind the ring together, each would read the journal for itself and fall behind further."""

WAKE_SECONDS_PER_READER = 0.00015
"""How long a loop rests from one wake of a run's readers to the next, for each of them. To serve a reader takes a loop
about that long whatever it gets, so that this leaves the loop to others for a part of the time, and chunks grow."""

LONGEST_REST = 0.1
"""Seconds between two looks of the hub's thread at the journal, at most, when there are hints."""


@dataclass(frozen=True, slots=True)
class Block:
    """Frames of the events `first` to `last`, as the bytes that all readers share."""

    first: int
    last: int
    data: bytes
    starts: tuple[int, ...]

    def after(self, seq: int) -> bytes:
        """The frames behind event `seq`."""
        return self.data if seq < self.first else self.data[self.starts[seq + 1 - self.first] :]


def make_blocks(frames: Sequence[tuple[int, bytes]]) -> Iterator[Block]:
    """Blocks of frames (seq and bytes, without a gap), each of about `CHUNK_BYTES`."""
    part: list[tuple[int, bytes]] = []
    size = 0
    for seq, frame in frames:
        if part and size + len(frame) > CHUNK_BYTES:
            yield _block(part)
            part, size = [], 0
        part.append((seq, frame))
        size += len(frame)
    if part:
        yield _block(part)


def _block(frames: list[tuple[int, bytes]]) -> Block:
    starts, offset = [], 0
    for _, frame in frames:
        starts.append(offset)
        offset += len(frame)
    return Block(frames[0][0], frames[-1][0], b"".join(frame for _, frame in frames), tuple(starts))


class Topic:
    """A run with readers in this process."""

    def __init__(self, execution_id: UUID, ring_bytes: int) -> None:
        self.execution_id = execution_id
        self.readers = 0
        self.ended_at: int | None = None
        """The seq of the run's last event, when it is known here; 0 when the run is gone."""
        self._ring: deque[Block] = deque()
        self._size = 0
        self._limit = ring_bytes
        self._guard = threading.Lock()
        self._bells: dict[asyncio.AbstractEventLoop, asyncio.Event] = {}
        self._rang_at: dict[asyncio.AbstractEventLoop, float] = {}
        self._ringing: set[asyncio.AbstractEventLoop] = set()

    @property
    def newest(self) -> int:
        """The newest event in the ring; 0 for an empty one."""
        with self._guard:
            return self._ring[-1].last if self._ring else 0

    def push(self, frames: Sequence[tuple[int, bytes]], ended_at: int | None) -> None:
        """Take committed frames, from any thread. What is in the ring already is left out, and a gap empties the ring:
        readers then find what is missing in the journal."""
        with self._guard:
            newest = self._ring[-1].last if self._ring else 0
            fresh = [frame for frame in frames if frame[0] > newest]
            if fresh and newest and fresh[0][0] != newest + 1:
                self._ring.clear()
                self._size = 0
            for block in make_blocks(fresh):
                self._ring.append(block)
                self._size += len(block.data)
            limit = self._limit + self.readers * RING_BYTES_PER_READER
            while self._size > limit and len(self._ring) > 1:
                self._size -= len(self._ring.popleft().data)
            if ended_at is not None:
                self.ended_at = ended_at
            loops = [loop for loop in self._bells if loop not in self._ringing]
            self._ringing.update(loops)
        for loop in loops:
            self._wake(loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(self._ring_in_time, loop)
        except RuntimeError:
            with self._guard:
                self._bells.pop(loop, None)
                self._rang_at.pop(loop, None)
                self._ringing.discard(loop)

    def _ring_in_time(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ring now, or when the loop has rested from the last time."""
        due = self._rang_at.get(loop, 0.0) + self.readers * WAKE_SECONDS_PER_READER
        if loop.time() < due:
            loop.call_at(due, self._ring_bell, loop)
        else:
            self._ring_bell(loop)

    def _ring_bell(self, loop: asyncio.AbstractEventLoop) -> None:
        self._rang_at[loop] = loop.time()
        with self._guard:
            self._ringing.discard(loop)
            bell = self._bells.get(loop)
            if bell is not None:
                self._bells[loop] = asyncio.Event()
        if bell is not None:
            bell.set()

    def bell(self) -> asyncio.Event:
        """Set at the next push. Take it first, look at the ring then, and only then wait."""
        loop = asyncio.get_running_loop()
        with self._guard:
            return self._bells.setdefault(loop, asyncio.Event())

    def after(self, seq: int) -> tuple[bytes, int] | None:
        """Frames behind `seq` from the ring, a chunk at most, and the seq of the last of them; None when the ring does
        not have the very next one."""
        with self._guard:
            found: list[Block] = []
            for block in reversed(self._ring):
                if block.last <= seq:
                    break
                found.append(block)
        if not found or found[-1].first > seq + 1:
            return None
        first = found.pop()
        parts, size, last = [first.after(seq)], len(first.data), first.last
        while found and size + len(found[-1].data) <= CHUNK_BYTES:
            block = found.pop()
            parts.append(block.data)
            size += len(block.data)
            last = block.last
        return (parts[0] if len(parts) == 1 else b"".join(parts)), last

    def is_behind(self, seq: int) -> bool:
        """Whether the ring holds events behind `seq`, but not the very next one."""
        with self._guard:
            return bool(self._ring) and self._ring[0].first > seq + 1


class Hub:
    """The topics of this process."""

    def __init__(self) -> None:
        self.on_watch: Callable[[UUID, bool], None] = lambda execution_id, watched: None
        """Called when a run gets its first reader here, and when it has lost its last one; in this order, and so under
        the hub's lock: it must not call back."""
        self._topics: dict[UUID, Topic] = {}
        self._local: set[UUID] = set()
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._away = False

    @contextmanager
    def subscribe(self, execution_id: UUID) -> Iterator[Topic]:
        """The run's topic, as long as it is read. Subscribe first and then catch up from the journal, never before."""
        topic = self._enter(execution_id)
        try:
            yield topic
        finally:
            self._leave(topic)

    def _enter(self, execution_id: UUID) -> Topic:
        with self._guard:
            topic = self._topics.get(execution_id)
            if topic is None:
                topic = self._topics[execution_id] = Topic(execution_id, execution_settings().ring_bytes)
                self.on_watch(execution_id, True)
            topic.readers += 1
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(target=self._watch, args=(self._stop,), name="hub", daemon=True)
                self._thread.start()
        self._wake.set()
        return topic

    def _leave(self, topic: Topic) -> None:
        with self._guard:
            topic.readers -= 1
            last = topic.readers == 0
            if last:
                self._topics.pop(topic.execution_id, None)
                self.on_watch(topic.execution_id, False)

    @property
    def readers(self) -> int:
        with self._guard:
            return sum(topic.readers for topic in self._topics.values())

    # -- runs of this process -----------------------------------------------------------------------------------------

    def executing(self, execution_id: UUID, here: bool) -> None:
        """Say whether this process executes the run, so that its commits come by `publish`."""
        with self._guard:
            (self._local.add if here else self._local.discard)(execution_id)
            watched = execution_id in self._topics
        if watched and not here:
            self._wake.set()  # another process may execute it from now on: it is looked after here

    def publish(self, execution_id: UUID, entries: Sequence[Entry]) -> None:
        """Take what was just committed; called by the journal's writer."""
        topic = self._topics.get(execution_id)
        if topic is None:
            return
        frames = [(entry.seq, sse.encode(entry.seq, entry.type, entry.data)) for entry in entries]
        last = entries[-1]
        topic.push(frames, last.seq if last.type in LAST_EVENTS else None)

    # -- runs of other processes --------------------------------------------------------------------------------------

    def hint(self, execution_id: UUID, upto: int = 0) -> None:
        """A run may have new events, up to `upto` if that is known; from any thread, and as often as it likes."""
        with self._guard:
            topic = self._topics.get(execution_id)
            if topic is None or execution_id in self._local:
                return
        if not 0 < upto <= topic.newest:  # else it is an old one, or the same again
            self._wake.set()

    def close(self) -> None:
        """End the thread."""
        with self._guard:
            thread, self._thread = self._thread, None
            self._stop.set()
        self._wake.set()
        if thread is not None:
            thread.join(5)

    def _watch(self, stop: threading.Event) -> None:
        try:
            while not stop.is_set():
                with self._guard:
                    remote = [
                        topic
                        for execution_id, topic in self._topics.items()
                        if execution_id not in self._local and topic.ended_at is None
                    ]
                began = time.monotonic()
                if remote:
                    self._pull_all(remote)
                    # Under a storm of hints: half of the time is for others, and each look brings more.
                    stop.wait(min(time.monotonic() - began, LONGEST_REST))
                self._wake.wait(execution_settings().stream_poll if remote else None)
                self._wake.clear()
        finally:
            connection.close()

    def _pull_all(self, topics: list[Topic]) -> None:
        try:
            found = reader.positions([topic.execution_id for topic in topics])
            for topic in topics:
                position = found.get(topic.execution_id)
                if position is None:
                    topic.push([], 0)  # the run was deleted: nothing more is to come
                else:
                    self._pull(topic, position)
            if self._away:
                self._away = False
                logger.info("hub: the journal can be read again")
        except (DatabaseError, InterfaceError) as error:
            if not self._away:  # once, and not at each look
                self._away = True
                logger.warning("hub: cannot read the journal (%s); trying again", error)
            connection.close()
        except Exception:
            logger.exception("hub: cannot bring what is new to its readers; trying again")
        finally:
            connection.queries_log.clear()
            if connection.settings_dict["OPTIONS"].get("pool"):
                connection.close()  # it goes back to the pool: this thread rests most of the time

    def _pull(self, topic: Topic, position: reader.Position) -> None:
        """Bring the topic to where the run stands, with the newest events: older ones a reader finds in the journal."""
        ended_at = position.last_seq if position.ended else 0
        newest = topic.newest or max(0, position.last_seq - reader.READ_AT_ONCE)
        while newest < position.last_seq:
            events = reader.events_after(topic.execution_id, newest)
            if not events:
                return
            newest = events[-1].seq
            frames = [(event.seq, sse.encode(event.seq, event.type, event.data.encode())) for event in events]
            # The end may have been committed behind the look at where the run stands.
            topic.push(frames, newest if events[-1].type in LAST_EVENTS else None)
        if ended_at:
            topic.push([], ended_at)


hub = Hub()
