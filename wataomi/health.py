"""`/healthz`: says whether this process can do its work, and if not, what is in the way."""

from __future__ import annotations

import asyncio
import logging

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

from executions import runtime

logger = logging.getLogger(__name__)

TIMEOUT = 5.0
"""Seconds until a database that does not answer counts as down."""


@never_cache
async def healthz(request: HttpRequest) -> JsonResponse:
    """200 `{"status": "ok"}`, or 503 with what is wrong under the name of the part that fails."""
    problems = {"database": await _database_problem(), "executor": _executor_problem()}
    checks = {part: problem or "ok" for part, problem in problems.items()}
    for problem in filter(None, problems.values()):
        logger.error("health check: %s", problem)
    if any(problems.values()):
        return JsonResponse({"status": "error", "checks": checks}, status=503)
    return JsonResponse({"status": "ok", "checks": checks})


def _executor_problem() -> str | None:
    if runtime.is_executor_dead():
        return "The thread that executes runs has ended; the log says why. Restart the process."
    return None


async def _database_problem() -> str | None:
    try:
        # A thread of its own: one that other requests share may be the one that waits.
        await asyncio.wait_for(sync_to_async(_read_one_row, thread_sensitive=False)(), TIMEOUT)
    except TimeoutError:
        return f"The database did not answer within {TIMEOUT:g} s."
    except DatabaseError as error:
        return (
            f"The database cannot be read ({type(error).__name__}: {error}). Is it up, and is `manage.py migrate` done?"
        )
    return None


def _read_one_row() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM executions_execution LIMIT 1")
            cursor.fetchone()
    finally:
        connection.close()
