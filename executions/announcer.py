"""Hints between processes over the channel layer: "run R has events up to N", and nothing more.

Layers drop messages by design, double and delay them; a hint that is lost costs its readers one turn of the hub's slow
look, never an event. Nothing is sent over the in-memory layer: it ends where the process ends, and there the hub is
told of each commit directly.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from uuid import UUID

from channels.layers import BaseChannelLayer, InMemoryChannelLayer, get_channel_layer

logger = logging.getLogger(__name__)

PAUSE_AFTER_ERROR = 1.0
"""Seconds, when the layer cannot be reached."""

REJOIN_SECONDS = 300.0
"""How often groups are joined again: a layer lets memberships expire."""


class _Session:
    """An event loop and what belongs to it, from a start of the thread to its end."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.wake = asyncio.Event()
        self.changes: asyncio.Queue[tuple[UUID, bool]] = asyncio.Queue()
        self.news: dict[UUID, int] = {}

    def tell(self, execution_id: UUID, upto: int) -> None:
        self.news[execution_id] = upto
        self.wake.set()


class Announcer:
    """Sends and receives hints on an event loop in a thread of its own, which lives while there is a layer to serve.

    `hint` is called with the id of a run that another process has written.
    """

    def __init__(self, hint: Callable[[UUID], None]) -> None:
        self._hint = hint
        self._guard = threading.Lock()
        self._session: _Session | None = None
        self._thread: threading.Thread | None = None
        self._watched: set[UUID] = set()

    def announce(self, execution_id: UUID, upto: int) -> None:
        """Tell other processes of a commit; from any thread, never waits. Only the newest hint of a run counts."""
        if self._joins_processes():
            self._call(lambda session: session.tell(execution_id, upto))

    def watch(self, execution_id: UUID, watched: bool) -> None:
        """Begin or end to listen for hints about a run; from any thread."""
        with self._guard:
            (self._watched.add if watched else self._watched.discard)(execution_id)
            if not watched and self._session is None:
                return  # nothing listens: a reader that leaves behind the end starts nothing anew
        if self._joins_processes():
            self._call(lambda session: session.changes.put_nowait((execution_id, watched)))

    def close(self) -> None:
        """End the thread."""
        with self._guard:
            session, self._session = self._session, None
            thread, self._thread = self._thread, None
        if session is not None and thread is not None:
            session.loop.call_soon_threadsafe(session.loop.stop)
            thread.join(2)

    # -- the thread ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _joins_processes() -> bool:
        layer = get_channel_layer()
        return layer is not None and type(layer) is not InMemoryChannelLayer

    def _call(self, function: Callable[[_Session], None]) -> None:
        with self._guard:
            session = self._session
            if session is None:
                session = self._session = _Session()
                self._thread = threading.Thread(target=self._serve, args=(session,), name="announcer", daemon=True)
                self._thread.start()
            session.loop.call_soon_threadsafe(function, session)

    def _serve(self, session: _Session) -> None:
        loop = session.loop
        asyncio.set_event_loop(loop)
        layer = get_channel_layer()
        tasks = [loop.create_task(work(layer, session)) for work in (self._send, self._receive)]
        try:
            loop.run_forever()
        finally:
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.close()

    async def _send(self, layer: BaseChannelLayer, session: _Session) -> None:
        while True:
            await session.wake.wait()
            session.wake.clear()
            while session.news:
                execution_id, upto = session.news.popitem()
                try:
                    await layer.group_send(_group(execution_id), _message(execution_id, upto))
                except Exception as error:  # noqa: BLE001 - each layer has errors of its own, and a hint may be lost
                    logger.warning("announcer: a hint was lost (%r)", error)
                    await asyncio.sleep(PAUSE_AFTER_ERROR)

    async def _receive(self, layer: BaseChannelLayer, session: _Session) -> None:
        while True:
            try:
                channel = await layer.new_channel("executions")
                with self._guard:
                    watched = list(self._watched)
                for execution_id in watched:
                    await layer.group_add(_group(execution_id), channel)
                async with asyncio.timeout(REJOIN_SECONDS):
                    async with asyncio.TaskGroup() as both:
                        both.create_task(self._hear(layer, channel))
                        both.create_task(self._join(layer, channel, session))
            except TimeoutError:
                continue
            except Exception as error:  # noqa: BLE001 - see _send
                logger.warning("announcer: the channel layer cannot be heard (%r); trying again", error)
                await asyncio.sleep(PAUSE_AFTER_ERROR)

    async def _hear(self, layer: BaseChannelLayer, channel: str) -> None:
        while True:
            message = await layer.receive(channel)
            self._hint(UUID(message["execution"]))

    async def _join(self, layer: BaseChannelLayer, channel: str, session: _Session) -> None:
        while True:
            execution_id, watched = await session.changes.get()
            act = layer.group_add if watched else layer.group_discard
            await act(_group(execution_id), channel)


def _group(execution_id: UUID) -> str:
    return f"execution.{execution_id}"


def _message(execution_id: UUID, upto: int) -> dict[str, object]:
    return {"type": "execution.hint", "execution": str(execution_id), "upto": upto}
