"""DBOS: workflows in threads of this process, which commit each step's result before the next one starts.

The environment says where: DATABASE_URL.
"""

from __future__ import annotations

import os

from dbos import DBOS

from benchmarks.peers.cases import ITEM, STEPS, Item, report


@DBOS.step()
def step(item: Item) -> Item:
    return item


@DBOS.workflow()
def steps_in_a_row(item: Item) -> Item:
    for _ in range(STEPS):
        item = step(item)
    return item


def execute(runs: int) -> list[Item]:
    handles = [DBOS.start_workflow(steps_in_a_row, ITEM) for _ in range(runs)]
    return [handle.get_result() for handle in handles]


def main() -> None:
    DBOS(config={"name": "wataomi-benchmark", "system_database_url": os.environ["DATABASE_URL"]})
    DBOS.launch()
    try:
        report(execute)
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    main()
