"""The documentation is true: its links lead somewhere, its tables are complete, its code works."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.urls import get_resolver

from executions.events import EventType
from executions.statuses import NodeStatus, RunStatus
from flows.context import NodeContext, Scope
from flows.graph import Node
from flows.node_types import execute, registry
from tests.servers import PROJECT

PAGES = [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def python_blocks(page: str) -> list[str]:
    return PYTHON.findall((PROJECT / page).read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert missing == []


def test_every_setting_is_documented_and_no_other() -> None:
    reads = re.compile(r'environment\.\w+\(\s*"(\w+)"')
    read = set(reads.findall((PROJECT / "wataomi" / "settings.py").read_text()))
    table = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
    documented = set(table.findall((PROJECT / "docs" / "reference" / "settings.md").read_text()))
    assert documented == read


def test_every_event_and_status_is_documented() -> None:
    text = (PROJECT / "docs" / "reference" / "events.md").read_text()
    for word in (*EventType, *RunStatus, *NodeStatus):
        assert f"`{word}`" in text


def test_the_api_reference_names_addresses_that_exist() -> None:
    text = (PROJECT / "docs" / "reference" / "api.md").read_text()
    first_cells = re.findall(r"^\| (`[a-z].*?) \|", text, re.MULTILINE)
    named = [path for cell in first_cells for path in re.findall(r"`([a-z][^`]*)`", cell)]
    assert "executions/<id>/stream" in named
    for path in named:
        for identifier in ("1", "01890000-0000-7000-8000-000000000000"):
            address = "/api/v1/" + path.replace("<id>", identifier).replace("<node>", "start")
            match = get_resolver().resolve(address)
            if match.func.__name__ != "api_not_found":
                break
        else:
            pytest.fail(f"Nothing answers {path}")


@pytest.fixture
def documented_node_types(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What the how-to's `nodes.py` defines, registered as that of its app; forgotten after the test."""
    path = tmp_path / "nodes.py"
    source = python_blocks("docs/howto/write-a-node-type.md")[0]
    path.write_text(source.replace("@register\n", '@register(name="texts.reading_time")\n'))
    yield runpy.run_path(str(path))
    registry.unregister("texts.reading_time")


async def test_the_node_type_of_the_how_to_works(documented_node_types: dict[str, Any]) -> None:
    scope = dict(documented_node_types)
    exec(python_blocks("docs/howto/write-a-node-type.md")[1], scope)
    await scope["test_a_short_text_is_read_in_a_minute"]()


async def test_the_node_type_of_the_readme_works() -> None:
    scope: dict[str, Any] = {"__name__": "texts.nodes"}
    exec(python_blocks("README.md")[0], scope)
    try:
        node = Node(id="n", type="shout", name="Shout", params={"field": "=item['which']"})
        context = NodeContext(
            node=node,
            attempt=1,
            inputs={"main": [{"which": "a", "a": "omi", "b": "wata"}, {"which": "b", "a": "omi", "b": "wata"}]},
            scope=Scope(),
            idempotency_key="k",
            progress=no_progress,
            params_for=no_params,
        )
        items = (await execute(scope["Shout"], context))["main"]
        assert [(item["a"], item["b"]) for item in items] == [("OMI", "wata"), ("omi", "WATA")]
    finally:
        registry.unregister(scope["Shout"].name)


async def no_progress(fraction: float | None = None, message: str = "", text: str = "") -> None: ...


async def no_params() -> list[dict[str, Any]]:
    return []


def test_the_python_reader_of_the_how_to_resumes_behind_the_last_event_it_saw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = [
        b'data: {"type":"executionStarted","data":{}}\nid: 1\n\n',
        b'data: {"type":"nodeExecutionBefore","data":{}}\nid: 2\n\n',
        b'data: {"type":"executionFinished","data":{}}\nid: 3\n\n',
    ]
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("Last-Event-ID"))
        if len(asked) == 1:
            # Cut in the middle of the second frame.
            return httpx.Response(200, content=b"retry: 2000\n" + frames[0] + b": keep-alive\n" + frames[1][:-4])
        if len(asked) == 2:
            return httpx.Response(502, content=b"<html>")
        return httpx.Response(200, content=b"".join(frames[1:]))

    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(httpx, "stream", client.stream)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    scope: dict[str, Any] = {}
    exec(python_blocks("docs/howto/follow-a-run.md")[0], scope)
    received = [event["type"] for event in scope["events"]("http://testserver/stream", "token")]
    assert received == ["executionStarted", "nodeExecutionBefore", "executionFinished"]
    assert asked == [None, "1", "1"]
