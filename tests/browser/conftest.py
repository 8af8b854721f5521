"""A real browser against a real server: Daphne on a free port with a database file of its own, and the demo in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, StorageState, sync_playwright

from tests.servers import PROJECT, ServerProcess, start_daphne

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DEMO = {"username": "demo", "password": "demo"}
TIMEOUT = 15_000.0
"""Milliseconds that a browser test waits for what it expects."""


def chromium_path() -> str | None:
    """The machine's Chromium: the environment variable CHROMIUM, or the first one on the path."""
    names = (os.environ.get("CHROMIUM", ""), *CHROMIUM_NAMES)
    return next((path for name in names if name and (path := shutil.which(name))), None)


@dataclass(frozen=True)
class Site:
    """The running server, and its API with the demo user's token."""

    server: ServerProcess
    api: httpx.Client

    @property
    def url(self) -> str:
        return self.server.url

    def create_flow(self, graph: dict[str, Any], name: str = "A flow") -> int:
        return int(self.answer("POST", "flows", {"name": name, "graph": graph})["id"])

    def flow(self, flow_id: int) -> dict[str, Any]:
        return self.answer("GET", f"flows/{flow_id}")

    def runs(self, flow_id: int) -> list[dict[str, Any]]:
        """The runs of a flow, newest first."""
        return list(self.answer("GET", f"flows/{flow_id}/executions")["results"])

    def state(self, execution_id: str) -> dict[str, Any]:
        return dict(self.answer("GET", f"executions/{execution_id}")["state"])

    def answer(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        response = self.api.request(method, f"{self.url}/api/v1/{path}", json=body)
        assert response.is_success, response.text
        return dict(response.json())


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    environment = {"DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}", "DEBUG": "1"}
    for command in ("migrate", "create_demo"):
        arguments = [sys.executable, "manage.py", command, "-v", "0"]
        subprocess.run(arguments, cwd=PROJECT, env={**os.environ, **environment}, check=True)
    server = start_daphne(folder / "daphne.log", environment=environment)
    try:
        with httpx.Client(timeout=30, trust_env=False) as api:
            token = api.post(f"{server.url}/api/v1/token", json=DEMO).json()["access"]
            api.headers["Authorization"] = f"Bearer {token}"
            yield Site(server, api)
    finally:
        server.terminate()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Playwright, ended with the module: as long as it is there, its event loop counts as the thread's running one,
    and no asynchronous test could have its own."""
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    path = chromium_path()
    if path is None:
        pytest.skip("There is no Chromium on this machine; install one, or set CHROMIUM to the path of its executable.")
    browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def demo_login(browser: Browser, site: Site) -> StorageState:
    """The cookies of the demo user, logged in once by the form."""
    context = browser.new_context(base_url=site.url)
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("Username").fill(DEMO["username"])
    page.get_by_label("Password").fill(DEMO["password"])
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Flows").wait_for()
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def context_options() -> dict[str, Any]:
    """Options of the browser's context; a test module or class overrides it for another size or colour scheme."""
    return {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture
def context(
    browser: Browser, site: Site, demo_login: StorageState, context_options: dict[str, Any]
) -> Iterator[BrowserContext]:
    options = {"base_url": site.url, "storage_state": demo_login, **context_options}
    context = browser.new_context(**options)
    context.set_default_timeout(TIMEOUT)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page of the demo user. What its scripts leave uncaught, and what the security policy blocks, fails the test."""
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.extend(_faults(message)))
    yield page
    assert faults == []


def _faults(message: ConsoleMessage) -> list[str]:
    """Errors on the console, without the browser's own notes of refused requests: tests refuse some on purpose."""
    is_noise = message.text.startswith("Failed to load resource")
    return [message.text] if message.type == "error" and not is_noise else []
