"""A worker process: takes runs from the queue and executes them, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterable
from types import FrameType

from executions import processes, runtime
from executions.caretaker import Caretaker
from executions.conf import execution_settings
from executions.database_threads import DatabaseThreads, NodeThreads
from executions.hub import hub
from executions.last_resort import LastResort
from executions.models import Process
from executions.queue.consumer import Consumer
from executions.queue.jobs import JobQueue
from executions.worker import Worker

logger = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class WorkerProcess:
    """What runs in the process of `manage.py run_worker`, on one event loop. `concurrency`: runs at once."""

    def __init__(self, concurrency: int) -> None:
        self._threads = DatabaseThreads("worker", 4)
        self._queue = JobQueue()
        self.worker = Worker(runtime.writer, hub, self._threads, capacity=concurrency)
        self.worker.queue = self._queue
        self._caretaker = Caretaker(self.worker, self._queue, self._threads, recover=True)
        self._consumer = Consumer(self.worker, self._queue, self._threads)
        self._last_resort = LastResort(execution_settings().shutdown_grace)

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT; then give back what is held, within the settings' grace."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(NodeThreads())
        told = asyncio.Event()
        self._tell_on_signals(loop, told)
        logger.info("worker %s: started, %d runs at once", self.worker.name, self.worker.capacity)
        processes.begin(Process.Role.WORKER, lambda: runtime.figures(self.worker))
        jobs = [asyncio.ensure_future(job) for job in (self._caretaker.run(), self._consumer.run())]
        ended = asyncio.ensure_future(told.wait())
        try:
            await asyncio.wait([ended, *jobs], return_when=asyncio.FIRST_COMPLETED)
            _raise_first(jobs)
        finally:
            ended.cancel()
            await self._stop(jobs)

    def _tell_on_signals(self, loop: asyncio.AbstractEventLoop, told: asyncio.Event) -> None:
        """Not by handlers of the loop's own: a node that blocks it would keep them from being called."""

        def tell(number: int, frame: FrameType | None) -> None:
            self._last_resort.told()
            try:
                loop.call_soon_threadsafe(told.set)
            except RuntimeError:
                pass  # the loop is closed: the process is ending

        for number in STOP_SIGNALS:
            signal.signal(number, tell)

    async def _stop(self, jobs: Iterable[asyncio.Future[None]]) -> None:
        held = self.worker.held
        consumer_ends = asyncio.ensure_future(self._consumer.stop())
        await self.worker.stop(execution_settings().shutdown_grace)
        await consumer_ends
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        self._threads.close()
        await asyncio.to_thread(runtime.shutdown)
        logger.info("worker %s: stopped; %d runs were given back or ended", self.worker.name, held)
        self._last_resort.stopped()


def _raise_first(jobs: Iterable[asyncio.Future[None]]) -> None:
    for job in jobs:
        if job.done() and not job.cancelled() and (fault := job.exception()) is not None:
            raise fault
