"""Connections of the pool to PostgreSQL."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg_pool import ConnectionPool


class PooledConnection(psycopg.Connection[Any]):
    """One that has ended empties the pool.

    The pool tests a connection before it gives it out. When the server was restarted, all that are in the pool have
    ended, and it would find that out one after the other, pausing 1, 2, 4 ... seconds between.
    """

    _pool: ConnectionPool[Any] | None

    def execute(self, *args: Any, **kwargs: Any) -> psycopg.Cursor[Any]:
        try:
            return super().execute(*args, **kwargs)
        except psycopg.OperationalError:
            if self.broken and self._pool is not None:
                self._pool.drain()
            raise
