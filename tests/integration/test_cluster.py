"""`make cluster` as one types it on a terminal: a web process and two workers, and Ctrl-C ends all of it."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from psycopg import sql

from tests import services
from tests.integration.execution_data import EXECUTIONS, FrameReader, assert_complete
from tests.servers import PROJECT, free_port, wait_until, within

pytestmark = pytest.mark.services_only

DEMO = {"username": "demo", "password": "demo"}
THREE_WAITS = 1
"""The demo's first flow: waits of 2, 3 and 1 seconds."""

IN_THE_FIRST_WAIT = 4
"""The seq of the event that says it begins."""


class Cluster:
    """`make cluster` on a terminal of its own, in a directory that has what a checkout has."""

    def __init__(self, directory: Path, database: str) -> None:
        self.database = database
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._written = b""
        here, there = pty.openpty()
        environment = {
            **os.environ,
            "DATABASE_URL": services.database_url(database),
            "REDIS_URL": services.redis_url(),
            "REDIS_PREFIX": database,
            "DEBUG": "1",
            "WATAOMI_LEASE": "2",
        }
        # What is installed already need not be looked for: its stamps are as old as they are.
        installed = [f"--old-file=.venv/{name}" for name in (".installed", ".installed-dev")]
        self.process = subprocess.Popen(
            ["make", *installed, "cluster", f"PORT={port}"],
            cwd=directory,
            env={name: value for name, value in environment.items() if name != "MAKEFLAGS"},
            stdin=there,
            stdout=there,
            stderr=there,
            # So that Ctrl-C reaches all those in the foreground of this terminal.
            preexec_fn=lambda: os.login_tty(there),  # noqa: PLW1509
        )
        os.close(there)
        self._terminal = here
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # EIO: the last process that had the terminal is gone
            while data := os.read(self._terminal, 65536):
                self._written += data

    @property
    def output(self) -> str:
        return self._written.decode(errors="replace")

    def wait_for(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.output.count(text) >= times, 60, lambda: f"{times} x {text!r} in:\n{self.output}")

    def workers(self) -> list[psutil.Process]:
        return [process for process in self.processes() if process.cmdline()[-1:] == ["run_worker"]]

    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def ctrl_c(self) -> float:
        """Type Ctrl-C; the seconds until all is over."""
        started = time.monotonic()
        os.write(self._terminal, b"\x03")
        self.process.wait(60)
        return time.monotonic() - started

    def close(self) -> None:
        if self.process.poll() is None:
            for process in [*self.processes(), psutil.Process(self.process.pid)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.process.wait()
        self._reader.join(5)
        os.close(self._terminal)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    for path in PROJECT.iterdir():
        if not path.name.startswith((".", "db.")):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    database = f"{services.own_name()}_cluster"
    cluster = Cluster(tmp_path, database)
    try:
        yield cluster
    finally:
        cluster.close()
        with psycopg.connect(services.database_url(), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def logged_in(cluster: Cluster) -> httpx.Client:
    cluster.wait_for(": started", times=2)
    wait_until(lambda: is_up(f"{cluster.url}/healthz"), 30, lambda: f"an answer:\n{cluster.output}")
    answer = httpx.post(f"{cluster.url}/api/v1/token", json=DEMO, trust_env=False, timeout=30)
    headers = {"Authorization": f"Bearer {answer.json()['access']}"}
    return httpx.Client(base_url=cluster.url, headers=headers, trust_env=False, timeout=30)


def is_up(address: str) -> bool:
    try:
        return httpx.get(address, trust_env=False).is_success
    except httpx.TransportError:
        return False


def gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def holder_of(cluster: Cluster, run: str) -> psutil.Process:
    """The worker that executes the run."""
    with psycopg.connect(services.database_url(cluster.database)) as connection:
        row = connection.execute("SELECT lease_owner FROM executions_execution WHERE id = %s", [run]).fetchone()
    assert row is not None
    return psutil.Process(int(row[0].split(":")[1]))


def test_a_run_outlives_its_worker_and_ctrl_c_ends_everything(cluster: Cluster) -> None:
    with logged_in(cluster) as client:
        run = client.post(EXECUTIONS, json={"flow_id": THREE_WAITS}).json()["id"]
        reader = FrameReader()
        killed: psutil.Process | None = None
        with client.stream("GET", f"{EXECUTIONS}/{run}/stream") as stream:
            for chunk in stream.iter_bytes():
                reader.feed(chunk)
                if killed is None and reader.last_seq >= IN_THE_FIRST_WAIT:
                    killed = holder_of(cluster, run)
                    killed.kill()
    assert_complete(reader.frames)
    assert reader.frames[-1].data["status"] == "success"
    cluster.wait_for(": started", times=3)  # in place of the one that died
    everything = cluster.processes()
    assert len(cluster.workers()) == 2 and killed not in everything
    assert cluster.ctrl_c() < within(10)
    assert gone(everything), cluster.output
    assert "Traceback" not in cluster.output


def test_ctrl_c_also_ends_what_is_frozen(cluster: Cluster) -> None:
    cluster.wait_for(": started", times=2)
    everything = cluster.processes()
    cluster.workers()[0].send_signal(signal.SIGSTOP)
    assert cluster.ctrl_c() < within(15)
    assert gone(everything), cluster.output
