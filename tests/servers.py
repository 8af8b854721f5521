"""Real server processes for tests: started on a free port, waited for, measured, stopped, their output kept."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import httpx
import psutil
import pytest

from tests.services import test_environment

PROJECT = Path(__file__).resolve().parent.parent
READY_TIMEOUT = 60.0


class ServerProcess:
    """A server that was started by a test, and its address, output and use of the machine."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log_path: Path) -> None:
        self.process = process
        self.port = port
        self.log_path = log_path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        """Return all that the process has written to its standard output and standard error."""
        return self.log_path.read_text(errors="replace")

    def wait_for_log(self, text: str, timeout: float = 10.0) -> None:
        wait_until(lambda: text in self.log(), timeout, lambda: f"{text!r} in the server's output:\n{self.log()}")

    def memory(self) -> int:
        """Return the bytes that the process holds in memory (its resident set)."""
        return psutil.Process(self.pid).memory_info().rss

    def threads(self) -> int:
        return psutil.Process(self.pid).num_threads()

    def connections(self) -> int:
        """Return how many clients' connections the process has open."""
        return len(self.addresses())

    def addresses(self) -> set[int]:
        """Return the ports of the clients whose connections the process has open."""
        connections = psutil.Process(self.pid).net_connections("tcp")
        return {c.raddr.port for c in connections if c.raddr and c.laddr.port == self.port}

    def terminate(self, timeout: float = 30.0) -> float:
        """Send SIGTERM, wait for the end of the process, and return the seconds that it took."""
        return self.stop(signal.SIGTERM, timeout)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30.0) -> float:
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        return time.monotonic() - started

    def wait_until_ready(self, path: str = "/", timeout: float = READY_TIMEOUT) -> None:
        """Return when the server answers a request, whatever it answers."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                httpx.get(self.url + path, timeout=max(0.1, deadline - time.monotonic()), trust_env=False)
            except httpx.TransportError:
                time.sleep(0.02)
            else:
                return
        self.kill()
        raise RuntimeError(f"The server did not answer; its exit code is {self.process.poll()}:\n{self.log()}")


class StartServer(Protocol):
    def __call__(
        self,
        application: str = ...,
        *,
        environment: Mapping[str, str] = ...,
        arguments: Sequence[str] = ...,
        port: int | None = ...,
    ) -> ServerProcess: ...


class Condition(Protocol):
    def __call__(self) -> bool: ...


class Text(Protocol):
    def __call__(self) -> str: ...


def within(seconds: float) -> float:
    """Return a limit that is meant for an idle machine, as it is to be on this one: longer, while it is busy."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_until(condition: Condition, timeout: float = 10.0, what: Text = lambda: "a condition") -> None:
    """Return as soon as `condition` holds; raise AssertionError when it does not `within` so many seconds."""
    deadline = time.monotonic() + within(timeout)
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {timeout} s for {what()}")
        time.sleep(0.01)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_daphne(
    log_path: Path,
    application: str = "wataomi.asgi:application",
    *,
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    port: int | None = None,
) -> ServerProcess:
    """Start Daphne's command line for an ASGI application, and return when it answers.

    It listens on a port of 127.0.0.1 that is bound here, so that nobody else can get it in between; `port` asks for
    a certain one (that of a server which was stopped, for instance). `arguments` are further ones for `daphne`.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port or 0))
        listener.listen(1024)
        number = listener.fileno()
        command = [sys.executable, "-m", "daphne", "--fd", str(number), *arguments, application]
        server = start_process(
            command, log_path, int(listener.getsockname()[1]), environment=environment, descriptors=(number,)
        )
    server.wait_until_ready()
    return server


def start_uvicorn(
    log_path: Path,
    application: str = "wataomi.asgi:application",
    *,
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> ServerProcess:
    """Start uvicorn's command line for an ASGI application, and return when it answers."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), *arguments, application]
    server = start_process(command, log_path, port, environment=environment)
    server.wait_until_ready()
    return server


def start_runserver(
    log_path: Path, *, environment: Mapping[str, str] | None = None, arguments: Sequence[str] = ()
) -> ServerProcess:
    """Start `manage.py runserver` on a free port, and return when it answers."""
    port = free_port()
    command = [sys.executable, "manage.py", "runserver", f"127.0.0.1:{port}", *arguments]
    server = start_process(command, log_path, port, environment=environment)
    server.wait_until_ready()
    return server


def start_process(
    command: Sequence[str],
    log_path: Path,
    port: int,
    *,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> ServerProcess:
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
        )
    return ServerProcess(process, port, log_path)


@pytest.fixture
def daphne_server(tmp_path: Path) -> Iterator[StartServer]:
    """Return a function that starts Daphne (see `start_daphne`); what it started is stopped after the test."""
    servers: list[ServerProcess] = []

    def start(
        application: str = "wataomi.asgi:application",
        *,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        port: int | None = None,
    ) -> ServerProcess:
        log_path = tmp_path / f"daphne-{len(servers)}.log"
        server = start_daphne(log_path, application, environment=environment, arguments=arguments, port=port)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def project_server(transactional_db: None, daphne_server: StartServer) -> StartServer:
    """Like `daphne_server`, for the project itself: the server uses the database and the channel layer of the test."""

    # The database is asked for first: it is emptied when the server is gone.
    def start(
        application: str = "wataomi.asgi:application",
        *,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        port: int | None = None,
    ) -> ServerProcess:
        variables = {**test_environment(), **(environment or {})}
        return daphne_server(application, environment=variables, arguments=arguments, port=port)

    return start
