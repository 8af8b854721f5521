"""Who executes the runs that are measured: a worker in this process, or worker processes fed by Procrastinate."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from benchmarks.world import user
from executions import dispatch, runtime
from executions.journal.statements import RUNS, Statements, plain_cursor
from executions.models import Mode, Process
from executions.statuses import RUN_ENDED
from flows.models import Flow

READY_SECONDS = 30.0
WAIT_SECONDS = 120.0
LOOK_SECONDS = 0.003
"""Between two looks whether the runs have ended: each takes time from what is timed."""


@contextmanager
def embedded() -> Iterator[None]:
    runtime.use(runtime.EmbeddedExecutor(recover=False))
    try:
        yield
    finally:
        runtime.shutdown()


@contextmanager
def workers(count: int) -> Iterator[None]:
    """So many processes of `manage.py run_worker`, ready to take runs; stopped at the end."""
    runtime.use(None)
    command = [sys.executable, "manage.py", "run_worker", "--skip-checks"]
    processes = [subprocess.Popen(command, env=os.environ) for _ in range(count)]
    try:
        deadline = time.monotonic() + READY_SECONDS
        while Process.objects.filter(role=Process.Role.WORKER).count() < count:
            if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
                raise RuntimeError("The workers did not start.")
            time.sleep(0.1)
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


def run_at_once(flow: Flow, count: int) -> tuple[float, list[UUID]]:
    """Seconds from the commit that makes all these runs to the end of the last one."""
    requester = user()
    with transaction.atomic():
        ids = [
            dispatch.start_execution(flow, input_data={"number": 1}, requester=requester, mode=Mode.API).id
            for _ in range(count)
        ]
        began = time.perf_counter()
    wait_for(ids)
    return time.perf_counter() - began, ids


def wait_for(ids: Sequence[UUID]) -> None:
    """Until all have ended. The last one first, and by a bare statement: what looks takes time from what is timed."""
    deadline = time.monotonic() + WAIT_SECONDS
    statements = Statements(connection)
    with plain_cursor(connection) as cursor:
        for execution_id in reversed(ids):
            while _status(cursor, statements.key(execution_id)) not in RUN_ENDED:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"Execution {execution_id} did not end within {WAIT_SECONDS:g} s.")
                time.sleep(LOOK_SECONDS)


def _status(cursor: Any, key: Any) -> str:
    cursor.execute(f"SELECT status FROM {RUNS} WHERE id = %s", [key])
    status: str = cursor.fetchone()[0]
    return status
