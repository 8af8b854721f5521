"""The jobs: made in the transaction that makes their run, and cleaned up when their worker could not."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, Q, TextField
from django.db.models.functions import Cast
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import JobDeferrer

from executions.journal.transactions import write_transaction
from executions.statuses import RUN_NEEDS_WORKER

QUEUE = "executions"
TASK = "executions.execute"

LATELY = timedelta(seconds=5)
"""A worker has so long to note the end of a job whose run has left it."""

logger = logging.getLogger(__name__)


class JobQueue:
    """The executor of a web process and the queue of the workers: a run waits as a job, at most one at a time (the
    job's queueing lock is the run's id)."""

    shared = True

    def enqueue(self, execution_id: UUID, priority: int = 0) -> None:
        """Make the run's job; it is there when the transaction around is committed, and gone when that is not."""
        _deferrer(execution_id, priority).defer(execution_id=str(execution_id))

    def put(self, runs: Mapping[UUID, int]) -> None:
        """Make jobs for those of the runs that have none waiting; one that waits comes earlier, if this is to."""
        known = [str(execution_id) for execution_id in runs]
        waiting = ProcrastinateJob._default_manager.filter(status="todo", queueing_lock__in=known)
        there = dict(waiting.values_list("queueing_lock", "priority"))
        for execution_id, priority in runs.items():
            waits_with = there.get(str(execution_id))
            if waits_with is not None:
                if waits_with < priority:
                    _raise_priority(execution_id, priority)
                continue
            try:
                with write_transaction():  # a savepoint: another worker may put the same run at this moment
                    self.enqueue(execution_id, priority)
            except AlreadyEnqueued:
                continue

    def unqueued(self) -> Q:
        lock = Cast(OuterRef("id"), TextField())
        return ~Q(Exists(ProcrastinateJob._default_manager.filter(status="todo", queueing_lock=lock)))

    def nudge(self) -> None:
        """Workers look for commands by themselves."""

    def stop(self) -> None:
        """Nothing runs here."""


def _deferrer(execution_id: UUID, priority: int) -> JobDeferrer:
    return app.configure_task(name=TASK, queue=QUEUE, queueing_lock=str(execution_id), priority=priority)


def _raise_priority(execution_id: UUID, priority: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE procrastinate_jobs SET priority = %s"
            " WHERE status = 'todo' AND queueing_lock = %s AND priority < %s",
            [priority, str(execution_id), priority],
        )


def drop_stale_jobs(stalled: float) -> int:
    """Delete the jobs that their workers left behind, because they are gone (no sign of them for `stalled` seconds) or
    could not note the end. What their runs need is seen from the runs themselves, so nothing is lost with a job."""
    executed = [status.value for status in RUN_NEEDS_WORKER]
    values: dict[str, Any] = {"queue": QUEUE, "task": TASK, "executed": executed, "lately": LATELY}
    with connection.cursor() as cursor:
        cursor.execute("SELECT procrastinate_prune_stalled_workers_v1(%s)", [stalled])
        cursor.execute(
            """
            DELETE FROM procrastinate_jobs job
            WHERE job.status = 'doing' AND job.queue_name = %(queue)s
              AND (job.worker_id IS NULL OR job.task_name = %(task)s AND NOT EXISTS (
                SELECT 1 FROM executions_execution run
                WHERE run.id = (job.args->>'execution_id')::uuid
                  AND (run.status = ANY(%(executed)s) OR run.finished_at > now() - %(lately)s)))
              AND NOT EXISTS (
                SELECT 1 FROM procrastinate_events event
                WHERE event.job_id = job.id AND event.type = 'started' AND event.at > now() - %(lately)s)
            """,
            values,
        )
        dropped: int = cursor.rowcount
    if dropped:
        logger.info("queue: %d jobs deleted whose workers are gone", dropped)
    return dropped
