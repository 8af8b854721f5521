"""Feeds a worker with the jobs of the queue."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import procrastinate
from django.db import DatabaseError, InterfaceError
from procrastinate.contrib.django.utils import connector_params
from procrastinate.exceptions import ProcrastinateException
from procrastinate.jobs import Job
from procrastinate.psycopg_connector import PsycopgConnector
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from executions.conf import execution_settings
from executions.database_threads import DatabaseThreads
from executions.journal.transactions import write_transaction
from executions.queue.batches import BatchingJobManager, reason_of
from executions.queue.jobs import QUEUE, TASK, JobQueue, drop_stale_jobs
from executions.queue.tasks import CONSUMER, tasks
from executions.retention import prune_by_settings
from executions.worker import Worker

logger = logging.getLogger(__name__)

CONNECTIONS = 4
"""Of Procrastinate's own pool, beside the one that listens."""

PAUSES = (0.2, 0.5, 1.0, 2.0)
"""Seconds until the queue is tried again when it cannot be reached; the last one repeats."""

HEARTBEAT = 5.0
STALLED = 30.0
"""Seconds after which a consumer that gives no sign counts as gone, and its jobs are deleted."""

ENDS_WITHIN = 1.0
"""Seconds that jobs get to be noted as done when the consumer stops; their runs have left by then."""


class Consumer:
    """Fetches jobs while the worker has room, and goes on doing so whatever becomes of the database."""

    def __init__(self, worker: Worker, queue: JobQueue, threads: DatabaseThreads) -> None:
        self._worker = worker
        self._queue = queue
        self._threads = threads
        self._consuming: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Consume until cancelled."""
        self._consuming = asyncio.ensure_future(self._consume())
        await asyncio.gather(self._consuming, self._clean_up())

    async def stop(self) -> None:
        """Fetch no more, and return when the jobs whose runs have left are noted as done."""
        if self._consuming is not None:
            self._consuming.cancel()
            await asyncio.wait([self._consuming], timeout=2 * ENDS_WITHIN)

    async def execute(self, execution_id: UUID, priority: int) -> None:
        """What a job does: wait until its run has left the worker."""
        await self._worker.execute(execution_id, priority)
        if self._worker.stopping:
            await self._threads.run(self._give_on, {execution_id: priority})

    async def prune(self) -> None:
        await self._threads.run(prune_by_settings, lambda: self._worker.stopping)

    async def _give_on_unused(self, jobs: Sequence[Job]) -> None:
        """What was fetched ahead goes to another worker; if that cannot be said, its runs are found forgotten."""
        runs = {UUID(str(job.task_kwargs["execution_id"])): job.priority for job in jobs if job.task_name == TASK}
        if runs:
            with contextlib.suppress(DatabaseError, InterfaceError):
                # In the order of ids, as whoever puts runs into the queue does: see `due.priorities`.
                await self._threads.run(self._give_on, dict(sorted(runs.items())))

    def _give_on(self, runs: Mapping[UUID, int]) -> None:
        """Runs whose jobs were fetched while the worker stopped go to another one."""
        with write_transaction():
            self._queue.put(runs)

    async def _consume(self) -> None:
        failures = 0
        while not self._worker.stopping:
            began = asyncio.get_running_loop().time()
            try:
                await self._consume_once()
                if not self._worker.stopping:
                    logger.warning("queue: the connection was lost; beginning anew")
            except (ProcrastinateException, PoolTimeout, OSError) as error:
                logger.warning("queue: cannot be reached (%s); trying again", reason_of(error))
            except Exception:
                logger.exception("queue: the consumer broke off; trying again")
            failures = 1 if asyncio.get_running_loop().time() - began > 10 else failures + 1
            await asyncio.sleep(PAUSES[min(failures, len(PAUSES)) - 1])

    async def _consume_once(self) -> None:
        connector = PsycopgConnector(
            pool_factory=_make_pool,
            kwargs=connector_params(),
            configure=_commit_each_statement,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=5.0,
            name="queue",
        )
        app = procrastinate.App(connector=connector)
        worker = self._worker
        app.job_manager = jobs = BatchingJobManager(
            connector, capacity=worker.capacity, room=lambda: worker.room, stopping=lambda: worker.stopping
        )
        app.add_tasks_from(tasks, namespace="")
        try:
            async with app.open_async():
                await self._work(app)
        finally:
            await self._give_on_unused(jobs.unused)

    async def _work(self, app: procrastinate.App) -> None:
        await app.run_worker_async(
            name=self._worker.name,
            queues=[QUEUE],
            concurrency=self._worker.capacity,
            fetch_job_polling_interval=1.0,
            shutdown_graceful_timeout=ENDS_WITHIN,
            delete_jobs="always",
            additional_context={CONSUMER: self},
            install_signal_handlers=False,
            update_heartbeat_interval=HEARTBEAT,
            stalled_worker_timeout=STALLED,
            task_middleware=[],  # the tasks use the database in threads of this process, and look after these
        )

    async def _clean_up(self) -> None:
        while True:
            await asyncio.sleep(execution_settings().lease / 2)
            try:
                await self._threads.run(drop_stale_jobs, STALLED)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("queue: stale jobs cannot be deleted (%s); trying again", error)


# Fetching a job, and noting its end, are one statement each. A pool that asks before each use whether its connection
# lives, and begins and commits a transaction around it, makes four round trips of one.


def _make_pool(**options: Any) -> AsyncConnectionPool:
    """Connections are not checked before their use: one that has died shows in the statement, and the consumer begins
    anew."""
    return AsyncConnectionPool(**{**options, "check": None})


async def _commit_each_statement(connection: AsyncConnection) -> None:
    await connection.set_autocommit(True)
