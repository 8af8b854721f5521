"""A channel layer between the event loops of one process that is as bad as a layer may be."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any, ClassVar

from channels.layers import BaseChannelLayer

Inbox = tuple[asyncio.AbstractEventLoop, "asyncio.Queue[tuple[float, dict[str, Any]]]"]


class LossyLayer(BaseChannelLayer):
    """Loses, doubles and delays messages, `loss` of them each, and so delivers them out of order.

    A channel holds `capacity` messages, for `expiry` seconds; further ones are dropped without a word.
    """

    instances: ClassVar[list[LossyLayer]] = []

    def __init__(self, expiry: float = 1, capacity: int = 1, loss: float = 0.4, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(expiry=expiry, capacity=capacity, **kwargs)
        self.sent = self.delivered = self.refused = 0
        self._loss = loss
        self._chance = random.Random(seed)
        self._guard = threading.Lock()
        self._inboxes: dict[str, Inbox] = {}
        self._groups: dict[str, set[str]] = {}
        self.instances.append(self)

    async def new_channel(self, prefix: str = "specific.") -> str:
        name = f"{prefix}!{len(self._inboxes)}"
        self._inboxes[name] = (asyncio.get_running_loop(), asyncio.Queue(self.capacity))
        return name

    async def group_add(self, group: str, channel: str) -> None:
        with self._guard:
            self._groups.setdefault(group, set()).add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        with self._guard:
            self._groups.get(group, set()).discard(channel)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        self._put(channel, message)

    def members(self, group: str) -> int:
        with self._guard:
            return len(self._groups.get(group, ()))

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.sent += 1
        with self._guard:
            channels = list(self._groups.get(group, ()))
        for channel in channels:
            if self._chance.random() < self._loss:
                continue
            for _ in range(2 if self._chance.random() < self._loss else 1):
                delay = 0.1 * self._chance.random() if self._chance.random() < self._loss else 0.0
                loop, _ = self._inboxes[channel]
                try:
                    loop.call_soon_threadsafe(loop.call_later, delay, self._put, channel, message)
                except RuntimeError:
                    self.refused += 1  # who listened there is gone

    def _put(self, channel: str, message: dict[str, Any]) -> None:
        try:
            self._inboxes[channel][1].put_nowait((time.monotonic(), message))
        except asyncio.QueueFull:
            self.refused += 1

    async def receive(self, channel: str) -> dict[str, Any]:
        while True:
            sent, message = await self._inboxes[channel][1].get()
            if time.monotonic() - sent <= self.expiry:
                self.delivered += 1
                return message
