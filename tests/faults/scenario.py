"""One scenario: a cluster, runs that are started all the time, readers, commands, and the faults of a seed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.clients import Api, Reader
from tests.faults.cluster import Cluster, make_cluster
from tests.faults.database import TEMPLATE, used_by_django
from tests.faults.flows import failing_graph, random_graph
from tests.faults.laws import broken_laws
from tests.faults.nemesis import Fault, Nemesis, draw_faults
from tests.faults.services import Postgres, Redis
from tests.servers import within

RUNS_AT_ONCE = 24
"""As many are kept going, so that each fault hits something."""

READERS_OF_A_RUN = (1, 1, 2, 3)

CALM_SECONDS = 60.0
"""What all runs may take to end, and all readers to see it, once there are no more faults."""

LONGEST_SECONDS = 240.0
"""What a scenario may take in all."""

UNFINISHED = ["queued", "running", "pausing", "paused", "waiting"]


class Scenario:
    """`run` raises AssertionError, with the seed, the faults and the laws that were broken."""

    def __init__(
        self, seed: int, executor: str, postgres: Postgres, redis: Redis, directory: Path, headers: dict[str, str]
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.database = f"scenario_{seed}"
        self.postgres = postgres
        self.cluster: Cluster = make_cluster(executor, postgres, redis, self.database, directory)
        self.headers = headers
        self.readers: list[Reader] = []
        self.runs: list[str] = []
        self.broken: list[str] = []
        self._load_on = True

    def run(self, count: int) -> str:
        """Have `count` faults happen, and check the laws. Returns what happened, in one line."""
        faults = draw_faults(self.rng, count)
        self.postgres.create(self.database, TEMPLATE)
        self.nemesis = Nemesis(self.cluster)
        began = time.monotonic()
        try:
            asyncio.run(self._run_in_time(faults))
        finally:
            self.cluster.stop()
        self._check()
        self.postgres.drop(self.database)
        seconds = time.monotonic() - began
        connections = sum(reader.connections for reader in self.readers)
        return (
            f"seed {self.seed}, {self.cluster.executor}: {self.nemesis.done.total()} faults, {len(self.runs)} runs, "
            f"{len(self.readers)} readers with {connections} connections, {seconds:.0f} s"
        )

    async def _run_in_time(self, faults: list[Fault]) -> None:
        try:
            async with asyncio.timeout(within(LONGEST_SECONDS)):
                await self._run(faults)
        except TimeoutError:
            self.broken.append("The scenario does not come to its end.")
        self.broken += [*self.nemesis.broken, *self.cluster.died()]

    async def _run(self, faults: list[Fault]) -> None:
        await self.cluster.start()
        self.api = Api([web.url for web in self.cluster.webs], self.headers, self.rng)
        flows = await self._create_flows()
        async with asyncio.TaskGroup() as group:
            self._group = group
            lanes = [group.create_task(self._guard(self._lane(flows, number))) for number in range(RUNS_AT_ONCE)]
            commands = group.create_task(self._guard(self._command()))
            await self._guard(self.nemesis.strike(faults))
            self._load_on = False
            await asyncio.gather(commands, self._guard(self._come_to_rest()), *lanes)
        await self.api.close()

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """What breaks a law is kept for the report; the scenario goes on."""
        try:
            await work
        except (AssertionError, KeyError, ValueError) as error:
            self.broken.append(f"{type(error).__name__}: {error}")

    # -- the load -----------------------------------------------------------------------------------------------------

    async def _create_flows(self) -> list[int]:
        graphs = {f"flow {number}": random_graph(self.rng) for number in range(4)}
        graphs["failing flow"] = failing_graph(self.rng)
        return [await self.api.create_flow(name, graph) for name, graph in graphs.items()]

    async def _lane(self, flows: list[int], number: int) -> None:
        """One run after the other, each with its readers."""
        count = 0
        while self._load_on:
            flow, key = self.rng.choice(flows), f"lane-{number}-{count}"
            count += 1
            body = {"flow_id": flow, "input_data": {"key": 1}}
            first = Reader(self.api, start=(body, key))
            if self.rng.random() < 0.7:
                first.run = await self.api.start(flow, key)
                self.runs.append(first.run)
            await self._follow(first)

    async def _follow(self, first: Reader) -> None:
        """Return when the first reader of a run has seen its end; others may come at any time, and see all of it."""
        others = []
        if first.run is not None:
            others = [Reader(self.api, run=first.run) for _ in range(self.rng.choice(READERS_OF_A_RUN) - 1)]
        self.readers += [first, *others]
        for reader in others:
            self._group.create_task(self._guard(self._read(reader, self.rng.random())))
        try:
            async with asyncio.timeout(within(CALM_SECONDS) + 60):
                await first.follow()
        except TimeoutError:
            self.broken.append(f"run {first.run}: its reader stands at {first.frames.last_seq}, and nothing comes")

    async def _read(self, reader: Reader, delay: float) -> None:
        await asyncio.sleep(delay)
        try:
            async with asyncio.timeout(within(CALM_SECONDS) + 60):
                await reader.follow()
        except TimeoutError:
            self.broken.append(f"run {reader.run}: a reader stands at {reader.frames.last_seq}, and nothing comes")

    async def _command(self) -> None:
        """Pause, resume, cancel and retry runs at random."""
        while self._load_on:
            await asyncio.sleep(self.rng.uniform(0, 0.4))
            if not self.runs:
                continue
            run = self.rng.choice(self.runs[-RUNS_AT_ONCE:])
            kind = self.rng.choice(("pause", "pause", "pause", "cancel", "retry", "retry"))
            if kind == "pause":
                self._group.create_task(self._guard(self._pause_for_a_while(run)))
            elif kind == "cancel":
                await self.api.command(run, "cancel")
            elif retry := await self.api.retry(run, self.rng.choice(("start", "failed"))):
                self._group.create_task(self._guard(self._follow(Reader(self.api, run=retry))))

    async def _pause_for_a_while(self, run: str) -> None:
        if await self.api.command(run, "pause"):
            await asyncio.sleep(self.rng.uniform(0, 2))
            await self.api.command(run, "resume")

    # -- the end ------------------------------------------------------------------------------------------------------

    async def _come_to_rest(self) -> None:
        """Return when all runs have ended, and the queue is empty. One that a pause reached late is resumed. Raises
        AssertionError."""
        deadline = time.monotonic() + within(CALM_SECONDS)
        while left := await asyncio.to_thread(self._unfinished):
            if time.monotonic() > deadline:
                raise AssertionError(f"Runs that do not end, with status, epoch, holder, lease and events: {left}")
            for run, status, *_ in left:
                if status in {"paused", "pausing"}:
                    await self.api.command(str(run), "resume")
            await asyncio.sleep(0.1)
        # Those of a worker that died are deleted by the others, within seconds of their runs' ends.
        while jobs := await asyncio.to_thread(self._left_in_the_queue):
            if time.monotonic() > deadline:
                raise AssertionError(f"Every run has ended, and {jobs[0]}")
            await asyncio.sleep(0.1)

    def _unfinished(self) -> list[tuple[Any, ...]]:
        columns = "id, status, epoch, lease_owner, lease_until, last_seq"
        query = f"SELECT {columns} FROM executions_execution WHERE status = ANY(%s)"
        with self.postgres.connect(self.database) as connection:
            return list(connection.execute(query, [UNFINISHED]))

    def _left_in_the_queue(self) -> list[str]:
        with self.postgres.connect(self.database) as connection:
            return left_in_the_queue(connection)

    def _check(self) -> None:
        with used_by_django(self.postgres, self.database), self.postgres.connect(self.database) as connection:
            self.broken += broken_laws(connection, self.readers)
        if self.broken:
            raise AssertionError(self._report())

    def _report(self) -> str:
        parts = [
            f"{len(self.broken)} laws are broken. To see it again: pytest tests/faults --seed {self.seed}",
            *self.broken[:10],
            "What was done:",
            *self.nemesis.log,
            *(
                f"The end of {member.name}'s log:\n{without_requests(member.log())[-3000:]}"
                for member in self.cluster.members
            ),
        ]
        return "\n".join(parts)


def without_requests(log: str) -> str:
    """What a process said of itself."""
    return "\n".join(line for line in log.splitlines() if '"GET /' not in line and '"POST /' not in line)


def left_in_the_queue(connection: psycopg.Connection[Any]) -> list[str]:
    """Jobs that are neither done nor failed; none, some seconds after every run has ended."""
    query = "SELECT status::text, count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing') GROUP BY status"
    return [f"{count} jobs are {status}" for status, count in connection.execute(query)]
