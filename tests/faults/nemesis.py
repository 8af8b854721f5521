"""What is done to a cluster: faults drawn from a seed, each at its time, several at once."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import psycopg
import redis

from tests.faults.cluster import LEASE, Cluster, Member
from tests.faults.services import Postgres, Service

GAP = 0.6
"""Seconds between two faults, at most."""

AWAY = 1.0
"""Seconds that a killed process or service stays away, at most."""

WEIGHTS = {
    "kill worker": 2,
    "terminate worker": 2,
    "freeze worker past its lease": 3,
    "freeze worker": 5,
    "kill web": 1,
    "terminate web": 1,
    "freeze web": 2,
    "restart PostgreSQL fast": 1,
    "restart PostgreSQL immediately": 1,
    "crash PostgreSQL": 1,
    "freeze PostgreSQL": 1,
    "terminate connections": 6,
    "kill Redis": 2,
    "freeze Redis": 1,
    "empty Redis": 1,
    "cut the clients of Redis": 3,
}
"""How often which fault is drawn. What costs seconds of processor time to come back from is drawn less often."""


@dataclass(frozen=True)
class Fault:
    """`gap` seconds behind the fault before it; `choice` (0 to 1) says which process, `extent` (0 to 1) how long."""

    kind: str
    gap: float
    choice: float
    extent: float


def draw_faults(rng: random.Random, count: int) -> list[Fault]:
    """One of each kind, as far as `count` goes, and then as the weights say."""
    kinds = rng.sample(list(WEIGHTS), min(count, len(WEIGHTS)))
    kinds += rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count - len(kinds))
    return [Fault(kind, rng.uniform(0.05, GAP), rng.random(), rng.random()) for kind in kinds]


class Nemesis:
    """Does to a cluster what was drawn. `log` says what was done and when."""

    def __init__(self, cluster: Cluster) -> None:
        self.log: list[str] = []
        self.done: Counter[str] = Counter()
        self.broken: list[str] = []
        """What did not end, or come back, as it must."""
        self._cluster = cluster
        self._began = time.monotonic()
        self._service_busy: dict[Service, asyncio.Lock] = {
            cluster.postgres: asyncio.Lock(),
            cluster.redis: asyncio.Lock(),
        }

    async def strike(self, faults: list[Fault]) -> None:
        """All of them, and return when everything is up again."""
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(fault.gap)
                group.create_task(self._try(fault))

    async def _try(self, fault: Fault) -> None:
        try:
            await self._do(fault)
        except Exception as error:
            self.broken.append(f"{fault.kind}: {error!r}")

    async def _do(self, fault: Fault) -> None:
        away = AWAY * fault.extent
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "kill worker": partial(self._to_worker, fault, self._kill, away),
            "terminate worker": partial(self._to_worker, fault, self._terminate, away),
            "freeze worker past its lease": partial(self._to_worker, fault, self._freeze, LEASE * (1.4 + fault.extent)),
            "freeze worker": partial(self._to_worker, fault, self._freeze, LEASE * 0.5 * fault.extent),
            "kill web": partial(self._to_web, fault, self._kill, away),
            "terminate web": partial(self._to_web, fault, self._terminate, away),
            "freeze web": partial(self._to_web, fault, self._freeze, LEASE * fault.extent),
            "restart PostgreSQL fast": partial(self._restart, fault, self._cluster.postgres, Postgres.FAST),
            "restart PostgreSQL immediately": partial(self._restart, fault, self._cluster.postgres, Postgres.IMMEDIATE),
            "crash PostgreSQL": partial(self._crash, fault),
            "freeze PostgreSQL": partial(self._freeze_service, fault, self._cluster.postgres),
            "terminate connections": partial(self._terminate_connections, fault),
            "kill Redis": partial(self._restart, fault, self._cluster.redis, signal.SIGKILL),
            "freeze Redis": partial(self._freeze_service, fault, self._cluster.redis),
            "empty Redis": partial(self._to_redis, fault, self._cluster.redis.flush),
            "cut the clients of Redis": partial(self._to_redis, fault, self._cluster.redis.cut_clients),
        }
        await acts[fault.kind]()

    def _note(self, fault: Fault, what: str) -> None:
        self.done[fault.kind] += 1
        self.log.append(f"{time.monotonic() - self._began:7.2f} s  {fault.kind}: {what}")

    # -- processes ----------------------------------------------------------------------------------------------------

    async def _to_worker(self, fault: Fault, act: Callable[[Member, float], Awaitable[None]], seconds: float) -> None:
        await self._to_one_of(self._cluster.workers, fault, act, seconds)

    async def _to_web(self, fault: Fault, act: Callable[[Member, float], Awaitable[None]], seconds: float) -> None:
        await self._to_one_of(self._cluster.webs, fault, act, seconds)

    async def _to_one_of(
        self, members: list[Member], fault: Fault, act: Callable[[Member, float], Awaitable[None]], seconds: float
    ) -> None:
        free = [member for member in members if not member.busy.locked()] or members
        member = free[int(fault.choice * len(free))]
        async with member.busy:
            self._note(fault, f"{member.name}.{member.lives}, {seconds:.2f} s")
            await act(member, seconds)

    @staticmethod
    async def _kill(member: Member, away: float) -> None:
        member.kill()
        await asyncio.sleep(away)
        await asyncio.to_thread(member.start)

    @staticmethod
    async def _terminate(member: Member, away: float) -> None:
        await asyncio.to_thread(member.terminate)
        await asyncio.sleep(away)
        await asyncio.to_thread(member.start)

    @staticmethod
    async def _freeze(member: Member, seconds: float) -> None:
        member.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            member.send(signal.SIGCONT)

    # -- services -----------------------------------------------------------------------------------------------------

    async def _restart(self, fault: Fault, service: Service, number: signal.Signals) -> None:
        async with self._service_busy[service]:
            away = AWAY * fault.extent
            self._note(fault, f"{away:.2f} s")
            await asyncio.to_thread(service.restart, number, away)

    async def _freeze_service(self, fault: Fault, service: Service) -> None:
        async with self._service_busy[service]:
            self._note(fault, f"{AWAY * fault.extent:.2f} s")
            await asyncio.to_thread(service.freeze, AWAY * fault.extent)

    async def _crash(self, fault: Fault) -> None:
        postgres = self._cluster.postgres
        async with self._service_busy[postgres]:
            while True:
                backends = await self._backends()
                backend = backends[int(fault.choice * len(backends))]
                # It may have ended by itself meanwhile, or by another fault.
                with contextlib.suppress(ProcessLookupError):
                    await asyncio.to_thread(postgres.crash, backend)
                    break
            self._note(fault, f"backend {backend} of {len(backends)}")

    async def _terminate_connections(self, fault: Fault) -> None:
        postgres = self._cluster.postgres
        async with self._service_busy[postgres]:
            backends = await self._backends()
            chosen = random.Random(fault.choice).sample(backends, math.ceil(fault.extent * len(backends)))
            self._note(fault, f"{len(chosen)} of {len(backends)}")
            await asyncio.to_thread(postgres.terminate, chosen)

    async def _backends(self) -> list[int]:
        """The connections to the scenario's database, as soon as there are some."""
        while True:
            # Another fault may have PostgreSQL just recover.
            with contextlib.suppress(psycopg.OperationalError):
                if found := await asyncio.to_thread(self._cluster.postgres.backends, self._cluster.database):
                    return found
            await asyncio.sleep(0.05)

    async def _to_redis(self, fault: Fault, act: Callable[[], None]) -> None:
        async with self._service_busy[self._cluster.redis]:
            self._note(fault, "done")
            with contextlib.suppress(redis.RedisError):
                await asyncio.to_thread(act)
