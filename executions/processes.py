"""Each process of the installation says every few seconds that it is alive and what it does, in a row of its own.

A thread does so, and never an event loop: who is busy computing still lives. A process that is gone without a word
leaves its row behind, which grows old.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.db import DatabaseError, InterfaceError, connection

from executions.database_clock import database_now
from executions.journal.transactions import write_transaction
from executions.models import Process

logger = logging.getLogger(__name__)

BEAT = 5.0
"""Seconds between two signs of life."""

KEPT = timedelta(days=1)
"""After that without a sign, a row is deleted by whoever gives one."""

ALIVE = timedelta(seconds=3 * BEAT)
"""Without a sign for so long, a process does not count as alive."""

END_SECONDS = 1.0
"""What deleting the own row may take when the process ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What a process does at the moment; the fields are those of `Process`."""

    name: str
    executes: bool = False
    capacity: int = 0
    held: int = 0
    readers: int = 0
    backlog: int = 0
    commits: int = 0
    commit_p50_ms: float | None = None
    commit_p99_ms: float | None = None


class Heart:
    """Beats in a thread until it is stopped, whatever becomes of the database."""

    def __init__(self, role: Process.Role, figures: Callable[[], Figures]) -> None:
        self._role = role
        self._figures = figures
        self._started_at: datetime | None = None
        self._names: set[str] = set()
        self._stop = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._work, name="heart", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the row away and end the thread; with the database away, the row is left to grow old."""
        self._stop.set()
        self._thread.join(END_SECONDS)

    def _work(self) -> None:
        while not self._stop.is_set():
            self._try(self._beat)
            self._stop.wait(BEAT)
        if self._names:
            self._try(self._leave)

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (DatabaseError, InterfaceError) as error:
            if not self._failed:
                logger.warning("heart: the database is not there (%s); trying again", error)
            self._failed = True
        except Exception:
            # A fault in what is counted must not make a living process look dead for ever.
            logger.exception("heart: no sign of life could be given; trying again")
        else:
            self._failed = False
        finally:
            connection.close()
            connection.queries_log.clear()  # with DEBUG on, Django would keep them until a request ends

    def _beat(self) -> None:
        figures = self._figures()
        now = database_now()
        if self._started_at is None:
            self._started_at = now
        row = Process(
            role=self._role,
            host=socket.gethostname()[:100],
            pid=os.getpid(),
            started_at=self._started_at,
            seen_at=now,
            **asdict(figures),
        )
        former = self._names - {row.name}
        changing = [field.name for field in Process._meta.concrete_fields if not field.primary_key]
        with write_transaction():
            Process.objects.bulk_create([row], update_conflicts=True, unique_fields=["name"], update_fields=changing)
            Process.objects.filter(name__in=former).delete()  # its executor was started anew
            Process.objects.filter(seen_at__lt=now - KEPT).delete()
        self._names = {row.name}

    def _leave(self) -> None:
        with write_transaction():
            Process.objects.filter(name__in=self._names).delete()


def is_worker_alive() -> bool:
    """Whether some process of the installation executes runs and has given a sign lately."""
    return Process.objects.filter(executes=True, seen_at__gt=database_now() - ALIVE).exists()


_heart: Heart | None = None
_guard = threading.Lock()


def begin(role: Process.Role, figures: Callable[[], Figures]) -> None:
    """Give signs of life from now on; `figures` is called in a thread of its own. A second call changes nothing."""
    global _heart  # noqa: PLW0603 - one for each process
    with _guard:
        if _heart is None:
            _heart = Heart(role, figures)


def end() -> None:
    """Take the row of this process away. Without a `begin`, nothing."""
    global _heart
    with _guard:
        ending, _heart = _heart, None
    if ending is not None:
        ending.stop()
