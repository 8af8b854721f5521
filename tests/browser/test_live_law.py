"""The law of a run's state, between a real server and a page: a snapshot and the events behind it are the state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, StorageState

from tests.browser.conftest import Site
from tests.browser.proxy import Proxy, proxy_to

NODES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("start", "manual", {}, {}),
    ("left", "delay", {"seconds": 0.6}, {}),
    ("right", "delay", {"seconds": 0.4}, {}),
    (
        "again",
        "fail",
        {"message": "Not today."},
        {"retry": {"max_attempts": 3, "backoff": 0.1}, "on_error": "continue"},
    ),
    ("check", "if", {"condition": "=True"}, {}),
    ("yes", "delay", {"seconds": 0.2}, {}),
    ("no", "noop", {}, {}),
]
EDGES = [
    ("start", "main", "left"),
    ("start", "main", "right"),
    ("start", "main", "again"),
    ("left", "main", "check"),
    ("check", "true", "yes"),
    ("check", "false", "no"),
]
GRAPH = {
    "nodes": [
        {"id": id, "type": type, "name": id.title(), "params": params, "position": [0, 0], "settings": settings}
        for id, type, params, settings in NODES
    ],
    "edges": [
        {"source": source, "source_port": port, "target": target, "target_port": "main"}
        for source, port, target in EDGES
    ],
}


@pytest.fixture
def proxy(site: Site) -> Iterator[Proxy]:
    with proxy_to(site.server.port) as proxy:
        yield proxy


@pytest.fixture
def page(browser: Browser, demo_login: StorageState, proxy: Proxy) -> Iterator[Page]:
    """A page of the demo user, whose connections to the server a test can cut."""
    context = browser.new_context(base_url=proxy.url, storage_state=demo_login)
    page = context.new_page()
    page.goto("/")
    page.evaluate(
        """async () => {
            window.live = await import("/static/wataomi/live.js");
            window.follow = (id, state) => {
                const events = [];
                const following = live.follow(id, { state, onEvent: (event) => events.push(event) });
                return Object.assign(following, { events });
            };
        }"""
    )
    yield page
    context.close()


def start(site: Site) -> str:
    flow_id = site.create_flow(GRAPH)
    return str(site.answer("POST", "executions", {"flow_id": flow_id, "input_data": {}})["id"])


def test_a_snapshot_and_the_events_behind_it_are_the_state_however_often_the_connection_breaks(
    site: Site, page: Page, proxy: Proxy
) -> None:
    run = start(site)
    page.evaluate("run => { window.whole = follow(run); }", run)
    snapshots: list[dict[str, Any]] = []
    while not snapshots or snapshots[-1]["status"] in {"queued", "running", "waiting"}:
        snapshots.append(site.state(run))
        proxy.cut()
        proxy.mend()
        page.wait_for_timeout(30)
    reason = page.evaluate("whole.retryNow(), whole.ended")
    assert reason["code"] == "finished"
    events = page.evaluate("whole.events")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    final = site.state(run)
    assert page.evaluate("whole.state") == final
    assert len({snapshot["seq"] for snapshot in snapshots}) > 3
    for snapshot in snapshots:
        folded = page.evaluate(
            """snapshot => whole.events.filter((event) => event.seq > snapshot.seq).reduce(live.fold, snapshot)""",
            snapshot,
        )
        assert folded == final


@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_page_that_opens_behind_the_end_gets_the_rest_and_no_more(site: Site, page: Page, after: int) -> None:
    run = start(site)
    page.evaluate("run => { window.whole = follow(run); return whole.ended; }", run)
    last = page.evaluate("whole.state.seq")
    late = page.evaluate(
        """async ([run, after]) => {
            const late = live.follow(run, { after, onEvent: (event) => seqs.push(event.seq) });
            const seqs = [];
            await late.ended;
            return seqs;
        }""",
        [run, after],
    )
    assert late == list(range(after + 1, last + 1))


def test_another_persons_run_ends_the_stream_with_the_reason(page: Page) -> None:
    nobodys = "0198f0e2-0000-7000-8000-00000000dead"
    reason = page.evaluate("run => follow(run).ended", nobodys)
    assert reason["code"] == "not_found"
