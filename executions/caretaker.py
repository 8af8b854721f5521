"""Looks after the runs of a worker, and after those that nobody holds: commands, leases, and what is due."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from executions import claims, due, limits
from executions.conf import execution_settings
from executions.database_clock import clock
from executions.database_threads import DatabaseThreads
from executions.journal.transactions import write_transaction
from executions.models import Command
from executions.retention import prune_by_settings
from executions.worker import Queue, Worker

logger = logging.getLogger(__name__)

IDLE_COMMAND_POLL = 2.0
"""Seconds between two looks for commands while there can be none from outside of this process."""

COMMAND_PAUSE = 0.02
"""Seconds until runs that come and go make a look for commands; a command that is announced makes one at once."""

ASK_AGAIN = 2.0
"""Seconds until a run is brought to a worker again for one command."""

SWEEP = 1.0
"""Seconds between two looks for what is due."""

SWEEP_PAUSE = 0.02
"""Seconds between two looks that events of this worker ask for."""

SLOW_SHARE = 0.25
"""Of a lease. A database that takes longer to answer may have kept the owners of runs from renewing their leases."""

RENEW_AGAIN = 0.2
"""Seconds until leases that could not be renewed are tried again."""

PRUNE = 3600.0
"""Seconds between two clean-ups."""


class Caretaker:
    """One for each worker, on its loop. `recover`: it also looks after runs that this worker was not given, as a server
    does; a command in a terminal looks after its own run only. `prune`: it also deletes old runs."""

    def __init__(
        self, worker: Worker, queue: Queue, threads: DatabaseThreads, *, recover: bool, prune: bool = False
    ) -> None:
        self._worker = worker
        self._queue = queue
        self._threads = threads
        self._recover = recover
        self._prune = prune
        self._brought: set[UUID] = set()
        self._asked_until: dict[int, float] = {}
        self._nudged = asyncio.Event()
        self._changed = asyncio.Event()
        self._blind_until = 0.0
        self._look_planned = False
        worker.on_change = self._look_soon
        worker.on_place = self._changed.set

    def nudge(self) -> None:
        """There is a command that may be for a run of this worker."""
        self._nudged.set()

    def _look_soon(self) -> None:
        if not self._look_planned:
            self._look_planned = True
            asyncio.get_running_loop().call_later(COMMAND_PAUSE, self._look)

    def _look(self) -> None:
        self._look_planned = False
        self._nudged.set()

    def brought(self, execution_id: UUID) -> None:
        """This worker was given the run."""
        if not self._recover:
            self._brought.add(execution_id)

    async def run(self) -> None:
        """Look after everything until cancelled."""
        jobs = [self._look_after_commands(), self._look_after_leases(), self._look_after_due()]
        if self._recover:
            jobs.append(self._look_after_forgotten())
        if self._recover and self._prune:
            jobs.append(self._look_after_old())
        await asyncio.gather(*jobs)

    # -- commands -----------------------------------------------------------------------------------------------------

    async def _look_after_commands(self) -> None:
        while True:
            # In one process who writes a command says so, unless another process wrote it.
            busy = self._worker.held or self._queue.shared
            await _ring_or_wait(self._nudged, execution_settings().command_poll if busy else IDLE_COMMAND_POLL)
            await self._quietly(self._obey_pending)

    async def _obey_pending(self) -> None:
        canceled: list[UUID] = []
        asked: list[UUID] = []
        now = time.monotonic()
        # What could not be obeyed at once (its flow has no place for it) is tried again at a slower pace.
        self._asked_until = {known: until for known, until in self._asked_until.items() if until > now}
        pending = await self._threads.run(due.pending_commands, self._worker.name, list(self._asked_until))
        for command in pending:
            if self._worker.obey(command):
                continue
            # A command in a terminal goes on with its own run when that is resumed, never with one of a server.
            if not (self._recover or command.execution_id in self._brought):
                continue
            if command.kind == Command.Kind.CANCEL:
                canceled.append(command.execution_id)
            elif command.id not in self._asked_until:
                self._asked_until[command.id] = now + ASK_AGAIN
                asked.append(command.execution_id)
        await self._bring(asked)
        await self._worker.take_canceled(list(dict.fromkeys(canceled)))

    # -- leases -------------------------------------------------------------------------------------------------------

    async def _look_after_leases(self) -> None:
        if self._recover:
            await self._quietly(self._free_dead)
        while True:
            renewed = not self._worker.held or await self._quietly(self._renew)
            await asyncio.sleep(execution_settings().lease / 3 if renewed else RENEW_AGAIN)

    async def _renew(self) -> bool:
        until = claims.lease_end()
        held = await self._threads.run(claims.renew, self._worker.name, self._worker.held_ids)
        if over := self._worker.renewed(held, until):
            self._worker.leave_lost(over, await self._threads.run(claims.epochs, over))
        return True

    async def _free_dead(self) -> None:
        """Runs of a process of this machine that is gone need not wait for their leases to end."""
        host = self._worker.name.split(":", 1)[0] + ":"
        for owner in await self._threads.run(claims.owners, host):
            if not _is_alive(owner):
                await self._threads.run(claims.end_leases_of, owner)
        self._changed.set()

    # -- runs that nobody holds ---------------------------------------------------------------------------------------

    async def _look_after_due(self) -> None:
        while True:
            wake = await self._quietly(self._bring_due)
            # Workers that were started together do not look together.
            longest = SWEEP * random.uniform(0.8, 1.2)  # noqa: S311 - not a secret
            if isinstance(wake, datetime):
                longest = min(longest, max(SWEEP_PAUSE, (wake - clock.now()).total_seconds()))
            await _ring_or_wait(self._changed, longest)
            await asyncio.sleep(SWEEP_PAUSE)

    async def _bring_due(self) -> datetime | None:
        """Bring what is due to a worker, and say when the next wait ends."""
        began = time.monotonic()
        found = await self._threads.run(due.woken) + await self._threads.run(limits.next_in_line)
        if not self._recover:
            # A command in a terminal looks after its own runs, and leaves those of a server alone.
            await self._bring([execution_id for execution_id in found if execution_id in self._brought])
            return None
        if time.monotonic() >= self._blind_until:
            interrupted = await self._threads.run(due.interrupted)
            if time.monotonic() - began > SLOW_SHARE * execution_settings().lease:
                self._look_away()
            else:
                found += interrupted
        await self._bring(found)
        return await self._threads.run(due.next_wake)

    async def _look_after_forgotten(self) -> None:
        while True:
            await asyncio.sleep(execution_settings().lease / 3)
            await self._quietly(self._bring_forgotten)

    async def _bring_forgotten(self) -> None:
        await self._threads.run(claims.let_go_of_idle)
        await self._bring(await self._threads.run(due.forgotten, self._queue.unqueued()))

    async def _bring(self, execution_ids: list[UUID]) -> None:
        missing = [execution_id for execution_id in execution_ids if not self._worker.has(execution_id)]
        if missing and not self._worker.stopping:
            await self._threads.run(self._put, missing)

    def _put(self, execution_ids: list[UUID]) -> None:
        with write_transaction():
            self._queue.put(due.priorities(execution_ids))

    async def _look_after_old(self) -> None:
        while True:
            await self._quietly(lambda: self._threads.run(prune_by_settings, lambda: self._worker.stopping))
            await asyncio.sleep(PRUNE)

    def _look_away(self) -> None:
        """Leases have ended meanwhile that their living owners could not renew: they come first."""
        self._blind_until = time.monotonic() + execution_settings().lease

    async def _quietly(self, look_after: Callable[[], Awaitable[object]]) -> object:
        """Whatever goes wrong, the worker goes on looking after its runs."""
        try:
            return await look_after()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("worker: the database is not there (%s); trying again", error)
            self._look_away()
        except Exception:
            logger.exception("worker: cannot look after its runs; trying again")
        return None


async def _ring_or_wait(bell: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await bell.wait()
    except TimeoutError:
        pass
    bell.clear()


def _is_alive(owner: str) -> bool:
    try:
        os.kill(int(owner.split(":")[1]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError, IndexError):
        return True
    return True
