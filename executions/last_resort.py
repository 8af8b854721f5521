"""The end of a process that was told to end and does not: a node holds its event loop, the database does not
answer, or a thread nothing stops."""

from __future__ import annotations

import logging
import os
import threading
import time
from queue import SimpleQueue

logger = logging.getLogger(__name__)

STOP_SECONDS = 10.0
"""What all steps of an orderly end may take together, beside what running nodes get."""

THREAD_SECONDS = 3.0
"""What threads of nodes get to end behind an orderly end. The interpreter would wait for them for ever."""


class LastResort:
    """Ends the process in bounded time from when it was told to. `grace`: seconds that running nodes get."""

    def __init__(self, grace: float) -> None:
        self._bound = grace + STOP_SECONDS
        # A signal handler may interrupt anything, also another put: this is the one queue that allows it.
        self._told: SimpleQueue[None] = SimpleQueue()
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="last-resort", daemon=True).start()

    def told(self) -> None:
        """The process is to end. May be called in a signal handler, and again."""
        self._told.put(None)

    def stopped(self) -> None:
        """All that was to be done before the end is done."""
        self._stopped.set()
        self._told.put(None)

    def _watch(self) -> None:
        self._told.get()
        if self._stopped.wait(self._bound):
            time.sleep(THREAD_SECONDS)  # the process ends within it, where no thread keeps it
            names = ", ".join(thread.name for thread in threading.enumerate() if not thread.daemon)
            logger.warning("ended while threads went on, of a node or of who waits for the database: %s", names)
            os._exit(0)
        logger.error(
            "ended without handing over, after %g s: a node holds the event loop, or the database does not answer; "
            "the runs are taken up when their leases end",
            self._bound,
        )
        os._exit(1)
