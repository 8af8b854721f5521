"""Following one run in a terminal: from its first event to its last, or to what ends the following before that."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from executions import processes, stream
from executions.conf import execution_settings
from executions.events import Event
from executions.journal.reader import reader_pool
from executions.terminal.exit_codes import ExitCode, exit_code_of
from executions.terminal.signals import Signals
from executions.terminal.view import Heading, View

T = TypeVar("T")

CANCEL_WAIT = 5.0
"""Seconds that a run which took too long gets to end, before it is left to end by itself."""

PATIENCE = 3.0
"""Seconds until it is said that a run begins late for want of a worker."""

RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0)
"""Between two tries to read events while the database is away."""

BY_SIGNAL = {signal.SIGTERM: ExitCode.TERMINATED, signal.SIGHUP: ExitCode.HUNG_UP}

SILENT_ON_OUTPUT = frozenset({ExitCode.SUCCESS, ExitCode.PIPE_CLOSED})
"""Codes that do not say that the output could not be written."""


class PipeClosed(Exception):
    """Nobody reads what is shown any more."""


class Follower:
    """Shows a run and waits for its end, for a signal, or for a time-out.

    With `cancel` the run is this command's own: Ctrl-C and a time-out cancel it and wait for its end, and it goes on
    when nobody reads the output. Without, it is only watched: whatever ends the watching leaves the run alone.
    """

    def __init__(
        self,
        execution_id: UUID,
        heading: Heading,
        view: View,
        signals: Signals,
        *,
        timeout: float | None,
        cancel: Callable[[], None] | None,
    ) -> None:
        self._execution_id = execution_id
        self._heading = heading
        self._view = view
        self._signals = signals
        self._timeout = timeout
        self._cancel = cancel
        # In a thread, so that a reader who stops reading does not keep signals and time-outs from being seen.
        self._showing = ThreadPoolExecutor(1, thread_name_prefix="view")
        self.unread = False
        """Whether nobody takes what is shown any more."""
        self._seen = 0
        self._unwritable = False
        """Whether that is for a fault of the output, and not because its reader has ended."""
        self.stuck = False
        """Whether the view was left in the middle of an event, because its reader does not read."""

    async def follow(self) -> ExitCode:
        """Return when the run has ended, or the following has."""
        reading = asyncio.ensure_future(self._read())
        signalled = asyncio.ensure_future(self._signals.arrived())
        waiting = asyncio.ensure_future(self._say_when_nobody_takes_it())
        try:
            code = await self._wait(reading, signalled)
        except PipeClosed:
            code = ExitCode.PIPE_CLOSED
        finally:
            for task in (reading, signalled, waiting):
                task.cancel()
            await asyncio.wait((reading, signalled, waiting))
            await self._end_showing()
        # Whoever wanted the output must not take what is there for the whole of it.
        return ExitCode.FAILED if self._unwritable and code in SILENT_ON_OUTPUT else code

    async def _say_when_nobody_takes_it(self) -> None:
        """A run that workers should execute waits without a word when there is none."""
        await asyncio.sleep(PATIENCE)
        if self._seen or execution_settings().executor == "embedded":
            return
        try:
            alive = await reader_pool.run(processes.is_worker_alive)
        except (DatabaseError, InterfaceError):
            return  # said where the events are read
        if not alive and not self._seen:
            self._say("The run waits in the queue, and no worker is alive: start one with manage.py run_worker.")

    async def _wait(self, reading: asyncio.Task[Event | None], signalled: asyncio.Task[int]) -> ExitCode:
        done, _ = await asyncio.wait((reading, signalled), timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED)
        if reading in done:
            return self._ended(reading, ExitCode.CANCELED)
        if signalled in done:
            return await self._signal(reading, signalled.result())
        return await self._timed_out(reading, signalled)

    async def _signal(self, reading: asyncio.Task[Event | None], number: int) -> ExitCode:
        if code := BY_SIGNAL.get(signal.Signals(number)):
            return code
        if self._cancel is None:
            self._say("Not watched any longer; the run goes on.")
            return ExitCode.CANCELED
        self._say("Canceling the run; Ctrl-C again leaves at once.")
        await self._cancel_run()
        await asyncio.wait((reading,))
        return self._ended(reading, ExitCode.CANCELED)

    async def _timed_out(self, reading: asyncio.Task[Event | None], signalled: asyncio.Task[int]) -> ExitCode:
        if self._cancel is None:
            self._say(f"Timed out after {self._timeout:g} s of watching; the run goes on.")
            return ExitCode.TIMED_OUT
        self._say(f"Timed out after {self._timeout:g} s; canceling the run.")
        await self._cancel_run()
        done, _ = await asyncio.wait((reading, signalled), timeout=CANCEL_WAIT, return_when=asyncio.FIRST_COMPLETED)
        if reading in done:
            return self._ended(reading, ExitCode.TIMED_OUT)
        self._say(f"Its end was not seen within {CANCEL_WAIT:g} s.")
        return ExitCode.TIMED_OUT

    async def _cancel_run(self) -> None:
        assert self._cancel is not None
        try:
            await reader_pool.run(self._cancel)
        except (DatabaseError, InterfaceError) as error:
            self._say(f"The run cannot be canceled: {str(error).strip()}.")

    def _ended(self, reading: asyncio.Task[Event | None], canceled: ExitCode) -> ExitCode:
        """`canceled` is the code for a run that was canceled."""
        last = reading.result()
        if last is None:
            self._say("The run was deleted.")
            return ExitCode.FAILED
        code = exit_code_of(last)
        return canceled if code is ExitCode.CANCELED else code

    # -- events -------------------------------------------------------------------------------------------------------

    async def _read(self) -> Event | None:
        """Show each event; the last one, or None when the run is gone."""
        await self._show(self._view.begin, self._heading)
        tries = 0
        while True:
            try:
                async for event in stream.events(self._execution_id, self._seen):
                    await self._show(self._view.show, event)
                    self._seen, tries = event.seq, 0
                    if event.is_last:
                        return event
                return None
            except (DatabaseError, InterfaceError) as error:
                if tries == 0:
                    self._say(f"The database cannot be read ({str(error).strip()}); trying again.")
                await asyncio.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
                tries += 1

    async def _show(self, show: Callable[[T], None], what: T) -> None:
        if self.unread:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(self._showing, show, what)
        except OSError as error:
            self.unread = True
            if error.errno != errno.EPIPE:
                self._unwritable = True
                self._say(f"The output cannot be written: {error.strerror or error}.")
            if self._cancel is None:
                raise PipeClosed from error

    def _say(self, text: str) -> None:
        try:
            self._view.say(text)
        except OSError:
            self.unread = True

    async def _end_showing(self) -> None:
        idle = asyncio.get_running_loop().run_in_executor(self._showing, int)
        done, _ = await asyncio.wait((idle,), timeout=0.5)
        self.stuck = not done
        self._showing.shutdown(wait=False)
