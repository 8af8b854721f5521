"""`manage.py run_flow` as a process of its own, for tests: in pipes or on a terminal, read as it writes."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import selectors
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

from tests.servers import PROJECT
from tests.services import test_environment

TIMEOUT = 60.0
"""Seconds that anything may take on a machine that does much else."""

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def command_environment(**given: str) -> dict[str, str]:
    """Of a command that uses the database of the test, and has the node types of `terminal_app`."""
    return {
        **os.environ,
        **test_environment(),
        "WATAOMI_EXTRA_APPS": "tests.integration.terminal_app",
        "WATAOMI_SHUTDOWN_GRACE": "0.2",
        "PYTHONUNBUFFERED": "",
        **given,
    }


class Command:
    """A `run_flow` that was started; standard output and error are read when they are asked for, never before."""

    def __init__(self, *arguments: str, terminal: tuple[int, int] | None = None, **environment: str) -> None:
        """`terminal`: columns and rows of the terminal that it is on; without, it writes into pipes."""
        self.stdout = self.stderr = ""
        self._selector = selectors.DefaultSelector()
        variables = command_environment(**environment)
        command = [sys.executable, "manage.py", "run_flow", *arguments]
        if terminal is None:
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=variables, stdin=subprocess.DEVNULL, stdout=-1, stderr=-1
            )
            assert self.process.stdout is not None and self.process.stderr is not None
            self._reads(self.process.stdout.fileno(), "stdout")
            self._reads(self.process.stderr.fileno(), "stderr")
        else:
            here, there = pty.openpty()
            fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", terminal[1], terminal[0], 0, 0))
            variables = {**variables, "TERM": variables.get("TEST_TERM", "xterm-256color")}
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=variables, stdin=there, stdout=there, stderr=there, start_new_session=True
            )
            os.close(there)
            self._terminal = here
            self._reads(here, "stdout")

    def _reads(self, descriptor: int, name: str) -> None:
        os.set_blocking(descriptor, False)
        self._selector.register(descriptor, selectors.EVENT_READ, name)

    # -- what it writes -----------------------------------------------------------------------------------------------

    def read_until(self, condition: Callable[[], Any], what: str = "more", timeout: float = TIMEOUT) -> None:
        """Read as it comes until `condition` holds. Raises AssertionError when it does not, or nothing more comes."""
        deadline = time.monotonic() + timeout
        while not condition():
            if not self._selector.get_map() or time.monotonic() > deadline:
                raise AssertionError(f"No {what} in:\n{self.stdout}\n--- stderr:\n{self.stderr}")
            self._read(0.05)

    def wait_for(self, text: str, timeout: float = TIMEOUT) -> None:
        """Read until standard output has the text."""
        self.read_until(lambda: text in self.stdout, repr(text), timeout)

    def end(self, timeout: float = TIMEOUT) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + timeout
        while self._selector.get_map():
            if time.monotonic() > deadline:
                raise AssertionError(f"It does not end:\n{self.stdout}\n--- stderr:\n{self.stderr}")
            self._read(0.05)
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def _read(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            try:
                data = os.read(key.fd, 65536)
            except OSError as error:
                if error.errno != errno.EIO:  # what a terminal says when its last process has gone
                    raise
                data = b""
            if not data:
                self._selector.unregister(key.fd)
            setattr(self, key.data, getattr(self, key.data) + data.decode(errors="replace"))

    @property
    def lines(self) -> list[str]:
        """The complete lines of standard output."""
        return self.stdout.split("\n")[:-1]

    @property
    def words(self) -> str:
        """What a terminal shows, without where and in which colours."""
        return CONTROL.sub("", self.stdout)

    @property
    def rows(self) -> list[str]:
        """The lines that were on the terminal, those drawn over too, in the order in which they were written."""
        return self.words.replace("\r\n", "\n").replace("\r", "\n").splitlines()

    # -- what is done to it -------------------------------------------------------------------------------------------

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop_reading(self) -> None:
        """Close this end of its standard output."""
        assert self.process.stdout is not None
        self._selector.unregister(self.process.stdout.fileno())
        self.process.stdout.close()

    def close(self) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._selector.close()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        if hasattr(self, "_terminal"):
            os.close(self._terminal)
