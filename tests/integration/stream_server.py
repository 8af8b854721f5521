"""Starts the small project of the streaming wrapper's tests under the servers that it knows."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from tests.servers import PROJECT, ServerProcess, start_daphne, start_uvicorn

SETTINGS = "tests.integration.stream_settings"
APPLICATION = "tests.integration.stream_app:application"


class StartStreamServer(Protocol):
    def __call__(self, environment: Mapping[str, str] = ...) -> ServerProcess: ...


@pytest.fixture(scope="module")
def stream_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a server of the small project, with a database that has its tables."""
    database = tmp_path_factory.mktemp("stream") / "database.sqlite3"
    variables = {"DJANGO_SETTINGS_MODULE": SETTINGS, "STREAM_DATABASE": str(database)}
    command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=PROJECT, env={**os.environ, **variables}, check=True)
    return variables


SERVERS: dict[str, Callable[..., ServerProcess]] = {
    "daphne": start_daphne,
    "uvicorn": partial(start_uvicorn, arguments=["--http", "h11"]),
    "uvicorn-httptools": partial(start_uvicorn, arguments=["--http", "httptools"]),
}
"""uvicorn has two parsers of HTTP/1.1, with a `send` of its own each."""


@pytest.fixture(params=list(SERVERS))
def stream_server(
    request: pytest.FixtureRequest, tmp_path: Path, stream_environment: dict[str, str]
) -> Iterator[StartStreamServer]:
    """Return a function that starts the small project under a server's command line; it is stopped after the test."""
    start_server = SERVERS[request.param]
    servers: list[ServerProcess] = []

    def start(environment: Mapping[str, str] | None = None) -> ServerProcess:
        log_path = tmp_path / f"{request.param}-{len(servers)}.log"
        servers.append(start_server(log_path, APPLICATION, environment={**stream_environment, **(environment or {})}))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def database_path(environment: Mapping[str, str]) -> Path:
    return Path(environment["STREAM_DATABASE"])


def get(server: ServerProcess, path: str, **arguments: Any) -> httpx.Response:
    return httpx.get(server.url + path, timeout=20, trust_env=False, **arguments)


def session_cookie(server: ServerProcess) -> str:
    """Log a user in, and return the `Cookie` header of its session."""
    response = get(server, "/login")
    return f"sessionid={response.cookies['sessionid']}"
