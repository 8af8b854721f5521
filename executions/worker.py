"""A worker: executes the runs it holds on one event loop, and looks after their leases and commands."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from executions import claims
from executions.claims import Claim
from executions.conf import execution_settings
from executions.database_threads import DatabaseThreads
from executions.engine.messages import text
from executions.engine.ports import JournalLost, JournalRefused, SystemClock
from executions.engine.run import Outcome, Run, RunLimits
from executions.hub import Hub
from executions.journal.writer import JournalWriter
from executions.logs import log_end, log_start
from executions.models import Command

logger = logging.getLogger(__name__)

MAX_CLAIMS = 100
"""Runs that are taken in one transaction."""

PAUSE_AFTER_ERROR = 1.0
"""Seconds before runs are tried to be taken again."""

CANCEL_GRACE = 0.3
"""Seconds that runs get to leave when they are cancelled."""

RELEASE_SECONDS = 1.0
"""What giving runs back may take when the worker stops."""

IDLE_COMMAND_POLL = 2.0
"""Seconds between two looks for commands while no run is held."""


def worker_name() -> str:
    """`<host>:<process id>:<random>`: who holds a lease, and where to look for it."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{secrets.token_hex(4)}"


class Worker:
    """All its methods belong to the loop that `run` was called on."""

    def __init__(self, writer: JournalWriter, hub: Hub, threads: DatabaseThreads, *, recover: bool) -> None:
        self.name = worker_name()
        self._writer = writer
        self._hub = hub
        self._threads = threads
        self._recover = recover
        self._runs: dict[UUID, Run | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrivals: dict[UUID, None] = {}  # in their order
        self._brought: set[UUID] = set()
        self._taking = False
        self._nudged = asyncio.Event()
        self._stopping = False

    @property
    def held(self) -> int:
        return len(self._runs)

    def enqueue(self, execution_id: UUID) -> None:
        """Execute a run, now or when there is room."""
        if not self._recover:
            self._brought.add(execution_id)
        if self._stopping or execution_id in self._runs or execution_id in self._arrivals:
            return
        self._arrivals[execution_id] = None
        self._take_arrivals()

    def nudge(self) -> None:
        """There is a command that may be for a run of this worker."""
        self._nudged.set()

    async def run(self) -> None:
        """Look after commands and leases until cancelled."""
        await asyncio.gather(self._look_after_commands(), self._look_after_leases())

    async def stop(self, grace: float) -> None:
        """Take no more; let running nodes end for `grace` seconds; give what is not ended by then back."""
        self._stopping = True
        self._arrivals.clear()
        for run in self._runs.values():
            if run is not None:
                run.hand_over()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CANCEL_GRACE)
        try:
            # One statement for all of them, and also for what was taken in the last moment and never began.
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._threads.run(claims.release, self.name)
        except (DatabaseError, InterfaceError, TimeoutError) as error:
            logger.warning("worker: its runs are taken up when their leases have ended (%r)", error)

    # -- one run ------------------------------------------------------------------------------------------------------

    def _take_arrivals(self) -> None:
        if not self._taking and self._arrivals and self._room() > 0:
            self._taking = True
            self._spawn(self._take())

    def _room(self) -> int:
        return 0 if self._stopping else execution_settings().max_concurrent_runs - len(self._runs)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self) -> None:
        """Claim what has arrived, as many as there is room for, in one transaction after the other."""
        try:
            while self._arrivals and (room := self._room()) > 0:
                batch = list(self._arrivals)[: min(room, MAX_CLAIMS)]
                if not self._runs:
                    self.nudge()  # from now on commands of other processes are looked for at the short interval
                for execution_id in batch:
                    del self._arrivals[execution_id]
                    self._runs[execution_id] = None
                await self._claim(batch)
        finally:
            self._taking = False

    async def _claim(self, batch: list[UUID]) -> None:
        try:
            claimed = await self._threads.run(self._claim_now, batch)
        except (DatabaseError, InterfaceError) as error:
            logger.error("worker: %d runs cannot be taken (%s); trying again", len(batch), error)
            await asyncio.sleep(PAUSE_AFTER_ERROR)
            self._arrivals.update(dict.fromkeys(batch))
            claimed = []
        except Exception:
            logger.exception("worker: %d runs cannot be taken", len(batch))
            claimed = []
            if len(batch) > 1:
                for execution_id in batch:  # whatever is wrong with one of them
                    await self._claim([execution_id])
                return
        held = {claim.execution_id for claim in claimed}
        for execution_id in batch:
            if execution_id not in held:
                self._runs.pop(execution_id, None)
        for claim in claimed:
            self._spawn(self._execute(claim))

    def _claim_now(self, batch: list[UUID]) -> list[Claim]:
        """In a database thread, which nobody may wait for any more when the worker has stopped meanwhile."""
        claimed = claims.claim(batch, self.name)
        if self._stopping:
            claims.release(self.name, batch)
            return []
        return claimed

    async def _execute(self, held: Claim) -> None:
        try:
            await self._drive(held)
        except (DatabaseError, InterfaceError) as error:
            logger.error("execution %s: left to be taken up again (%s)", held.execution_id, error)
        finally:
            self._runs.pop(held.execution_id, None)
            self._hub.executing(held.execution_id, here=False)
            self._take_arrivals()
            self.nudge()  # a command may have come while the run was leaving

    async def _drive(self, held: Claim) -> None:
        """Bring the run to its end, to a pause or to a hand-over, whatever goes wrong."""
        started = time.monotonic()
        try:
            run = self._begin(held)
            outcome = await run.drive(held.commands)
        except JournalLost as error:
            logger.warning("execution %s: left, %s", held.execution_id, error)
        except (DatabaseError, InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 - no run may hang, whatever went wrong
            await self._fail(held, error)
        else:
            log_end(held, run.status, time.monotonic() - started, run.failure)
            if outcome is Outcome.PAUSED:
                await self._threads.run(claims.park, held.execution_id, held.epoch, run.newest_command)

    def _begin(self, held: Claim) -> Run:
        settings = execution_settings()
        journal = self._writer.open(held.execution_id, held.epoch, held.head.seq)
        limits = RunLimits(output_bytes=settings.max_output_bytes, progress_interval=settings.progress_interval)
        run = Run(held.plan, held.head, journal, SystemClock(), restored=held.restored, limits=limits)
        journal.on_fault = run.abort
        self._runs[held.execution_id] = run
        self._hub.executing(held.execution_id, here=True)
        log_start(held)
        if self._stopping:
            run.hand_over()
        return run

    async def _fail(self, held: Claim, error: Exception) -> None:
        """Whatever goes wrong outside of the nodes ends the run with an error; it must not leave it hanging."""
        logger.error("execution %s: failed outside of its nodes", held.execution_id, exc_info=error)
        hint = "This is a fault of the server and not of the flow; the log has the traceback."
        if isinstance(error, JournalRefused):
            hint = "The database refused what the run wrote; the log has the traceback."
        cause = {"type": type(error).__name__, "message": text(error), "hint": hint}
        await self._threads.run(claims.fail, held.execution_id, held.epoch, cause)
        self._hub.executing(held.execution_id, here=False)
        self._hub.hint(held.execution_id)

    # -- commands and leases ------------------------------------------------------------------------------------------

    async def _look_after_commands(self) -> None:
        while True:
            poll = execution_settings().command_poll if self._runs else IDLE_COMMAND_POLL
            try:
                async with asyncio.timeout(poll):
                    await self._nudged.wait()
            except TimeoutError:
                pass
            self._nudged.clear()
            await self._quietly(self._obey_pending)

    async def _obey_pending(self) -> None:
        canceled: dict[UUID, None] = {}
        for command_id, execution_id, kind in await self._threads.run(claims.pending_commands):
            run = self._runs.get(execution_id)
            if run is not None:
                self._obey(run, kind, command_id)
            elif execution_id not in self._runs and (self._recover or execution_id in self._brought):
                # A command in a terminal goes on with its own run when that is resumed, never with one of a server.
                if kind == Command.Kind.CANCEL:
                    canceled[execution_id] = None
                else:
                    self.enqueue(execution_id)
        if canceled and not self._stopping:
            await self._take_canceled(list(canceled))

    def _obey(self, run: Run, kind: str, command_id: int) -> None:
        try:
            run.obey(kind, command_id)
        except Exception as error:  # noqa: BLE001 - a fault of the engine ends its run, which must not hang
            run.abort(error)

    async def _take_canceled(self, execution_ids: list[UUID]) -> None:
        """What is only taken to be ended need not wait until there is room."""
        for execution_id in execution_ids:
            self._arrivals.pop(execution_id, None)
            self._runs[execution_id] = None
        await self._claim(execution_ids)

    async def _look_after_leases(self) -> None:
        if self._recover:
            await self._quietly(self._free_dead)
        while True:
            if self._runs:
                await self._quietly(self._renew)
            if self._recover:
                await self._quietly(self._take_abandoned)
            await asyncio.sleep(execution_settings().lease / 3)

    async def _renew(self) -> None:
        await self._threads.run(claims.renew, self.name, list(self._runs))

    async def _take_abandoned(self) -> None:
        for execution_id in await self._threads.run(claims.abandoned):
            self.enqueue(execution_id)

    async def _free_dead(self) -> None:
        """Runs of a process of this machine that is gone need not wait for their leases to end."""
        host = self.name.split(":", 1)[0] + ":"
        for owner in await self._threads.run(claims.owners, host):
            if not _is_alive(owner):
                await self._threads.run(claims.end_leases_of, owner)

    async def _quietly(self, look_after: Callable[[], Awaitable[None]]) -> None:
        """Whatever goes wrong, the worker goes on looking after its runs."""
        try:
            await look_after()
        except (DatabaseError, InterfaceError) as error:
            logger.warning("worker: the database is not there (%s); trying again", error)
        except Exception:
            logger.exception("worker: cannot look after its runs; trying again")


def _is_alive(owner: str) -> bool:
    try:
        os.kill(int(owner.split(":")[1]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError, IndexError):
        return True
    return True
