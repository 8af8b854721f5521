"""Hints between processes over the channel layer: "run R has events up to N", and nothing more.

Layers drop messages by design, double and delay them; a hint that is lost costs its readers one turn of the hub's slow
look, never an event. Nothing is sent over the in-memory layer: it ends where the process ends, and there the hub is
told of each commit directly.

All hints that have piled up go as one message to one group, which a process with readers joins: a message for each run
costs 0.2 ms of CPU (docs/adr/0006-hints-of-all-runs-in-one-message.md).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer, InMemoryChannelLayer, get_channel_layer

logger = logging.getLogger(__name__)

GROUP = "executions"

PAUSES_AFTER_ERROR = (0.5, 1.0, 2.0, 5.0)
"""Seconds between tries while the layer cannot be reached; the last one repeats."""

SEND_PAUSE = 0.005
"""The least seconds between two messages: hints pile up meanwhile. The first one after a rest goes at once."""

SEND_SECONDS = 5.0
"""What the layer gets to take a message."""

MAX_NEWS = 10_000
"""Runs whose hints wait to be sent; those of further ones are lost."""

ECHO_SECONDS = 10.0
"""How often a process that listens sends something to itself."""

DEAF_SECONDS = 25.0
"""A process that has heard nothing for so long, not even itself, joins anew."""

SEQ_BYTES = 8
HINT_BYTES = 16 + SEQ_BYTES


class LayerDeaf(Exception):
    """Nothing comes over the channel layer any more."""


class _Session:
    """An event loop on which the layer is reachable, until it is not. What it has is for that loop only."""

    def __init__(self, watching: bool) -> None:
        self.loop = asyncio.get_running_loop()
        self.wake = asyncio.Event()
        self.woken = False
        self.watching = asyncio.Event()
        self.left = asyncio.Event()
        self.ended = asyncio.Event()
        self.heard_at = self.loop.time()
        self.watch(watching)

    def watch(self, watching: bool) -> None:
        (self.watching.set if watching else self.watching.clear)()
        (self.left.clear if watching else self.left.set)()


class Announcer:
    """Sends and receives hints on an event loop in a thread of its own, which lives while there is a layer to serve.

    `hint` is called with the id of a run that some process has written, perhaps this one, and with how far.
    """

    def __init__(self, hint: Callable[[UUID, int], None]) -> None:
        self._hint = hint
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._session: _Session | None = None
        self._news: dict[UUID, int] = {}
        self._watched: dict[bytes, UUID] = {}
        self._away = False

    def announce(self, execution_id: UUID, upto: int) -> None:
        """Tell other processes of a commit; from any thread, never waits. Only the newest hint of a run counts."""
        if not self._joins_processes():
            return
        with self._guard:
            if len(self._news) < MAX_NEWS:
                self._news[execution_id] = upto
            self._start()
            session = self._session
            if session is not None and not session.woken:
                session.woken = True
                session.loop.call_soon_threadsafe(session.wake.set)

    def watch(self, execution_id: UUID, watched: bool) -> None:
        """Begin or end to listen for hints about a run; from any thread."""
        joins = self._joins_processes()
        with self._guard:
            if watched:
                self._watched[execution_id.bytes] = execution_id
            else:
                self._watched.pop(execution_id.bytes, None)
            if watched and joins:
                self._start()
            session = self._session
            if session is not None and len(self._watched) <= 1:
                session.loop.call_soon_threadsafe(session.watch, bool(self._watched))

    def close(self) -> None:
        """End the thread."""
        with self._guard:
            thread, self._thread = self._thread, None
            self._closing.set()
            if self._session is not None:
                self._session.loop.call_soon_threadsafe(self._session.ended.set)
        if thread is not None:
            thread.join(1)

    # -- the thread ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _joins_processes() -> bool:
        layer = get_channel_layer()
        return layer is not None and type(layer) is not InMemoryChannelLayer

    def _start(self) -> None:
        """Needs the lock."""
        if self._thread is None:
            self._closing = threading.Event()
            self._thread = threading.Thread(target=self._serve, args=(self._closing,), name="announcer", daemon=True)
            self._thread.start()

    def _serve(self, closing: threading.Event) -> None:
        """One session after the other, each on a loop of its own: what a layer leaves behind when it fails, connections
        and tasks and queues, ends with the loop."""
        faults = 0
        while not closing.is_set():
            try:
                asyncio.run(self._serve_session(closing))
            except BaseException as error:  # noqa: BLE001 - each layer has errors of its own, and a hint may be lost
                faults = faults + 1 if self._away else 1
                self._lost(error)
                closing.wait(PAUSES_AFTER_ERROR[min(faults, len(PAUSES_AFTER_ERROR)) - 1])

    async def _serve_session(self, closing: threading.Event) -> None:
        with self._guard:
            if closing.is_set():
                return
            session = self._session = _Session(bool(self._watched))
            if self._news:
                session.wake.set()
        layer = get_channel_layer()
        works = [self._send(layer, session), self._listen(layer, session), session.ended.wait()]
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            with self._guard:
                if self._session is session:
                    self._session = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _lost(self, error: BaseException) -> None:
        """One line for each time that the layer goes away, however many hints are lost."""
        with self._guard:
            self._news.clear()  # they are old when the layer is back, and the slow look finds what they would tell
        if not self._away:
            self._away = True
            logger.warning(
                "announcer: the channel layer cannot be reached (%r); readers of runs of other processes wait for the "
                "slow look until it can",
                error,
            )

    def _reached(self) -> None:
        if self._away:
            self._away = False
            logger.info("announcer: the channel layer is back")

    # -- sending ------------------------------------------------------------------------------------------------------

    async def _send(self, layer: BaseChannelLayer, session: _Session) -> None:
        while True:
            await session.wake.wait()
            session.wake.clear()
            with self._guard:
                session.woken = False
                news, self._news = self._news, {}
            if news:
                async with asyncio.timeout(SEND_SECONDS):
                    await layer.group_send(GROUP, _message(news))
                self._reached()
                await asyncio.sleep(SEND_PAUSE)

    # -- listening ----------------------------------------------------------------------------------------------------

    async def _listen(self, layer: BaseChannelLayer, session: _Session) -> None:
        """Be in the group while somebody reads here."""
        while True:
            await session.watching.wait()
            channel = await layer.new_channel(GROUP)
            await layer.group_add(GROUP, channel)
            for execution_id in list(self._watched.values()):
                self._hint(execution_id, 0)  # hints may have been lost before
            works = [self._hear(layer, channel, session), self._listen_to_self(layer, channel, session)]
            tasks = [asyncio.ensure_future(work) for work in [*works, session.left.wait()]]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            await layer.group_discard(GROUP, channel)

    async def _hear(self, layer: BaseChannelLayer, channel: str, session: _Session) -> None:
        while True:
            message = await layer.receive(channel)
            session.heard_at = session.loop.time()
            self._reached()
            for key, upto in _hints(message):
                execution_id = self._watched.get(key)
                if execution_id is not None:
                    self._hint(execution_id, upto)

    async def _listen_to_self(self, layer: BaseChannelLayer, channel: str, session: _Session) -> None:
        """A layer does not say that it has lost its connection, or that it removed who listens from the group."""
        session.heard_at = session.loop.time()
        while True:
            await layer.group_add(GROUP, channel)  # memberships expire
            try:
                await layer.send(channel, {"type": "executions.echo"})
            except ChannelFull:
                pass  # then there is more to hear than an echo
            await asyncio.sleep(ECHO_SECONDS)
            if session.loop.time() - session.heard_at > DEAF_SECONDS:
                raise LayerDeaf(f"nothing was heard for {DEAF_SECONDS:g} s")


def _message(news: Mapping[UUID, int]) -> dict[str, Any]:
    hints = b"".join(execution_id.bytes + upto.to_bytes(SEQ_BYTES, "big") for execution_id, upto in news.items())
    return {"type": "executions.hints", "hints": hints}


def _hints(message: Mapping[str, Any]) -> Iterator[tuple[bytes, int]]:
    """What a message says; nothing, if it is one that this version does not know."""
    hints = message.get("hints", b"")
    if not isinstance(hints, bytes) or len(hints) % HINT_BYTES:
        return
    for start in range(0, len(hints), HINT_BYTES):
        yield hints[start : start + 16], int.from_bytes(hints[start + 16 : start + HINT_BYTES], "big")
