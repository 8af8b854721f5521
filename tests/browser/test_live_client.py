"""How the page's client of the stream behaves in a real browser: it resumes, shares one connection, and paints."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.run_server import RunServer, serving

STARTED_AT = "2026-11-22T16:00:00.000000Z"


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One person's browser: its tabs share locks and channels. What a script leaves uncaught fails the test."""
    context = browser.new_context()
    context.set_default_timeout(15_000)
    errors: list[str] = []
    context.on("weberror", lambda problem: errors.append(str(problem.error)))
    yield context
    context.close()
    assert errors == []


@pytest.fixture
def server() -> Iterator[RunServer]:
    with serving() as server:
        yield server


def open_tab(context: BrowserContext, server: RunServer, *, idle: bool = False) -> Page:
    page = context.new_page()
    page.goto(server.url + ("?idle" if idle else ""))
    page.wait_for_function("window.isReady")
    return page


def wait_for_seq(page: Page, seq: int) -> None:
    page.wait_for_function("seq => seen.at(-1) >= seq", arg=seq)


def newest(page: Page) -> int:
    return int(page.evaluate("seen.at(-1) ?? 0"))


def seen(page: Page) -> list[int]:
    result: list[int] = page.evaluate("seen")
    return result


def up_to(count: int) -> list[int]:
    return list(range(1, count + 1))


def paint(page: Page, **state: Any) -> None:
    """Paint a state in which the given things differ from an empty one, and wait for its frame."""
    page.evaluate(
        """changes => {
            const state = { ...emptyState(["start", "left", "right", "join"], "run"), ...changes };
            for (const [id, node] of Object.entries(changes.nodes ?? {}))
                state.nodes[id] = { ...emptyState([id]).nodes[id], ...node };
            state.nodes = { ...emptyState(["start", "left", "right", "join"]).nodes, ...state.nodes };
            bind(document, state);
            return new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
        }""",
        state,
    )


def text_of(page: Page, node: str, mark: str) -> str | None:
    return page.text_content(f'[data-node="{node}"] [{mark}]')


def test_a_deploy_in_the_middle_of_a_run_costs_the_page_nothing(context: BrowserContext, server: RunServer) -> None:
    run = server.run
    page = open_tab(context, server)
    wait_for_seq(page, run.progress(5))
    run.refuse(502, 503, 200)
    run.cut()
    run.progress(20)
    wait_for_seq(page, run.finish())
    assert seen(page) == up_to(26)
    assert len(run.resumed_after) == 2
    assert run.resumed_after[1] >= 5
    page.wait_for_function("connections.at(-1)[0] === 'ended'")
    states = page.evaluate("connections")
    assert [state for state, _ in states if state != "lost"] == ["connecting", "open", "open", "ended"]
    assert {code for state, code in states if state == "lost"} == {"cut", "http_502", "http_503", "not_a_stream"}
    page.wait_for_selector('[data-run][data-status="success"]')


@pytest.mark.parametrize("status", [401, 403, 404, 204])
def test_an_answer_that_will_not_change_ends_it(context: BrowserContext, server: RunServer, status: int) -> None:
    server.run.refuse(status, body=b"")
    page = open_tab(context, server)
    page.wait_for_function("connections.at(-1)?.[0] === 'ended'")
    assert page.evaluate("following.ended.then((reason) => reason.message.length > 10)")


def test_eight_tabs_of_one_run_share_one_connection(context: BrowserContext, server: RunServer) -> None:
    run = server.run
    pages = [open_tab(context, server) for _ in range(8)]
    for _ in range(10):
        run.progress(50)
    last = run.finish()
    for page in pages:
        wait_for_seq(page, last)
        assert seen(page) == up_to(last)
        page.wait_for_function("connections.at(-1)[0] === 'ended'")
    assert run.most_open == 1
    assert run.resumed_after == [0]


def test_other_requests_are_not_blocked_by_many_tabs(context: BrowserContext, server: RunServer) -> None:
    pages = [open_tab(context, server) for _ in range(8)]
    for page in pages:
        page.wait_for_function("connections.at(-1)[0] === 'open'")
    assert pages[-1].evaluate("fetch('/').then((response) => response.status)") == 200


def test_a_late_tab_gets_what_it_missed_without_a_connection_of_its_own(
    context: BrowserContext, server: RunServer
) -> None:
    first = open_tab(context, server)
    wait_for_seq(first, server.run.progress(200))
    late = open_tab(context, server)
    wait_for_seq(late, 200)
    assert seen(late) == up_to(200)
    assert server.run.resumed_after == [0]


def test_the_leading_tab_closes_and_another_takes_over(context: BrowserContext, server: RunServer) -> None:
    run = server.run
    pages = [open_tab(context, server) for _ in range(4)]
    for page in pages:
        page.wait_for_function("connections.at(-1)[0] === 'open'")
    going_on = threading.Event()

    def publish() -> None:
        while not going_on.wait(0.002):
            run.progress(3)

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        while len(pages) > 1:
            wait_for_seq(pages[0], newest(pages[0]) + 20)
            # The tab that asked for the lock first has it, and the others follow in the order in which they opened.
            pages.pop(0).close()
            wait_for_seq(pages[-1], newest(pages[-1]) + 20)
    finally:
        going_on.set()
        publisher.join()
    last = run.finish()
    wait_for_seq(pages[0], last)
    assert seen(pages[0]) == up_to(last)
    assert len(run.resumed_after) == 4


def test_without_web_locks_each_tab_has_its_own_stream(context: BrowserContext, server: RunServer) -> None:
    context.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', { get: () => undefined })")
    pages = [open_tab(context, server) for _ in range(2)]
    server.run.wait_for_open(2)
    server.run.progress(10)
    last = server.run.finish()
    for page in pages:
        wait_for_seq(page, last)
        assert seen(page) == up_to(last)


def test_a_page_in_the_back_forward_cache_holds_no_connection_and_goes_on_when_it_is_back(
    context: BrowserContext, server: RunServer
) -> None:
    run = server.run
    page = open_tab(context, server)
    wait_for_seq(page, run.progress(10))
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    run.wait_for_open(0)
    run.progress(10)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    wait_for_seq(page, run.finish())
    assert seen(page) == up_to(21)
    assert run.resumed_after == [0, 10]


def test_a_network_that_is_back_is_used_at_once(context: BrowserContext, server: RunServer) -> None:
    run = server.run
    run.retry = 600_000
    page = open_tab(context, server)
    wait_for_seq(page, run.progress(3))
    context.set_offline(True)
    run.cut()
    page.wait_for_function("connections.at(-1)[0] === 'lost'")
    run.progress(3)
    context.set_offline(False)
    wait_for_seq(page, run.finish())
    assert seen(page) == up_to(7)


FRAMES: dict[str, list[bytes]] = {
    "keep-alive with one newline": [b": keep-alive\n", b"data: a\nid: 1\n\n", b": keep-alive\n"],
    "keep-alive with an empty line": [b": keep-alive\n\n", b"data: a\nid: 1\n\n", b": keep-alive\n\n"],
    "keep-alive in a frame": [b"data: a\n", b": keep-alive\n", b"id: 1\n\n"],
    "many keep-alives": [b": keep-alive\n" * 5, b"data: a\nid: 1\n\n", b": keep-alive\n" * 5],
    "retry and nothing else": [b"retry: 2000\n", b"data: a\nid: 1\n\n"],
    "retry with an empty line": [b"retry: 2000\n\n", b"data: a\nid: 1\n\n"],
    "empty lines": [b"\n\n", b"data: a\nid: 1\n\n", b"\n\n\n"],
    "CRLF, cut between the two": [b"data: a\r", b"\nid: 1\r", b"\n\r", b"\ndata: b\r\n\r\n"],
    "CR only": [b"data: a\rid: 1\r\r", b"data: b\r\r"],
    "byte order mark, cut": [b"\xef\xbb", b"\xbfdata: a\n\n"],
    "characters, cut": [b"data: \xf0\x9f", b"\x9a\x80 gr\xc3", b"\xbc\xc3\x9fe\n\n"],
    "no space, two spaces": [b"data:a\ndata:  b\n\n"],
    "empty data": [b"data\n\n", b"data:\nid: 2\n\n"],
    "id with NUL": [b"id: 1\ndata: a\n\n", b"id: 2\x002\ndata: b\n\n"],
    "id before data, id alone": [b"id: 1\ndata: a\n\n", b"id: 2\n\n", b"data: b\n\n"],
    "fields that are not known": [b"Data: x\n data: y\nfoo: z\nfoo\ndata: a\n\n"],
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_are_read_as_the_browser_itself_reads_them(
    context: BrowserContext, server: RunServer, name: str
) -> None:
    server.run.bytes_by_path["/frames"] = [*FRAMES[name], b"\ndata: last\nid: 99\n\n"]
    page = open_tab(context, server, idle=True)
    ours, browsers = page.evaluate(
        """async () => {
            const ours = [];
            const client = new EventStreamClient("/frames", {
                onMessage: ({ data, lastEventId }) => {
                    ours.push([data, lastEventId]);
                    return data === "last";
                },
            });
            await client.run();
            const browsers = [];
            await new Promise((resolve) => {
                const source = new EventSource("/frames");
                source.onmessage = ({ data, lastEventId }) => {
                    browsers.push([data, lastEventId]);
                    if (data === "last") resolve(source.close());
                };
            });
            return [ours, browsers];
        }"""
    )
    assert ours == browsers
    assert ours[-1] == ["last", "99"]
    is_made_empty = name == "empty data"
    assert is_made_empty or all(data for data, _ in ours), "an empty message was delivered"


def test_a_state_is_painted_into_every_hook(context: BrowserContext, server: RunServer) -> None:
    page = open_tab(context, server, idle=True)
    done = {"startedAt": STARTED_AT, "finishedAt": STARTED_AT, "attempt": 1}
    error = {"type": "HTTPError", "message": "The server answered 500.", "hint": ""}
    nodes = {
        "start": {**done, "status": "success", "durationMs": 2000, "itemCounts": {"main": 3}},
        "left": {**done, "status": "waiting", "attempt": 2, "durationMs": 350, "error": error},
        "right": {**done, "status": "running", "progress": {"fraction": 0.25, "message": "page 1", "text": "Once"}},
    }
    paint(page, status="running", progress={"done": 1, "total": 4}, nodes=nodes)
    assert page.get_attribute("[data-run]", "data-status") == "running"
    assert page.text_content("[data-run-status]") == "running"
    assert page.text_content("[data-run-count]") == "1 / 4"
    assert page.evaluate("(({ value, max }) => [value, max])(document.querySelector('[data-run-progress]'))") == [1, 4]
    expected = {
        ("start", "data-node-status"): "success",
        ("start", "data-node-duration"): "2.0 s",
        ("start", "data-node-items"): "3 items",
        ("start", "data-node-attempt"): "",
        ("left", "data-node-status"): "waiting",
        ("left", "data-node-duration"): "350 ms",
        ("left", "data-node-attempt"): "attempt 2",
        ("left", "data-node-error"): "The server answered 500.",
        ("right", "data-node-message"): "page 1",
        ("right", "data-node-text"): "Once",
        ("join", "data-node-status"): "idle",
        ("join", "data-node-duration"): "",
    }
    assert {key: text_of(page, *key) for key in expected} == expected
    assert page.evaluate("document.querySelector('[data-node=right] progress').value") == pytest.approx(0.25)
    assert page.is_visible("[data-node=right] progress")
    assert page.is_hidden("[data-node=start] progress")
    edges = page.evaluate(
        """Object.fromEntries([...document.querySelectorAll("[data-edge]")].map(({ dataset, textContent }) =>
            [`${dataset.source}-${dataset.target}`, [dataset.state, textContent.trim()]]))"""
    )
    assert edges == {
        "start-left": ["taken", "3"],
        "start-right": ["flowing", "3"],
        "left-join": ["idle", ""],
        "right-join": ["idle", ""],
    }


def test_a_run_that_begins_anew_leaves_nothing_of_the_last_one(context: BrowserContext, server: RunServer) -> None:
    page = open_tab(context, server, idle=True)
    error = {"nodeId": "left", "type": "X", "message": "It broke.", "hint": ""}
    nodes = {"left": {"status": "error", "durationMs": 5, "error": error, "attempt": 3, "itemCounts": {"main": 1}}}
    paint(page, status="error", startedAt=STARTED_AT, finishedAt=STARTED_AT, durationMs=5, error=error, nodes=nodes)
    assert page.text_content("[data-run-error]") == "It broke."
    assert page.text_content("[data-run-duration]") == "5 ms"
    paint(page)
    assert page.text_content("[data-run-error]") == ""
    assert page.text_content("[data-run-duration]") == ""
    assert page.get_attribute("[data-node=left]", "data-status") == "idle"
    marks = ("data-node-duration", "data-node-error", "data-node-attempt", "data-node-items")
    assert [text_of(page, "left", mark) for mark in marks] == ["", "", "", ""]


def test_the_duration_of_a_running_node_grows_and_its_status_does_not(
    context: BrowserContext, server: RunServer
) -> None:
    page = open_tab(context, server, idle=True)
    now = page.evaluate("new Date(Date.now() - 65000).toISOString()")
    paint(page, status="running", startedAt=now, nodes={"left": {"status": "running", "attempt": 1, "startedAt": now}})
    assert text_of(page, "left", "data-node-duration") in {"1 m 05 s", "1 m 06 s"}
    page.wait_for_function("document.querySelector('[data-node=left] [data-node-duration]').textContent > '1 m 06 s'")
    assert page.text_content("[data-run-duration]") >= "1 m 06 s"  # type: ignore[operator]
    assert page.get_attribute("[data-node=left]", "data-status") == "running"
    paint(page, status="paused", startedAt=now, nodes={"left": {"status": "success", "durationMs": 66_000}})
    assert text_of(page, "left", "data-node-duration") == "1 m 06 s"


def test_a_clock_that_is_behind_the_servers_does_not_count_backwards(
    context: BrowserContext, server: RunServer
) -> None:
    page = open_tab(context, server, idle=True)
    ahead = page.evaluate("new Date(Date.now() + 3600000).toISOString()")
    paint(page, status="running", startedAt=ahead, nodes={"left": {"status": "running", "startedAt": ahead}})
    page.wait_for_function("document.querySelector('[data-node=left] [data-node-duration]').textContent === '0.3 s'")


def test_cards_that_are_added_later_are_painted_too(context: BrowserContext, server: RunServer) -> None:
    page = open_tab(context, server, idle=True)
    nodes = {"left": {"status": "success"}, "new": {"status": "error"}}
    paint(page, nodes=nodes)
    page.evaluate(
        """() => {
            const cards = document.querySelector("#cards");
            cards.innerHTML = cards.innerHTML.replaceAll("success", "idle");
            cards.insertAdjacentHTML("beforeend", '<div data-node="new"></div><div data-node="left"></div>');
        }"""
    )
    paint(page, nodes=nodes)
    assert page.get_attribute("[data-node=new]", "data-status") == "error"
    statuses = page.evaluate("[...document.querySelectorAll('[data-node=left]')].map((card) => card.dataset.status)")
    assert statuses == ["success", "success"]


def test_a_storm_of_events_is_painted_once_a_frame(context: BrowserContext, server: RunServer) -> None:
    run = server.run
    page = open_tab(context, server, idle=True)
    page.evaluate(
        """() => {
            window.frameCount = 0;
            window.writes = 0;
            const count = () => { frameCount += 1; requestAnimationFrame(count); };
            requestAnimationFrame(count);
            new MutationObserver((records) => { writes += records.length; })
                .observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
            start();
        }"""
    )
    events = 0
    pause = threading.Event()
    while events < 3000:
        for number in range(20):
            run.publish("nodeExecutionProgress", nodeId="left", fraction=None, message=str(number), text="x")
        events += 20
        pause.wait(0.02)
    wait_for_seq(page, run.finish())
    assert seen(page) == up_to(3001)
    page.wait_for_selector('[data-run][data-status="success"]')
    frames, writes = page.evaluate("[frameCount, writes]")
    # The message and the text of one node, in each frame: never one write for each event.
    assert writes <= 2 * frames + 20
    assert frames >= 20, "the page stood still"
