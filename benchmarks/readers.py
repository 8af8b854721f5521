"""From an event to its readers: latency, how many keep up, and what a reader costs in memory."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import time
from dataclasses import dataclass, field

from rest_framework_simplejwt.tokens import AccessToken

from benchmarks.server import Server, running_server
from benchmarks.world import chain, heading, row, user
from flows.models import Flow

TICK = re.compile(rb'"text":"([0-9.]+)\\n"')

CASES = ((1, 100), (100, 100), (1000, 20), (1000, 100))
"""Readers of one run, and events a second."""

SECONDS = 6.0


@dataclass(slots=True)
class Readings:
    """What all readers of a case saw: seconds from emit to receipt, and how many events each got."""

    delays: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    open: int = 0


def measure() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    heading(
        "Readers of one run over real sockets, from emit (before the commit) to receipt",
        "readers", "events/s", "delivered/s", "complete", "p50 ms", "p99 ms", "memory per reader",
    )  # fmt: skip
    for readers, rate in CASES:
        flow = chain("bench.ticker", 2, {"rate": rate, "count": int(rate * SECONDS)}, lead_in=1.0)
        with running_server(WATAOMI_PROGRESS_INTERVAL="0") as server:
            asyncio.run(_case(server, flow, str(AccessToken.for_user(user())), readers, rate))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _case(server: Server, flow: Flow, token: str, readers: int, rate: int) -> None:
    readings = Readings()
    gate = await _start_paused(server, flow, token)
    before = server.memory()
    tasks = [asyncio.create_task(_read(server, gate, token, readings)) for _ in range(readers)]
    while readings.open < readers:
        await asyncio.sleep(0.05)
    per_reader = (server.memory() - before) / readers
    began = time.monotonic()
    await _post(server, f"/api/v1/executions/{gate}/resume", token, {})
    await asyncio.gather(*tasks)
    seconds = time.monotonic() - began
    expected = int(rate * SECONDS)
    delays = sorted(readings.delays)
    row(
        readers,
        rate,
        f"{len(delays) / seconds:,.0f}",
        f"{sum(count == expected for count in readings.counts)} of {readers}",
        f"{delays[len(delays) // 2] * 1000:.1f}",
        f"{delays[int(len(delays) * 0.99)] * 1000:.1f}",
        f"{per_reader / 1024:.0f} KiB",
    )


async def _start_paused(server: Server, flow: Flow, token: str) -> str:
    """A run that waits until all readers are there: it is paused while it waits in front of its first tick."""
    execution = await _post(server, "/api/v1/executions", token, {"flow_id": flow.pk, "input_data": {}})
    await _post(server, f"/api/v1/executions/{execution['id']}/pause", token, {})
    while (await _call(server, "GET", f"/api/v1/executions/{execution['id']}", token))["status"] != "paused":
        await asyncio.sleep(0.05)
    return str(execution["id"])


async def _post(server: Server, path: str, token: str, body: object) -> dict[str, object]:
    return await _call(server, "POST", path, token, json.dumps(body).encode())


async def _call(server: Server, method: str, path: str, token: str, body: bytes = b"") -> dict[str, object]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    extra = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
    writer.write(_head(method, path, token, extra) + body)
    answer = await reader.read()
    writer.close()
    head, _, content = answer.partition(b"\r\n\r\n")
    if b" 20" not in head.split(b"\r\n")[0]:
        raise RuntimeError(f"{path}: {answer.decode()}")
    parsed: dict[str, object] = json.loads(content[content.index(b"{") : content.rindex(b"}") + 1])
    return parsed


async def _read(server: Server, execution_id: str, token: str, readings: Readings) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(_head("GET", f"/api/v1/executions/{execution_id}/stream", token))
    count, rest = 0, b""
    while chunk := await reader.read(1 << 16):
        now = time.time()
        if b"retry: " in chunk:
            readings.open += 1
        *frames, rest = (rest + chunk).split(b"\n\n")
        for frame in frames:
            if tick := TICK.search(frame):
                readings.delays.append(now - float(tick[1]))
                count += 1
    readings.counts.append(count)
    writer.close()


def _head(method: str, path: str, token: str, extra: str = "") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        "Connection: close",
        extra,
    ]
    return "\r\n".join([line for line in lines if line] + ["", ""]).encode()
