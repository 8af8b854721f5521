"""The clients of a cluster: they start runs, command them and read them, whatever becomes of the processes they ask."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.cluster import WATCHDOG
from tests.integration.execution_data import EXECUTIONS, FrameReader

PAUSE = 0.2
"""Seconds between two tries."""

TRIES_AFTER_A_CUT = (0.0, 0.05, 0.2)


class LawBroken(AssertionError):
    """Something happened that must not, whatever faults there were."""


class Api:
    """Asks any of the web processes, and asks again until one of them answers."""

    def __init__(self, urls: Sequence[str], headers: dict[str, str], rng: random.Random) -> None:
        self.headers = headers
        self.rng = rng
        self.unanswered = 0
        """Requests that got no answer, or one that said that the server could not serve it."""
        self._urls = list(urls)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=10)
        self.client = httpx.AsyncClient(trust_env=False, verify=False, timeout=WATCHDOG * 2, limits=limits)

    @property
    def any_url(self) -> str:
        return self.rng.choice(self._urls)

    async def ask(self, method: str, path: str, *, expected: set[int], **given: Any) -> httpx.Response:
        """The answer, which is one of `expected`: no answer, and 5xx, are asked again. Raises LawBroken."""
        headers = {**self.headers, **given.pop("headers", {})}
        while True:
            try:
                answer = await self.client.request(method, self.any_url + path, headers=headers, **given)
            except httpx.TransportError:
                pass
            else:
                if answer.status_code in expected:
                    return answer
                if answer.status_code < 500:
                    raise LawBroken(f"{method} {path} was answered {answer.status_code}: {answer.text[:500]}")
            self.unanswered += 1
            await asyncio.sleep(PAUSE * self.rng.random())

    async def create_flow(self, name: str, graph: dict[str, Any]) -> int:
        answer = await self.ask("POST", "/api/v1/flows", json={"name": name, "graph": graph}, expected={201})
        return int(answer.json()["id"])

    async def start(self, flow_id: int, key: str) -> str:
        """Start a run, once, however often it has to be asked for."""
        body, headers = {"flow_id": flow_id, "input_data": {"key": 1}}, {"Idempotency-Key": key}
        answer = await self.ask("POST", EXECUTIONS, json=body, headers=headers, expected={202})
        return str(answer.json()["id"])

    async def command(self, run: str, kind: str) -> bool:
        """Pause, resume or cancel a run; False when its status does not admit that."""
        answer = await self.ask("POST", f"{EXECUTIONS}/{run}/{kind}", expected={202, 409})
        return answer.status_code == 202

    async def retry(self, run: str, origin: str) -> str | None:
        """The id of a run that retries another; None when that cannot be retried."""
        answer = await self.ask("POST", f"{EXECUTIONS}/{run}/retry", json={"from": origin}, expected={201, 202, 409})
        return None if answer.status_code == 409 else str(answer.json()["id"])

    async def close(self) -> None:
        await self.client.aclose()


@dataclass
class Reader:
    """Follows one run to its last event: it is cut off, cuts itself off, and goes on behind what it has seen.

    Without `run` it starts the run itself: `start` is the body and the key of that request.
    """

    api: Api
    run: str | None = None
    start: tuple[dict[str, Any], str] | None = None
    frames: FrameReader = field(default_factory=FrameReader)
    connections: int = 0
    _read: int = 0

    async def follow(self) -> None:
        """Return behind the last event. Raises LawBroken."""
        while not self.frames.ended:
            self.connections += 1
            try:
                async with self._open() as answer:
                    await self._follow_answer(answer)
            except (httpx.TransportError, TimeoutError):
                pass
            self.frames.cut()
            await asyncio.sleep(self.api.rng.choice(TRIES_AFTER_A_CUT))

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[httpx.Response]:
        headers = dict(self.api.headers)
        if self.frames.last_seq:
            headers["Last-Event-ID"] = str(self.frames.last_seq)
        method, path, body = "GET", f"{EXECUTIONS}/{self.run}/stream", None
        if self.run is None:
            assert self.start is not None
            method, path, (body, headers["Idempotency-Key"]) = "POST", f"{EXECUTIONS}/stream", self.start
        timeout = httpx.Timeout(WATCHDOG)
        url = self.api.any_url + path
        async with self.api.client.stream(method, url, headers=headers, json=body, timeout=timeout) as answer:
            yield answer

    async def _follow_answer(self, answer: httpx.Response) -> None:
        if answer.status_code >= 500:
            self.api.unanswered += 1
            await asyncio.sleep(PAUSE * self.api.rng.random())
            return
        if answer.status_code != 200:
            text = (await answer.aread())[:500]
            seen = self.frames.last_seq
            raise LawBroken(f"run {self.run}: the stream behind {seen} was answered {answer.status_code} {text!r}")
        if self.run is None:
            self.run = answer.headers["Location"].split("/")[-2]
        patience = self.api.rng.choice((None, None, 0.2, 1.0))
        async with asyncio.timeout(patience):  # then the client goes away in the middle of whatever it is
            async for chunk in answer.aiter_raw():
                self.frames.feed(chunk)
                self._check()
        if not self.frames.ended:
            raise LawBroken(
                f"run {self.run}: its stream came to an orderly end at {self.frames.last_seq}, without its last event"
            )

    def _check(self) -> None:
        """Each event once, and in order; and nothing behind the last one."""
        for frame in self.frames.frames[self._read :]:
            if frame.seq != self._read + 1:
                raise LawBroken(f"run {self.run}: a reader got event {frame.seq} behind event {self._read}")
            if frame.data["executionId"] != self.run:
                raise LawBroken(f"run {self.run}: a reader got an event of run {frame.data['executionId']}")
            self._read += 1
