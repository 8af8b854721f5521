"""The writer of a process: one thread, group commit. What piled up while one commit was in flight makes the next."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection

from executions.engine.ports import Entry, JournalLost, JournalRefused
from executions.journal.batch import Database, RunWrite, weight
from executions.journal.commit_times import CommitTimes
from executions.journal.statements import SqliteDatabase

logger = logging.getLogger(__name__)

MAX_BACKLOG = 5_000
"""Entries that wait to be written; behind that many, runs wait too."""

MAX_BATCH = 5_000
"""Entries in one transaction."""

MAX_BATCH_BYTES = 32 * 1024 * 1024
"""What a transaction carries before it takes no further entries: those of many runs with long outputs are more than the
database takes in one statement."""

RETRY_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Waits between tries while the database is away; the last one repeats."""

Published = Callable[["RunJournal", Sequence[Entry]], None]


class RunJournal:
    """What one run writes; it belongs to the event loop that opened it."""

    def __init__(self, writer: JournalWriter, execution_id: UUID, epoch: int, seq: int) -> None:
        self.execution_id = execution_id
        self.epoch = epoch
        self.durable = seq
        self.loop = asyncio.get_running_loop()
        self.fault: JournalLost | JournalRefused | None = None
        self.on_fault: Callable[[JournalLost | JournalRefused], None] = lambda fault: None
        self._writer = writer
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._held_until = math.inf
        self._renewed = asyncio.Event()

    def hold(self, until: float) -> None:
        """The worker holds the run until then (of the monotonic clock, which runs on while a process is frozen). On the
        run's loop."""
        self._held_until = until
        self._wake_held()

    def lose(self) -> None:
        """The worker has lost the run. On the run's loop."""
        self.fault = self.fault or _lost(self)
        self.settle()

    @property
    def is_held(self) -> bool:
        """Whether the lease is not over."""
        return time.monotonic() < self._held_until

    async def held(self) -> None:
        while self.fault is None and not self.is_held:
            await self._renewed.wait()
        if self.fault is not None:
            raise self.fault

    def _wake_held(self) -> None:
        self._renewed.set()
        self._renewed = asyncio.Event()

    def append(self, entries: Sequence[Entry]) -> None:
        if self.fault is None:
            self._writer.take(self, entries)

    async def committed(self, seq: int) -> None:
        if self.fault is not None:
            raise self.fault
        if self.durable < seq:
            waiter = self.loop.create_future()
            self._waiters.append((seq, waiter))
            await waiter

    async def ready(self) -> None:
        if self.fault is not None:
            raise self.fault
        while self._writer.backlog > MAX_BACKLOG:
            # All that this run has emitted may be written already: the backlog is then that of others.
            await self._writer.shrunk(self.loop)

    def settle(self) -> None:
        """Wake who waits for what is durable by now. On the run's loop."""
        if self.fault is not None:
            self._wake_held()
            waiters, self._waiters = self._waiters, []
            for _, waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(self.fault)
            self.on_fault(self.fault)
            return
        later = []
        for seq, waiter in self._waiters:
            if seq > self.durable:
                later.append((seq, waiter))
            elif not waiter.done():
                waiter.set_result(None)
        self._waiters = later


def _lost(run: RunJournal) -> JournalLost:
    return JournalLost(f"Execution {run.execution_id} is no longer held at epoch {run.epoch}.")


Group = tuple[RunJournal, Sequence[Entry]]


def open_database() -> Database:
    """Where this thread writes."""
    if connection.vendor == "sqlite":
        return SqliteDatabase(connection)
    from executions.journal.postgres import PostgresDatabase  # 13 MB that a process on SQLite does without

    return PostgresDatabase(connection)


class JournalWriter:
    """Takes entries from any event loop and commits them in its own thread.

    `publish` is called in that thread behind each commit, for each run, before anyone is told that it is durable.
    """

    def __init__(self, publish: Published) -> None:
        self.commits = 0
        self.times = CommitTimes()
        self._oldest = 0.0  # when the first entry of the queue came, of the monotonic clock
        self._taken = 0
        self._written = 0
        self._publish = publish
        self._queue: deque[Group] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._silent = False
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        self._shrink_waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    @property
    def backlog(self) -> int:
        """Entries that are taken and not yet written."""
        return self._taken - self._written

    @property
    def written(self) -> int:
        """Entries that are dealt with, since the process started."""
        return self._written

    def open(self, execution_id: UUID, epoch: int, seq: int) -> RunJournal:
        """The journal of a run that this process holds at `epoch`, and that stands at `seq`. On the run's loop."""
        with self._guard:
            # Never two of them: the second would write what came later before the first has written what came earlier.
            if self._thread is None or not self._thread.is_alive():
                self._stopping = False
                self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
                self._thread.start()
        return RunJournal(self, execution_id, epoch, seq)

    def fall_silent(self) -> None:
        """Take nothing more. The process ends: pools of threads are closed while nodes still run, and what fails for
        that is not to be recorded as their error."""
        self._silent = True

    def take(self, run: RunJournal, entries: Sequence[Entry]) -> None:
        if self._silent:
            return
        with self._guard:
            self._taken += len(entries)
            if not self._queue:
                self._oldest = time.monotonic()
            self._queue.append((run, entries))
        if not self._wake.is_set():
            self._wake.set()

    async def shrunk(self, loop: asyncio.AbstractEventLoop) -> None:
        """Return behind the next commit."""
        waiter = loop.create_future()
        with self._guard:
            self._shrink_waiters.append((loop, waiter))
        self._wake.set()
        await waiter

    def close(self, timeout: float = 5.0) -> None:
        """Write what is there and end the thread. Raises TimeoutError when that takes longer than `timeout` seconds."""
        thread = self._thread
        if thread is None:
            return
        self._stopping = True
        self._wake.set()
        thread.join(timeout)
        if thread.is_alive():  # it is still the one writer: what is opened from now on goes through it
            raise TimeoutError(f"The journal could not be written within {timeout:g} s.")

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        self._database = open_database()
        try:
            while True:
                self._wake.wait()
                self._wake.clear()
                while batch := self._next_batch():
                    oldest = self._oldest
                    self._write(batch)
                    self.times.add(time.monotonic() - oldest)
                    self._written += sum(len(entries) for _, entries in batch)
                    self._tell(batch)
                self._tell([])
                if self._stopping:
                    return
        finally:
            self._database.close()
            connection.close()

    def _next_batch(self) -> list[Group]:
        batch: list[Group] = []
        size = load = 0
        while self._queue and size < MAX_BATCH and load < MAX_BATCH_BYTES:
            group = self._queue.popleft()
            batch.append(group)
            size += len(group[1])
            load += sum(map(weight, group[1]))
        return batch

    def _write(self, batch: list[Group]) -> None:
        """Commit `batch`, however long the database is away; what it refuses of one run does not touch the others."""
        tries = 0
        while True:
            try:
                self._commit(batch)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, no run may wait for ever
                if not _is_away(error):
                    self._isolate(batch, error)
                    return
                pause = RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)]
                tries += 1
                logger.error("journal: the database is not there (%s); next try in %g s", error, pause)
                self._database.close()
                if self._stopping and tries > 2:
                    self._refuse(batch, JournalRefused(str(error)))
                    return
                time.sleep(pause)

    def _isolate(self, batch: list[Group], error: Exception) -> None:
        runs = {group[0] for group in batch}
        if len(runs) == 1:
            run = runs.pop()
            logger.error("execution %s: the database refused its journal", run.execution_id, exc_info=error)
            self._refuse(batch, JournalRefused(str(error)))
            return
        for run in runs:
            self._write([group for group in batch if group[0] is run])

    def _refuse(self, batch: list[Group], fault: JournalRefused) -> None:
        for run, _ in batch:
            run.fault = run.fault or fault

    def _commit(self, batch: list[Group]) -> None:
        by_run: dict[RunJournal, list[Entry]] = {}
        for run, entries in batch:
            if run.fault is None:
                by_run.setdefault(run, []).extend(entries)
        writes = {run: RunWrite(run.execution_id, run.epoch, run.durable, entries) for run, entries in by_run.items()}
        lost = self._database.commit(list(writes.values())) if writes else []
        self.commits += 1
        self._committed(by_run, [run for run, write in writes.items() if write in lost])

    def _committed(self, by_run: dict[RunJournal, list[Entry]], lost: list[RunJournal]) -> None:
        for run, entries in by_run.items():
            if run in lost:
                run.fault = _lost(run)
                logger.warning("%s", run.fault)
                continue
            run.durable = entries[-1].seq
            try:
                self._publish(run, entries)
            except Exception:
                # Readers find in the journal what they were not told of; what is committed stays committed.
                logger.exception("execution %s: its readers were not told of a commit", run.execution_id)

    def _tell(self, batch: list[Group]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, set[RunJournal]] = {}
        for run, _ in batch:
            by_loop.setdefault(run.loop, set()).add(run)
        with self._guard:
            shrunk, self._shrink_waiters = self._shrink_waiters, []
        for loop, runs in by_loop.items():
            _call(loop, _settle_all, list(runs))
        for loop, waiter in shrunk:
            _call(loop, _set, waiter)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], argument: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, argument)
    except RuntimeError:
        # The loop is closed: its runs are gone, and what they wrote is durable all the same.
        logger.debug("journal: a loop was closed before it was told of a commit")


def _settle_all(runs: list[RunJournal]) -> None:
    for run in runs:
        run.settle()


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


PROGRAM_LIMIT_EXCEEDED = "54"
READ_ONLY_TRANSACTION = "25006"


def _is_away(error: Exception) -> bool:
    """Whether the same may be tried again later: the database is not there, and not that it refuses what it got.

    PostgreSQL's codes of errors say more than their classes (PostgreSQL's documentation, appendix A): what is too large
    stays so, and a standby that takes no writes will be replaced.
    """
    code = getattr(error.__cause__, "sqlstate", None) or ""
    if isinstance(error, OperationalError | InterfaceError):
        return not code.startswith(PROGRAM_LIMIT_EXCEEDED)
    return bool(code == READ_ONLY_TRANSACTION)
