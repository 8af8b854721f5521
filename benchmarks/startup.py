"""How long a server takes to answer its first request, and what memory it holds then."""

from __future__ import annotations

import statistics
import time

from benchmarks.server import running_server
from benchmarks.world import heading, row

REPEATS = 5


def measure() -> None:
    heading(f"Start of the server (Daphne, median of {REPEATS})", "what", "figure", "aim")
    seconds, sizes = [], []
    for _ in range(REPEATS):
        began = time.perf_counter()
        with running_server() as server:
            seconds.append(time.perf_counter() - began)
            sizes.append(server.memory())
    row("first answer of /healthz", f"{statistics.median(seconds):.2f} s", "2 s")
    row("resident memory then", f"{statistics.median(sizes) / 2**20:.0f} MiB", "150 MB")
