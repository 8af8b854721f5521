"""A virtual environment for each peer, and its program in there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.peers.cases import RUNS, Case

HERE = Path(__file__).parent
ENVIRONMENTS = Path(sys.prefix) / "peers"
"""Beneath the project's own environment, with which they are deleted."""

INSTALL_SECONDS = 300.0
PROGRAM_SECONDS = 120.0


class PeerMissing(Exception):
    """This peer cannot be measured here."""


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    program: str
    """A module beside this one."""
    requirements: str
    on: str = ""
    """Where it runs, if not by its defaults."""

    @property
    def label(self) -> str:
        """Its name and its version."""
        return f"{self.name} {self._wanted.strip().rsplit('==', 1)[1]}{self.on}"

    @property
    def _wanted(self) -> str:
        return (HERE / self.requirements).read_text()

    @property
    def _folder(self) -> Path:
        return ENVIRONMENTS / self.program

    @property
    def _python(self) -> Path:
        return self._folder / "bin" / "python"

    def install(self) -> None:
        """Unless it was before. Raises PeerMissing."""
        stamp = self._folder / "installed.txt"
        if stamp.exists() and stamp.read_text() == self._wanted:
            return
        print(f"Installing {self.label} ...", flush=True)
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _install([sys.executable, "-m", "venv", "--clear", str(self._folder)])
        _install([str(self._python), *pip, "-r", str(HERE / self.requirements)])
        stamp.write_text(self._wanted)

    def run(self, repeats: int, environment: dict[str, str]) -> list[Case]:
        """In a process group of its own, of which nothing is left in the end, and with a home that is deleted."""
        command = [str(self._python), "-m", f"{__package__}.{self.program}", str(repeats)]
        with (
            tempfile.TemporaryDirectory(prefix="wataomi-bench-") as home,
            tempfile.TemporaryFile("w+") as output,
            tempfile.TemporaryFile("w+") as log,
        ):
            variables = {"PATH": os.environ.get("PATH", ""), "HOME": home, **environment}
            late = _run(command, variables, output, log)
            for file in (output, log):
                file.seek(0)
            reason = f"it was not done within {PROGRAM_SECONDS:.0f} s." if late else _last_line(log.read())
            return _cases(output.read(), reason)


def _run(command: Sequence[str], variables: dict[str, str], output: IO[str], log: IO[str]) -> bool:
    """Whether it had to be stopped, because it took too long."""
    process = subprocess.Popen(
        command, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=log, start_new_session=True
    )
    try:
        process.wait(PROGRAM_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return False


def _install(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.CalledProcessError as error:
        raise PeerMissing(_last_line(error.stderr or error.stdout)) from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise PeerMissing(str(error)) from error


def _cases(output: str, reason: str) -> list[Case]:
    """One for each number of runs; `reason` says why the program ended before the first that it has not printed."""
    cases = [Case(**json.loads(line)) for line in output.splitlines()]
    for runs in RUNS[len(cases) :]:
        cases.append(Case(runs, left_out=reason))
        reason = "it was not tried after that."
    return cases


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return textwrap.shorten(lines[-1], 160) if lines else "it said nothing."
