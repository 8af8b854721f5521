"""From an event to its readers: latency, how many keep up, and what a reader costs in memory and CPU."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import psutil
from django.db import connection
from rest_framework_simplejwt.tokens import AccessToken

from benchmarks.server import Server, running_server
from benchmarks.world import chain, heading, row, user
from flows.models import Flow

CASES = ((1, 100), (100, 100), (1000, 20), (1000, 100), (100, 1000), (1000, 1000))
"""Readers of one run, and events a second."""

SECONDS = 6.0
CROWDS = 2
"""Processes that the readers are in."""

REDIS_URL = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")


@dataclass(frozen=True, slots=True)
class Seen:
    """What all readers of a case saw."""

    events: int
    complete: int
    faults: int
    seconds: float
    delays: list[int]
    """How many events came so many milliseconds behind their report."""

    def late(self, share: float) -> int:
        """The milliseconds within which that share of the events came."""
        left = sum(self.delays) * share
        for milliseconds, count in enumerate(self.delays):
            left -= count
            if left <= 0:
                return milliseconds
        return len(self.delays)


def measure() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    elsewhere = connection.vendor == "postgresql"
    where = "a worker executes, and hints go over Redis" if elsewhere else "the server's process executes"
    heading(
        f"Readers of one run over real sockets, from emit (before the commit) to receipt; {where}",
        "readers", "events/s", "delivered/s", "complete", "p50 ms", "p99 ms", "server's CPU", "memory per reader",
    )  # fmt: skip
    for readers, rate in CASES:
        flow = chain("bench.ticker", 2, {"rate": rate, "count": int(rate * SECONDS)}, lead_in=1.0)
        with _installation(elsewhere) as server:
            _case(server, flow, readers, rate)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def _installation(elsewhere: bool) -> Iterator[Server]:
    """A server, and a worker when the server does not execute."""
    settings = {"WATAOMI_PROGRESS_INTERVAL": "0", "WATAOMI_KEEP_ALIVE": "60"}
    with ExitStack() as stack:
        if elsewhere:
            settings |= {"REDIS_URL": REDIS_URL, "REDIS_PREFIX": f"bench-{os.getpid()}"}
            command = [sys.executable, "manage.py", "run_worker"]
            worker = subprocess.Popen(command, env=os.environ | settings, stderr=subprocess.DEVNULL)
            stack.callback(worker.wait, 15)
            stack.callback(worker.terminate)
        yield stack.enter_context(running_server(**settings))


def _case(server: Server, flow: Flow, readers: int, rate: int) -> None:
    api = Api(server, str(AccessToken.for_user(user())))
    run = _start_paused(api, flow)
    before = server.memory()
    with _crowds(server, api.request_for(f"/api/v1/executions/{run}/stream"), readers) as crowds:
        memory = (server.memory() - before) / readers
        process = psutil.Process(server.pid)
        used, began = sum(process.cpu_times()[:2]), time.time()
        api.post(f"/api/v1/executions/{run}/resume")
        seen = _what_they_saw(crowds, began)
        used = sum(process.cpu_times()[:2]) - used
    row(
        f"{readers:,}",
        f"{rate:,}",
        f"{seen.events / seen.seconds:,.0f}",
        f"{seen.complete:,} of {readers:,}" + (f", {seen.faults} faults" if seen.faults else ""),
        seen.late(0.5),
        seen.late(0.99),
        f"{used / seen.seconds:.0%}",
        f"{memory / 1024:.0f} KiB",
    )


@contextmanager
def _crowds(server: Server, request: str, readers: int) -> Iterator[list[subprocess.Popen[str]]]:
    """The readers, each of whom has got the first bytes of its stream."""
    shares = [readers // CROWDS + (number < readers % CROWDS) for number in range(CROWDS)]
    crowds: list[subprocess.Popen[str]] = []
    try:
        for share in filter(None, shares):
            crowd = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.crowd"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            crowds.append(crowd)
            assert crowd.stdin is not None
            json.dump({"port": server.port, "request": request, "readers": share}, crowd.stdin)
            crowd.stdin.close()
        for crowd in crowds:
            if _line(crowd) != "ready":
                raise RuntimeError("The readers could not be connected; what they said is above.")
        yield crowds
    finally:
        for crowd in crowds:
            crowd.kill()
            crowd.wait()


def _line(crowd: subprocess.Popen[str]) -> str:
    assert crowd.stdout is not None
    return crowd.stdout.readline().strip()


def _what_they_saw(crowds: list[subprocess.Popen[str]], began: float) -> Seen:
    answers = [json.loads(_line(crowd)) for crowd in crowds]
    return Seen(
        events=sum(answer["events"] for answer in answers),
        complete=sum(answer["complete"] for answer in answers),
        faults=sum(answer["faults"] for answer in answers),
        seconds=max(answer["ended_at"] for answer in answers) - began,
        delays=[sum(counts) for counts in zip_longest(*(answer["delays"] for answer in answers), fillvalue=0)],
    )


def _start_paused(api: Api, flow: Flow) -> str:
    """A run that waits until all readers are there: it is paused while it waits in front of its first tick."""
    run = str(api.post("/api/v1/executions", {"flow_id": flow.pk, "input_data": {}})["id"])
    api.post(f"/api/v1/executions/{run}/pause")
    while api.get(f"/api/v1/executions/{run}")["status"] != "paused":
        time.sleep(0.05)
    return run


class Api:
    """The server's API, for one user."""

    def __init__(self, server: Server, token: str) -> None:
        self._url = f"http://127.0.0.1:{server.port}"
        self._token = token

    def get(self, path: str) -> dict[str, Any]:
        return self._call(path, None)

    def post(self, path: str, body: object = None) -> dict[str, Any]:
        return self._call(path, json.dumps(body or {}).encode())

    def request_for(self, path: str) -> str:
        """The bytes of a request, for a client that writes them itself."""
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {self._token}", "Connection: close"]
        return "\r\n".join([*lines, "", ""])

    def _call(self, path: str, body: bytes | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))
