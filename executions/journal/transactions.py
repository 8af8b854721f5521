"""Write transactions of this process, one after the other.

SQLite has one writer at a time, and one that finds the database locked sleeps 1 to 100 ms between its tries: the
threads of one process would keep each other waiting for far longer than their transactions take. A lock wakes the next
one at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

_turn = threading.RLock()


@contextmanager
def write_transaction() -> Iterator[None]:
    """`transaction.atomic()`, which on SQLite waits for its turn among the threads of this process."""
    # Inside of another transaction the write lock is held already, and who holds the turn may be waiting for it.
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic():
            yield
    else:
        # What waits for the commit is called before the turn is given on, and may write in a transaction of its own:
        # hence a lock that its holder may take again.
        with _turn, transaction.atomic():
            yield
