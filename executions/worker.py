"""A worker: executes the runs it holds on one event loop, from their claims to where they leave it."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from django.db import DatabaseError, InterfaceError
from django.db.models import Q

from executions import claims, tracing
from executions.claims import Claim
from executions.conf import execution_settings
from executions.database_clock import clock
from executions.database_threads import DatabaseThreads
from executions.due import Pending, priorities
from executions.engine.messages import text
from executions.engine.ports import JournalLost, JournalRefused
from executions.engine.run import Outcome, Run, RunLimits
from executions.hub import Hub
from executions.journal.writer import JournalWriter, RunJournal
from executions.logs import log_end, log_start

logger = logging.getLogger(__name__)

MAX_CLAIMS = 100
"""Runs that are taken in one transaction."""

CLAIM_SHARE = 4
"""From one claim to the next pass so many times the seconds that it took, at most `LONGEST_PAUSE`: ten runs cost as
much to claim as one (8 ms of CPU), so what arrives in quick succession is claimed together."""

LONGEST_PAUSE = 0.1

PAUSE_AFTER_ERROR = 1.0
"""Seconds before runs are tried to be taken again."""

CANCEL_GRACE = 0.3
"""Seconds that runs get to leave when they are cancelled."""

RELEASE_SECONDS = 1.0
"""What giving runs back may take when the worker stops."""


PID_NAMESPACE = Path("/proc/self/ns/pid")
FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""What Linux calls that of the machine itself (PROC_PID_INIT_INO)."""


def worker_name() -> str:
    """`<host>:<process id>:<random>`: who holds a lease, and where to look for it."""
    return f"{_host()[:75]}:{os.getpid()}:{secrets.token_hex(4)}"


def _host() -> str:
    """Where process ids mean what they mean here: containers may have the name of their machine, or of one another."""
    try:
        namespace = str(PID_NAMESPACE.readlink())
    except OSError:  # not Linux
        namespace = FIRST_PID_NAMESPACE
    name = socket.gethostname()[:60]
    return name if namespace == FIRST_PID_NAMESPACE else f"{name}/{namespace[5:-1]}"


class Queue(Protocol):
    """Where runs wait for a worker that has room. Called in database threads."""

    shared: bool
    """Whether workers of other processes take from it too."""

    def put(self, runs: Mapping[UUID, int]) -> None:
        """Bring runs, by their ids and with their priorities, to a worker; inside a transaction: when it is
        committed."""

    def unqueued(self) -> Q:
        """Tells runs that are not in the queue from those that are."""


class Worker:
    """All its methods belong to one event loop. `capacity`: runs that it executes at once; `queue`: where those come
    from that it has no more room for when it stops."""

    def __init__(self, writer: JournalWriter, hub: Hub, threads: DatabaseThreads, *, capacity: int) -> None:
        self.name = worker_name()
        self.capacity = capacity
        self.queue: Queue | None = None
        """Where the runs go on that this worker gives back; None: whoever looks for them finds them."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when the worker begins to hold runs, and when a run has left it: there may be a command for it."""
        self.on_place: Callable[[], None] = lambda: None
        """Called when a flow with a limit may have a place for another run."""
        self._writer = writer
        self._hub = hub
        self._threads = threads
        self._runs: dict[UUID, Run | None] = {}
        self._journals: dict[UUID, RunJournal] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrivals: dict[UUID, int] = {}  # priorities, in the order in which they came
        self._leaving: dict[UUID, asyncio.Future[None]] = {}
        self._taking = False
        self._next_claim = 0.0
        self._stopping = False

    @property
    def held(self) -> int:
        return len(self._runs)

    @property
    def held_ids(self) -> list[UUID]:
        return list(self._runs)

    @property
    def room(self) -> int:
        """How many more runs it can take."""
        return max(0, self._room() - len(self._arrivals))

    @property
    def stopping(self) -> bool:
        return self._stopping

    def enqueue(self, execution_id: UUID, priority: int = 0) -> None:
        """Execute a run, now or when there is room."""
        if self._stopping or self.has(execution_id):
            return
        self._arrivals[execution_id] = priority
        self._take_arrivals()

    async def execute(self, execution_id: UUID, priority: int = 0) -> None:
        """Execute a run, and return when it has left this worker, or cannot be taken by it; at once, when somebody
        waits for that already. Cancelling the wait does not touch the run."""
        if execution_id in self._leaving:
            return
        self.enqueue(execution_id, priority)
        if self.has(execution_id):
            left = self._leaving[execution_id] = asyncio.get_running_loop().create_future()
            await asyncio.shield(left)

    def has(self, execution_id: UUID) -> bool:
        return execution_id in self._runs or execution_id in self._arrivals

    def renewed(self, execution_ids: Collection[UUID], until: float) -> list[UUID]:
        """The worker holds these runs until then (of the monotonic clock). Returns those whose lease is over."""
        for execution_id in execution_ids:
            if execution_id in self._journals:
                self._journals[execution_id].hold(until)
        return [execution_id for execution_id, journal in self._journals.items() if not journal.is_held]

    def leave_lost(self, execution_ids: Collection[UUID], epochs: Mapping[UUID, int]) -> None:
        """Stop those of the runs that other workers have taken over; `epochs` are those that are stored."""
        for execution_id in execution_ids:
            journal = self._journals.get(execution_id)
            if journal is not None and journal.epoch != epochs.get(execution_id):
                journal.lose()

    def obey(self, command: Pending) -> bool:
        """Tell a run of a command; False when this worker does not hold it."""
        run = self._runs.get(command.execution_id)
        if run is not None:
            try:
                run.obey(command.kind, command.id, command.node_id, command.data)
            except Exception as error:  # noqa: BLE001 - a fault of the engine ends its run, which must not hang
                run.abort(error)
        return command.execution_id in self._runs

    async def take_canceled(self, execution_ids: Sequence[UUID]) -> None:
        """Take runs only to end them: they need not wait until there is room."""
        batch = [execution_id for execution_id in execution_ids if execution_id not in self._runs]
        if self._stopping or not batch:
            return
        for execution_id in batch:
            self._runs[execution_id] = None
        await self._claim({execution_id: self._arrivals.pop(execution_id, 0) for execution_id in batch})

    async def stop(self, grace: float) -> None:
        """Take no more; let running nodes end for `grace` seconds; give what is not ended by then back."""
        self._stopping = True
        for execution_id in list(self._arrivals):
            del self._arrivals[execution_id]
            self._left(execution_id)
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
                await self._threads.run(claims.release, self.name, None, self._give_on)
        except (DatabaseError, InterfaceError, TimeoutError) as error:
            logger.warning("worker: its runs are taken up when their leases have ended (%r)", error)
        for execution_id in list(self._leaving):
            self._left(execution_id)

    def _give_on(self, execution_ids: list[UUID]) -> None:
        if self.queue is not None and execution_ids:
            self.queue.put(priorities(execution_ids))

    # -- one run ------------------------------------------------------------------------------------------------------

    def _take_arrivals(self) -> None:
        if not self._taking and self._arrivals and self._room() > 0:
            self._taking = True
            self._spawn(self._take())

    def _room(self) -> int:
        return 0 if self._stopping else self.capacity - len(self._runs)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _take(self) -> None:
        """Claim what has arrived, as many as there is room for, in one transaction after the other."""
        try:
            while self._arrivals and self._room() > 0:
                await self._let_arrivals_pile_up()
                if (room := self._room()) <= 0:
                    break
                batch = self._next_arrivals(min(room, MAX_CLAIMS))
                if not self._runs:
                    self.on_change()
                for execution_id in batch:
                    self._runs[execution_id] = None
                await self._claim({execution_id: self._arrivals.pop(execution_id) for execution_id in batch})
        finally:
            self._taking = False

    async def _let_arrivals_pile_up(self) -> None:
        pause = self._next_claim - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)

    def _next_arrivals(self, count: int) -> list[UUID]:
        """The first of the highest priority."""
        if len(self._arrivals) <= count:
            return list(self._arrivals)
        return sorted(self._arrivals, key=lambda execution_id: -self._arrivals[execution_id])[:count]

    async def _claim(self, batch: Mapping[UUID, int]) -> None:
        """Take runs, given with their priorities."""
        retried: Mapping[UUID, int] = {}
        began = time.monotonic()
        try:
            claimed = await self._threads.run(self._claim_now, list(batch))
            took = time.monotonic() - began
            if len(batch) > 1:  # what comes one by one is claimed at once
                self._next_claim = began + took + min(LONGEST_PAUSE, (CLAIM_SHARE - 1) * took)
        except (DatabaseError, InterfaceError) as error:
            logger.error("worker: %d runs cannot be taken (%s); trying again", len(batch), error)
            await asyncio.sleep(PAUSE_AFTER_ERROR)
            retried = {} if self._stopping else batch
            self._arrivals.update(retried)
            claimed = []
        except Exception:
            logger.exception("worker: %d runs cannot be taken", len(batch))
            claimed = []
            if len(batch) > 1:
                for execution_id, priority in batch.items():  # whatever is wrong with one of them
                    await self._claim({execution_id: priority})
                return
        held = {claim.execution_id for claim in claimed}
        for execution_id in batch:
            if execution_id not in held:
                self._runs.pop(execution_id, None)
                if execution_id not in retried:
                    self._left(execution_id)
        for claim in claimed:
            self._spawn(self._execute(claim))
        if len(held) < len(batch):
            self.on_place()

    def _claim_now(self, batch: list[UUID]) -> list[Claim]:
        """In a database thread, which nobody may wait for any more when the worker has stopped meanwhile."""
        claimed = claims.claim(batch, self.name)
        if self._stopping:
            claims.release(self.name, batch, self._give_on)
            return []
        return claimed

    async def _execute(self, held: Claim) -> None:
        try:
            await self._drive(held)
        except (DatabaseError, InterfaceError) as error:
            logger.error("execution %s: left to be taken up again (%s)", held.execution_id, error)
        finally:
            self._runs.pop(held.execution_id, None)
            self._journals.pop(held.execution_id, None)
            self._hub.executing(held.execution_id, here=False)
            self._left(held.execution_id)
            self._take_arrivals()
            self.on_change()
            if held.limited:
                self.on_place()

    def _left(self, execution_id: UUID) -> None:
        left = self._leaving.pop(execution_id, None)
        if left is not None and not left.done():
            left.set_result(None)

    async def _drive(self, held: Claim) -> None:
        """Bring the run to its end, to a pause or to a hand-over, whatever goes wrong."""
        started = time.monotonic()
        try:
            with tracing.stretch(held):
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
            if outcome in (Outcome.PAUSED, Outcome.WAITING):
                await self._threads.run(claims.park, held.execution_id, held.epoch, run.newest_command)

    def _begin(self, held: Claim) -> Run:
        settings = execution_settings()
        journal = self._writer.open(held.execution_id, held.epoch, held.head.seq)
        journal.hold(held.held_until)
        self._journals[held.execution_id] = journal
        limits = RunLimits(
            output_bytes=settings.max_output_bytes,
            progress_interval=settings.progress_interval,
            park_after=settings.park_after,
        )
        run = Run(held.plan, held.head, journal, clock, restored=held.restored, limits=limits)
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
