"""The threads in which the sync code of requests runs: a bounded pool, and none that a stream keeps.

Django gives each request a thread of its own for its sync code (middleware, sessions, the ORM), and asgiref keeps it
until the response has ended: a thread for each open stream. Here a request borrows a thread from a pool instead. It
has it for itself until its response starts, because connections to the database, their transactions and cursors
belong to a thread; an event stream borrows one for each single call from then on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext

P = ParamSpec("P")
T = TypeVar("T")
Job = Callable[[], None]


class RequestThreads:
    """A pool of at most `size` threads, which are started when they are first needed.

    `after_use` runs in a thread whenever a request gives it back; it must not raise.
    """

    def __init__(self, size: int, after_use: Job) -> None:
        self.lock = threading.Lock()
        self._size = size
        self._after_use = after_use
        self._started = 0
        self._idle: list[_Worker] = []
        self._waiting: deque[RequestExecutor] = deque()

    def enter(self) -> RequestExecutor:
        """Make the current task's sync code, and that of the tasks it starts, run in this pool.

        The caller calls `finish` on the executor that it gets when the request has ended.
        """
        executor = RequestExecutor(self)
        context = ThreadSensitiveContext()
        # A context that is there already makes the one that Django opens an empty gesture.
        SyncToAsync.thread_sensitive_context.set(context)
        SyncToAsync.context_to_thread_executor[context] = executor
        return executor

    def take(self, executor: RequestExecutor) -> _Worker | None:
        """Return a free thread; None when there is none, and `executor.assign` is called later. Needs the lock."""
        if self._idle:
            return self._idle.pop()
        if self._started < self._size:
            self._started += 1
            return _Worker(f"request-{self._started}")
        self._waiting.append(executor)
        return None

    def give_back(self, worker: _Worker) -> None:
        """Hand a thread to who has waited longest, or keep it for the next. Needs the lock."""
        worker.put(self._after_use)
        if self._waiting:
            self._waiting.popleft().assign(worker)
        else:
            self._idle.append(worker)


class RequestExecutor(Executor):
    """Runs the sync code of one request, one call at a time, in a thread that it borrows for the first of them."""

    def __init__(self, threads: RequestThreads) -> None:
        self._threads = threads
        self._worker: _Worker | None = None
        self._backlog: deque[Job] = deque()
        self._open_calls = 0
        self._keeps = True

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()

        def job() -> None:
            _settle(future, lambda: fn(*args, **kwargs), self._call_ended)

        with self._threads.lock:
            self._open_calls += 1
            if self._worker is None and not self._backlog:
                self._worker = self._threads.take(self)
            if self._worker is None:
                self._backlog.append(job)
            else:
                self._worker.put(job)
        return future

    def assign(self, worker: _Worker) -> None:
        """Get the thread that was waited for. Needs the lock."""
        self._worker = worker
        while self._backlog:
            worker.put(self._backlog.popleft())

    def release(self) -> None:
        """Give the thread back if no call needs it now; the next call borrows one again, perhaps another."""
        with self._threads.lock:
            if self._worker is not None and self._open_calls == 0:
                worker, self._worker = self._worker, None
                self._threads.give_back(worker)

    def finish(self) -> None:
        """Give the thread back, and from now on after each call.

        Not only for streams: a task that outlives its request may still call sync code.
        """
        self._keeps = False
        self.release()

    def _call_ended(self) -> None:
        with self._threads.lock:
            self._open_calls -= 1
        if not self._keeps:
            self.release()


class _Worker:
    """One thread of the pool. A daemon: a slow view must not keep the process from ending."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self.put = self._jobs.put
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        while True:
            self._jobs.get()()


def _settle(future: Future[T], call: Callable[[], T], ended: Job) -> None:
    """Give `future` the outcome of `call`, unless it was cancelled, after telling `ended`.

    In this order, so that who waits for the future finds the thread free again.
    """
    if not future.set_running_or_notify_cancel():
        ended()
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 -- whoever waits for the future gets it, whatever it is
        ended()
        future.set_exception(error)
    else:
        ended()
        future.set_result(result)
