"""Prefect: flows in threads of this process, which tells a server process of its own what they do.

The environment says where: PREFECT_HOME, PREFECT_SERVER_API_PORT, PREFECT_API_URL, and the database if not SQLite.
"""

from __future__ import annotations

import os
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from prefect import flow, task

from benchmarks.peers.cases import ITEM, STEPS, Item, helper, report

READY_SECONDS = 60.0


@task
def step(item: Item) -> Item:
    return item


@flow
def steps_in_a_row(item: Item) -> Item:
    for _ in range(STEPS):
        item = step(item)
    return item


def execute(runs: int) -> list[Item]:
    with ThreadPoolExecutor(runs) as threads:
        return list(threads.map(steps_in_a_row, [ITEM] * runs))


def main() -> None:
    with helper("prefect", "server", "start"):
        _wait_until_ready()
        report(execute)


def _wait_until_ready() -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{os.environ['PREFECT_API_URL']}/health", timeout=5).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    main()
