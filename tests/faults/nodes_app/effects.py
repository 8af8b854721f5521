"""The table in which a node with an effect leaves its traces, each with a commit of its own."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from django.conf import settings

TABLE = """
CREATE TABLE effects (
    id uuid PRIMARY KEY,
    execution_id uuid NOT NULL,
    node_id text NOT NULL,
    attempt int NOT NULL,
    idempotency_key text NOT NULL,
    pid int NOT NULL,
    begun_at double precision NOT NULL,
    finished_at double precision
)
"""

GIVE_UP = 60.0
"""Seconds without a database after which the node fails."""

_threads = ThreadPoolExecutor(2, thread_name_prefix="effects")
_local = threading.local()


async def begin(execution_id: str, node_id: str, attempt: int, idempotency_key: str) -> uuid.UUID:
    """Note that the node has begun, before it does anything."""
    trace = uuid.uuid4()
    values = [trace, execution_id, node_id, attempt, idempotency_key, os.getpid(), time.time()]
    columns = "id, execution_id, node_id, attempt, idempotency_key, pid, begun_at"
    places = ", ".join(["%s"] * len(values))
    # What was done, though the answer was lost, is not done twice.
    await _write(f"INSERT INTO effects ({columns}) VALUES ({places}) ON CONFLICT (id) DO NOTHING", values)
    return trace


async def finish(trace: uuid.UUID) -> None:
    """Note that it has done what it does."""
    await _write("UPDATE effects SET finished_at = %s WHERE id = %s", [time.time(), trace])


async def _write(statement: str, values: list[Any]) -> None:
    """Write, however long the database is away: the effect stands for a service that is not the engine's database."""
    loop = asyncio.get_running_loop()
    deadline = time.monotonic() + GIVE_UP
    while True:
        try:
            await loop.run_in_executor(_threads, _execute, statement, values)
            return
        except psycopg.Error:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


def _execute(statement: str, values: list[Any]) -> None:
    connection: psycopg.Connection[Any] | None = getattr(_local, "connection", None)
    if connection is None or connection.closed:
        database = settings.DATABASES["default"]
        connection = _local.connection = psycopg.connect(
            host=database["HOST"], port=database["PORT"], user=database["USER"], dbname=database["NAME"],
            autocommit=True, connect_timeout=5,
        )  # fmt: skip
    try:
        connection.execute(statement, values)
    except psycopg.Error:
        connection.close()
        raise
