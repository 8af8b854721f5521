"""What the jobs do. `manage.py run_worker` executes them; a worker of Procrastinate's own does not know them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from procrastinate import Blueprint, JobContext

from executions.queue.jobs import QUEUE, TASK

if TYPE_CHECKING:
    from executions.queue.consumer import Consumer

CONSUMER = "consumer"
"""The key of the consumer in the context of its jobs."""

tasks = Blueprint()


@tasks.task(name=TASK, queue=QUEUE, pass_context=True)
async def execute(context: JobContext, execution_id: str) -> None:
    """Execute a run until it has ended, is paused, waits, or is given back."""
    await _consumer(context).execute(UUID(execution_id), context.job.priority)


@tasks.periodic(cron="13 * * * *")
@tasks.task(name="executions.prune", queue=QUEUE, queueing_lock="executions.prune", pass_context=True)
async def prune(context: JobContext, timestamp: int) -> None:
    """Delete old runs, every hour."""
    await _consumer(context).prune()


def _consumer(context: JobContext) -> Consumer:
    consumer: Consumer = context.additional_context[CONSUMER]
    return consumer
