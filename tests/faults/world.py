"""A cluster for tests that know what they do to it: runs are started and looked at step by step."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psycopg

from tests.faults.clients import Api, Reader
from tests.faults.cluster import QUICK, Cluster, Member, make_cluster
from tests.faults.database import TEMPLATE, used_by_django
from tests.faults.laws import Effect, broken_laws
from tests.faults.scenario import left_in_the_queue, without_requests
from tests.faults.services import Postgres, Redis
from tests.servers import wait_until

ENDED = ("success", "error", "canceled")


class World:
    """Asks the cluster as its clients do, and its database what came of it."""

    def __init__(self, cluster: Cluster, headers: dict[str, str]) -> None:
        self.cluster = cluster
        self.readers: list[Reader] = []
        self._headers = headers
        self._rng = random.Random(0)
        self._following: list[Future[None]] = []
        self._threads = ThreadPoolExecutor(8)
        self._connection = cluster.postgres.connect(cluster.database)
        self._closed = threading.Event()
        self._number = 0

    # -- clients ------------------------------------------------------------------------------------------------------

    def start(self, graph: dict[str, Any], name: str = "") -> str:
        """Start a run of a new flow, and return its id."""
        self._number += 1
        return self._ask(lambda api: self._start(api, name or f"flow {self._number}", graph))

    @staticmethod
    async def _start(api: Api, name: str, graph: dict[str, Any]) -> str:
        return await api.start(await api.create_flow(name, graph), f"the only run of {name}")

    def command(self, run: str, kind: str) -> bool:
        return self._ask(lambda api: api.command(run, kind))

    def follow(self, run: str, count: int = 1) -> list[Reader]:
        """Have readers follow a run, in threads of their own; `check` waits for them."""
        readers = [Reader(self._api(), run=run) for _ in range(count)]
        self.readers += readers
        for reader in readers:
            self._following.append(self._threads.submit(partial(asyncio.run, _read(reader, self._closed))))
        return readers

    def _ask(self, question: Callable[[Api], Any]) -> Any:
        async def ask() -> Any:
            api = self._api()
            try:
                async with asyncio.timeout(60):
                    return await question(api)
            finally:
                await api.close()

        return asyncio.run(ask())

    def _api(self) -> Api:
        return Api([web.url for web in self.cluster.webs], self._headers, self._rng)

    # -- what the database says ---------------------------------------------------------------------------------------

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows, over a new connection when PostgreSQL was away."""
        try:
            return list(self._connection.execute(sql, values))
        except psycopg.OperationalError:
            self._connection = self.cluster.postgres.connect(self.cluster.database)
            return list(self._connection.execute(sql, values))

    def status(self, run: str) -> str:
        return str(self.query("SELECT status FROM executions_execution WHERE id = %s", run)[0][0])

    def wait_for_status(self, run: str, *statuses: str, timeout: float = 20.0) -> str:
        wanted = statuses or ENDED
        wait_until(lambda: self.status(run) in wanted, timeout, lambda: f"{wanted}; {self.describe(run)}")
        return self.status(run)

    def describe(self, run: str) -> str:
        columns = "status, epoch, lease_owner, lease_until, last_seq, error"
        state = self.query(f"SELECT {columns} FROM executions_execution WHERE id = %s", run)
        logs = [f"{member.name}:\n{without_requests(member.log())[-3000:]}" for member in self.cluster.members]
        return "\n".join([f"run {run}: {state}, effects {self.effects(run)}", *logs])

    def effects(self, run: str, node_id: str | None = None) -> list[Effect]:
        columns = "node_id, attempt, idempotency_key, pid, begun_at, finished_at"
        rows = self.query(f"SELECT {columns} FROM effects WHERE execution_id = %s ORDER BY begun_at", run)
        return [effect for row in rows if (effect := Effect(*row)).node_id == (node_id or effect.node_id)]

    def wait_begun(self, run: str, node_id: str, times: int = 1, timeout: float = 20.0) -> None:
        """Return when a node has begun so often."""
        wait_until(
            lambda: len(self.effects(run, node_id)) >= times, timeout, lambda: f"{node_id}; {self.describe(run)}"
        )

    def holder(self, run: str) -> Member:
        """The process that holds the run."""
        owners: list[str] = []

        def found() -> bool:
            owners[:] = [self.query("SELECT lease_owner FROM executions_execution WHERE id = %s", run)[0][0]]
            return bool(owners[0])

        wait_until(found, 20, lambda: f"a holder; {self.describe(run)}")
        pid = int(owners[0].split(":")[1])
        return next(member for member in self.cluster.workers if member.process and member.process.pid == pid)

    # -- the end ------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Wait for the readers, and see that all laws hold and no process has died by itself."""
        for following in self._following:
            following.result(90)
        assert self.cluster.died() == []
        postgres, database = self.cluster.postgres, self.cluster.database
        with used_by_django(postgres, database), postgres.connect(database) as connection:
            assert broken_laws(connection, self.readers) == []
            wait_until(lambda: not left_in_the_queue(connection), 10, lambda: str(left_in_the_queue(connection)))

    def close(self) -> None:
        self._closed.set()
        self.cluster.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._connection.close()


async def _read(reader: Reader, closed: threading.Event) -> None:
    """Follow the run to its end, or until the world is closed because a test has failed."""
    following = asyncio.ensure_future(reader.follow())
    try:
        while not following.done() and not closed.is_set():
            await asyncio.wait([following], timeout=0.2)
        following.cancel()
        await following
    finally:
        await reader.api.close()


class MakeWorld(Protocol):
    def __call__(
        self, executor: str, *, webs: int = ..., workers: int = ..., environment: Mapping[str, str] = ...
    ) -> World: ...


@contextmanager
def worlds(postgres: Postgres, redis: Redis, headers: dict[str, str], directory: Path) -> Iterator[MakeWorld]:
    """A function that starts a cluster on a database of its own; all are stopped in the end."""
    made: list[World] = []

    def make(executor: str, *, webs: int = 2, workers: int = 2, environment: Mapping[str, str] = QUICK) -> World:
        database = f"world_{directory.name}_{len(made)}"[-60:].lower()
        postgres.drop(database)
        postgres.create(database, TEMPLATE)
        cluster = make_cluster(
            executor, postgres, redis, database, directory, webs=webs, workers=workers, environment=environment
        )
        world = World(cluster, headers)
        made.append(world)
        asyncio.run(cluster.start())
        return world

    try:
        yield make
    finally:
        for world in made:
            world.close()
            postgres.drop(world.cluster.database)


class Supervisor:
    """Starts again what has died, as systemd does; a context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self.restarts = 0
        self._cluster = cluster
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            for member in self._cluster.members:
                if member.died():
                    self.restarts += 1
                    with contextlib.suppress(RuntimeError):  # it may die again before it answers
                        member.start()
            time.sleep(0.05)
