"""The time as the database has it: leases and waits are compared by several machines, and their clocks differ."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from django.db import connection

from executions.engine.ports import SystemClock

logger = logging.getLogger(__name__)

TOLERATED = timedelta(seconds=1)
"""Two clocks that differ by no more count as equal."""


def database_now() -> datetime:
    """The present time, from PostgreSQL's clock; with SQLite there is one machine, and its clock is that of all."""
    if connection.vendor != "postgresql":
        return datetime.now(UTC)
    asked = datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    clock.learn(now, asked=asked, answered=datetime.now(UTC))
    return now.astimezone(UTC)


class DatabaseClock(SystemClock):
    """The database's time without a question to the database: that of this machine, set right by how much they were
    seen to differ. A run's wait would else end by one clock, and be looked for by the other."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def learn(self, database: datetime, *, asked: datetime, answered: datetime) -> None:
        """The database's clock showed this time between two moments of this machine's."""
        ahead = answered - database
        if answered - asked > TOLERATED or abs(ahead - self._ahead) <= TOLERATED:
            return  # a slow answer tells nothing
        self._ahead = ahead if abs(ahead) > TOLERATED else timedelta()
        logger.warning("the clock of this machine is %.1f s ahead of the database's", self._ahead.total_seconds())

    def now(self) -> datetime:
        return datetime.now(UTC) - self._ahead


clock = DatabaseClock()
"""That of this process."""
