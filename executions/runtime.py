"""What runs in this process: the journal's writer, the hub, and the executor that the settings name."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any, Protocol
from uuid import UUID

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models import Q

from executions import processes, tracing
from executions.announcer import Announcer
from executions.caretaker import Caretaker
from executions.conf import execution_settings
from executions.database_threads import DatabaseThreads, NodeThreads
from executions.engine.ports import Entry
from executions.hub import hub
from executions.journal.commit_times import percentile
from executions.journal.reader import reader_pool
from executions.journal.writer import JournalWriter, RunJournal
from executions.processes import Figures
from executions.worker import Worker, worker_name

logger = logging.getLogger(__name__)


class Executor(Protocol):
    """Where runs are executed."""

    def enqueue(self, execution_id: UUID, priority: int = 0) -> None:
        """Bring a run to a worker when the transaction that makes it is committed. From any thread, inside of it."""

    def nudge(self) -> None:
        """Say that a command was written. From any thread, behind its commit."""

    def stop(self) -> None: ...


class EmbeddedExecutor:
    """A worker in this process, on an event loop in a thread of its own: pages stay quick while nodes compute. It is
    the worker's queue as well."""

    shared = False

    def __init__(self, *, recover: bool) -> None:
        self._threads = DatabaseThreads("worker", 2)
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(NodeThreads())
        self._thread = threading.Thread(target=self._serve, name="executor", daemon=True)
        self._started = threading.Event()
        self._recover = recover
        self._thread.start()
        self._started.wait()

    def enqueue(self, execution_id: UUID, priority: int = 0) -> None:
        transaction.on_commit(lambda: self._call(self._enqueue, execution_id, priority))

    def _enqueue(self, execution_id: UUID, priority: int) -> None:
        self._caretaker.brought(execution_id)
        self._worker.enqueue(execution_id, priority)

    def put(self, runs: Mapping[UUID, int]) -> None:
        for execution_id, priority in runs.items():
            self.enqueue(execution_id, priority)

    def unqueued(self) -> Q:
        return Q()  # what waits here the worker knows

    def nudge(self) -> None:
        self._call(self._caretaker.nudge)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def worker(self) -> Worker:
        return self._worker

    def _call(self, function: Callable[..., object], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # It was stopped meanwhile. What was asked for is in the database, and found there by who comes next.
            logger.info("executor: stopped; what came in is left to the next one")

    def stop(self) -> None:
        """Hand over what is held, write all that was emitted, and end the thread; bounded by the settings' grace."""
        if not self._thread.is_alive():
            return
        grace = execution_settings().shutdown_grace
        stopping = asyncio.run_coroutine_threadsafe(self._worker.stop(grace), self._loop)
        try:
            stopping.result(grace + 2)
        except TimeoutError:
            logger.error("executor: a node holds the loop; its run is taken up when its lease has ended")
            stopping.cancel()
        self._call(self._serving.cancel)
        self._thread.join(1)
        self._threads.close()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._work())
        except asyncio.CancelledError:
            pass
        finally:
            self._loop.close()

    async def _work(self) -> None:
        capacity = execution_settings().max_concurrent_runs
        self._worker = Worker(writer, hub, self._threads, capacity=capacity)
        self._caretaker = Caretaker(self._worker, self, self._threads, recover=self._recover, prune=True)
        self._serving = asyncio.ensure_future(self._caretaker.run())
        self._started.set()
        await self._serving


announcer = Announcer(hub.hint)
hub.on_watch = announcer.watch


def _publish(run: RunJournal, entries: Sequence[Entry]) -> None:
    hub.publish(run.execution_id, entries)
    announcer.announce(run.execution_id, entries[-1].seq)
    tracing.observe(run.execution_id, run.epoch, entries)


writer = JournalWriter(_publish)

# `atexit` comes behind the end of the pools' threads, which is too late; but it is public.
getattr(threading, "_register_atexit", atexit.register)(writer.fall_silent)

_executor: Executor | None = None
_guard = threading.Lock()


def executor(*, recover: bool = False) -> Executor:
    """The executor of this process, started at its first use. `recover`: it also takes up the runs of dead workers."""
    global _executor  # noqa: PLW0603 - one for each process
    with _guard:
        if _executor is None:
            _executor = _make(recover)
        return _executor


def _make(recover: bool) -> Executor:
    if execution_settings().executor == "embedded":
        return EmbeddedExecutor(recover=recover)
    if not apps.is_installed("procrastinate.contrib.django"):
        raise ImproperlyConfigured(
            "WATAOMI_EXECUTOR is procrastinate, whose queue is in PostgreSQL, and there is none: see `manage.py check`."
        )
    from executions.queue.jobs import JobQueue  # its models are there only where it is used

    return JobQueue()


def use(other: Executor | None) -> None:
    """Execute runs somewhere else from now on; for tests and measurements."""
    global _executor  # noqa: PLW0603 - one for each process
    with _guard:
        _executor = other


def is_executor_dead() -> bool:
    """Whether this process should execute runs and does not any more."""
    return isinstance(_executor, EmbeddedExecutor) and not _executor.alive


def figures(worker: Worker | None = None) -> Figures:
    """What this process does at the moment. `worker`: who executes runs here, where the executor does not."""
    if worker is None and isinstance(_executor, EmbeddedExecutor) and _executor.alive:
        worker = _executor.worker
    times = writer.times.newest(within=60)
    p50, p99 = percentile(times, 0.5), percentile(times, 0.99)
    return Figures(
        name=_process_name() if worker is None else worker.name,
        executes=worker is not None,
        capacity=0 if worker is None else worker.capacity,
        held=0 if worker is None else worker.held,
        readers=hub.readers,
        backlog=writer.backlog,
        commits=writer.commits,
        commit_p50_ms=None if p50 is None else p50 * 1000,
        commit_p99_ms=None if p99 is None else p99 * 1000,
    )


_process_name = cache(worker_name)


def shutdown() -> None:
    """End all that runs in this process, in order: runs, what they wrote, readers. Used again, it starts anew.

    Raises TimeoutError when what was emitted could not be written in time.
    """
    global _executor
    with _guard:
        ending, _executor = _executor, None
    with ExitStack() as steps:  # all are taken, last one first, also when one of them raises
        for step in (processes.end, reader_pool.close, hub.close, announcer.close, writer.close):
            steps.callback(step)
        if ending is not None:
            steps.callback(ending.stop)
