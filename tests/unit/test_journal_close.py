"""The journal's writer that is closed while runs still write: there is never a second one beside it."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from executions.engine.ports import Entry
from executions.journal import writer as writer_module
from executions.journal.batch import RunWrite
from executions.journal.writer import JournalWriter


class SlowDatabase:
    """Notes what is written, and lets each commit wait until the test lets it go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)
        self.written: list[tuple[int, list[int]]] = []

    def commit(self, writes: Sequence[RunWrite]) -> list[RunWrite]:
        self.begun.release()
        assert self.let_go.acquire(timeout=10)
        self.written += [(write.before, [entry.seq for entry in write.entries]) for write in writes]
        return []

    def close(self) -> None: ...


def entry(seq: int) -> Entry:
    return Entry(seq, "nodeExecutionProgress", b"{}", datetime.now(UTC))


async def test_a_run_that_is_opened_while_the_writer_closes_does_not_start_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = SlowDatabase()
    monkeypatch.setattr(writer_module, "open_database", lambda: database)
    writer = JournalWriter(lambda run, entries: None)
    run = writer.open(uuid.uuid4(), 1, 0)
    run.append([entry(1)])
    assert await asyncio.to_thread(database.begun.acquire, timeout=10)
    closing = asyncio.ensure_future(asyncio.to_thread(writer.close, 10))
    while not writer._stopping:
        await asyncio.sleep(0.001)
    writer.open(uuid.uuid4(), 1, 0)  # a run that was claimed in the last moment
    run.append([entry(2)])
    second = await asyncio.to_thread(database.begun.acquire, timeout=0.2)
    assert not second, "the second entry is not written while the first one is"
    database.let_go.release(10)
    await closing
    assert database.written == [(0, [1]), (1, [2])]
    writer.open(uuid.uuid4(), 1, 0).append([entry(1)])
    assert await asyncio.to_thread(database.begun.acquire, timeout=10), "used again, it starts anew"
    writer.close()
