"""Celery: chains of tasks, executed by a worker process; Redis brings the messages and keeps each task's result.

The environment says where: REDIS_URL, and REDIS_PREFIX for all keys.
"""

from __future__ import annotations

import os

from celery import Celery, chain

from benchmarks.peers.cases import ITEM, STEPS, Item, helper, report

NAME = "benchmarks.peers.celery_chain"

app = Celery(NAME, broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.broker_transport_options = {"global_keyprefix": os.environ["REDIS_PREFIX"]}
app.conf.result_backend_transport_options = {"global_keyprefix": os.environ["REDIS_PREFIX"]}


@app.task
def step(item: Item) -> Item:
    return item


def execute(runs: int) -> list[Item]:
    results = [chain(step.s(ITEM), *(step.s() for _ in range(1, STEPS))).apply_async() for _ in range(runs)]
    return [result.get() for result in results]


def main() -> None:
    with helper("celery", "--app", NAME, "worker"):
        report(execute)


if __name__ == "__main__":
    main()
