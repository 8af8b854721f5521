"""A run's page in the admin, watched in a browser: live to its end, paused, resumed, canceled, retried."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import TIMEOUT, Site

expect.set_options(timeout=TIMEOUT)


def graph_of(*nodes: tuple[str, str, dict[str, Any]], settings: dict[str, Any] | None = None) -> dict[str, Any]:
    """A manual start, then nodes of these ids, types and parameters in a chain; `settings` are the last one's."""
    listed: list[dict[str, Any]] = [{"id": "start", "type": "manual", "name": "Start", "position": [0, 0]}]
    for number, (node_id, type_name, params) in enumerate(nodes, start=1):
        name = node_id.capitalize()
        position = [280 * number, 0]
        listed.append({"id": node_id, "type": type_name, "name": name, "params": params, "position": position})
    listed[-1]["settings"] = settings or {}
    edges = [{"source": a["id"], "target": b["id"]} for a, b in pairwise(listed)]
    return {"nodes": listed, "edges": edges}


def wait(node_id: str, seconds: float) -> tuple[str, str, dict[str, Any]]:
    return node_id, "delay", {"seconds": seconds}


class RunPage:
    """The page, as its reader finds things on it."""

    def __init__(self, page: Page, site: Site) -> None:
        self.page = page
        self.site = site

    def start(self, graph: dict[str, Any]) -> str:
        """Start a run of the graph, and open its page."""
        flow_id = self.site.create_flow(graph)
        body = {"flow_id": flow_id, "input_data": {"who": "me"}}
        run = str(self.site.answer("POST", "executions", body)["id"])
        self.open(run)
        return run

    def open(self, run: str) -> None:
        self.page.goto(f"/admin/executions/execution/{run}/change/")

    def expect_run(self, status: str) -> None:
        expect(self.page.locator("[data-run]")).to_have_attribute("data-status", status)

    def expect_node(self, node_id: str, status: str) -> None:
        """In the graph and in the table alike."""
        for kind in ("g", "tr"):
            expect(self.page.locator(f'{kind}[data-node="{node_id}"]')).to_have_attribute("data-status", status)

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def bars(self, node_id: str) -> Any:
        return self.page.locator(f'[data-row="{node_id}"] .wo-bar')


@pytest.fixture
def run_page(page: Page, site: Site) -> RunPage:
    return RunPage(page, site)


def test_a_run_is_watched_live_to_its_end(run_page: RunPage) -> None:
    run_page.start(graph_of(wait("one", 3), wait("two", 1.5)))
    run_page.expect_run("running")
    run_page.expect_node("one", "running")
    run_page.expect_node("two", "running")
    run_page.expect_node("one", "success")
    run_page.expect_run("success")
    page = run_page.page
    expect(page.locator("[data-run-count]")).to_have_text("3 / 3")
    expect(page.locator('tr[data-node="one"] [data-node-items]')).to_have_text("1 item")
    for node_id in ("start", "one", "two"):
        expect(run_page.bars(node_id)).to_have_attribute("data-status", "success")
    expect(page.locator("[data-now-line]")).to_have_count(0)
    expect(page.locator('[data-part="output"]')).to_contain_text('"who": "me"')
    expect(run_page.button("Retry from start")).to_be_visible()
    expect(run_page.button("Cancel")).to_be_hidden()


def test_the_bar_of_a_running_node_grows_and_the_axis_with_it(run_page: RunPage) -> None:
    run_page.start(graph_of(wait("long", 30)))
    bar = run_page.bars("long")
    expect(bar).to_have_attribute("data-status", "running")
    width = "() => parseFloat(document.querySelector('[data-row=long] .wo-bar').getAttribute('width'))"
    before = run_page.page.evaluate(width)
    run_page.page.wait_for_function(f"({width})() > {before} + 1")
    span = "() => Number(document.querySelector('[data-timeline]').dataset.span)"
    first = run_page.page.evaluate(span)
    run_page.page.wait_for_function(f"({span})() > {first}")
    run_page.button("Cancel").click()
    run_page.expect_run("canceled")
    expect(bar).to_have_attribute("data-status", "canceled")


def test_a_run_is_paused_resumed_and_canceled_from_the_page(run_page: RunPage) -> None:
    run = run_page.start(graph_of(wait("one", 3), wait("two", 30)))
    run_page.expect_node("one", "running")
    run_page.button("Pause").click()
    run_page.expect_run("pausing")
    run_page.expect_run("paused")
    run_page.expect_node("one", "success")
    run_page.expect_node("two", "idle")
    expect(run_page.button("Pause")).to_be_hidden()
    run_page.button("Resume").click()
    run_page.expect_run("running")
    run_page.expect_node("two", "running")
    run_page.button("Cancel").click()
    run_page.expect_run("canceled")
    run_page.expect_node("two", "canceled")
    history = run_page.page.locator('[data-part="history"]')
    for said in ("told to pause by demo", "told to resume by demo", "told to cancel by demo"):
        expect(history).to_contain_text(said)
    assert run_page.site.state(run)["status"] == "canceled"


def test_a_control_that_comes_too_late_is_refused_in_words(run_page: RunPage) -> None:
    run = run_page.start(graph_of(wait("long", 30)))
    run_page.expect_run("running")
    # At once, for the next event hides it again.
    run_page.page.evaluate("document.querySelector('[data-control=resume]').click()")
    expect(run_page.page.get_by_role("alert").filter(visible=True)).to_contain_text("cannot be told to resume")
    run_page.site.answer("POST", f"executions/{run}/cancel")
    run_page.expect_run("canceled")


def test_a_failed_run_says_why_shows_its_attempts_and_is_retried(run_page: RunPage) -> None:
    page = run_page.page
    retry = {"retry": {"max_attempts": 2, "backoff": 4}}
    run = run_page.start(graph_of(wait("one", 0.1), ("bad", "fail", {"message": "No money"}), settings=retry))
    run_page.expect_node("bad", "waiting")
    expect(run_page.bars("bad").filter(has_text="waiting")).to_have_count(1)
    run_page.expect_run("error")
    failure = page.locator("[data-run-failure]")
    expect(failure).to_contain_text("What went wrong in “Bad”")
    expect(failure).to_contain_text("No money")
    expect(failure).to_contain_text("fails whenever it is reached")
    expect(page.locator('tr[data-node="bad"] [data-node-attempt]')).to_have_text("attempt 2")
    expect(run_page.bars("bad")).to_have_count(3)
    run_page.button("Retry from failed node").click()
    page.wait_for_url(lambda url: run not in url)
    expect(page.locator('[data-row="one"]')).to_contain_text("taken over")
    run_page.expect_node("one", "success")
    run_page.expect_run("error")
    expect(page.locator('[data-part="history"]')).to_contain_text("as a retry of")


def test_a_nodes_window_shows_what_went_in_and_out_and_follows_it(run_page: RunPage) -> None:
    page = run_page.page
    run_page.start(graph_of(wait("one", 4)))
    run_page.expect_node("one", "running")
    page.get_by_role("link", name="One", exact=True).click()
    window = page.get_by_role("dialog", name="One")
    expect(window).to_contain_text("Nothing came out yet.")
    expect(window.get_by_role("region", name="Input")).to_contain_text('"who": "me"')
    expect(window.get_by_role("region", name="Output")).to_contain_text('"who": "me"')
    page.keyboard.press("Escape")
    expect(window).to_be_hidden()
    page.locator('g[data-node="start"]').click()
    expect(page.get_by_role("dialog", name="Start")).to_contain_text("Attempt 1")


def test_reloaded_in_mid_run_the_page_shows_the_true_state_and_goes_on(run_page: RunPage) -> None:
    run_page.start(graph_of(wait("one", 0.3), wait("two", 4)))
    run_page.expect_node("two", "running")
    run_page.page.reload()
    run_page.expect_node("one", "success")
    run_page.expect_node("two", "running")
    run_page.expect_run("success")


IS_IN_SIGHT = """nodeId => {
  const frame = document.querySelector("[data-run-graph]").getBoundingClientRect();
  const card = document.querySelector(`g[data-node="${nodeId}"]`).getBoundingClientRect();
  return card.left >= frame.left && card.right <= frame.right;
}"""


def test_on_a_narrow_window_the_graph_is_at_the_node_that_failed(run_page: RunPage) -> None:
    page = run_page.page
    page.set_viewport_size({"width": 400, "height": 900})
    run_page.start(graph_of(wait("one", 0.1), wait("two", 0.1), ("bad", "fail", {"message": "No"})))
    run_page.expect_run("error")
    page.wait_for_function(IS_IN_SIGHT, arg="bad")
    page.reload()
    page.wait_for_function(IS_IN_SIGHT, arg="bad")


def test_on_a_narrow_window_the_graph_opens_at_the_node_that_runs(run_page: RunPage) -> None:
    page = run_page.page
    run_page.start(graph_of(wait("one", 0.1), wait("two", 30)))
    run_page.expect_node("two", "running")
    page.set_viewport_size({"width": 400, "height": 900})
    page.reload()
    page.wait_for_function(IS_IN_SIGHT, arg="two")
    run_page.button("Cancel").click()
    run_page.expect_run("canceled")


@pytest.mark.parametrize("width", [1280, 400])
def test_a_long_name_without_spaces_pushes_nothing_out_of_sight(run_page: RunPage, width: int) -> None:
    page = run_page.page
    page.set_viewport_size({"width": width, "height": 900})
    flow_id = run_page.site.create_flow(graph_of(wait("one", 0.1)), "W" * 120)
    run = run_page.site.answer("POST", "executions", {"flow_id": flow_id})["id"]
    run_list = "/admin/executions/execution/"
    for address in (f"{run_list}{run}/change/", f"/admin/flows/flow/{flow_id}/change/", f"{run_list}?flow={flow_id}"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    if width == 1280:
        mode = page.locator("#result_list .field-mode").first.bounding_box()
        filters = page.locator("#changelist-filter").bounding_box()
        assert mode and filters and mode["x"] + mode["width"] <= filters["x"]
        page.goto(f"/admin/flows/flow/{flow_id}/change/")
        heading = page.locator("#content > h2").bounding_box()
        tools = page.locator(".object-tools").bounding_box()
        assert heading and tools and heading["x"] + heading["width"] <= tools["x"]
        slug = page.locator(".field-slug .readonly")
        assert slug.evaluate("element => element.getBoundingClientRect().right <= innerWidth - 20")


@pytest.fixture
def without_script(context: BrowserContext, context_options: dict[str, Any], site: Site) -> Iterator[Page]:
    browser = context.browser
    assert browser is not None
    plain = browser.new_context(
        base_url=site.url, storage_state=context.storage_state(), java_script_enabled=False, **context_options
    )
    yield plain.new_page()
    plain.close()


def test_without_scripts_the_controls_are_forms_and_nodes_are_pages(without_script: Page, site: Site) -> None:
    run_page = RunPage(without_script, site)
    run_page.start(graph_of(wait("long", 30)))
    run_page.button("Cancel").click()
    expect(without_script.locator(".messagelist")).to_contain_text("The run was told to cancel.")
    without_script.get_by_role("link", name="Start", exact=True).click()
    expect(without_script.get_by_role("region", name="Input")).to_contain_text('"who": "me"')


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_its_window_in_the_theme_that_was_chosen(run_page: RunPage, width: int, theme: str) -> None:
    """The admin's own switch wins over the system's preference."""
    page = run_page.page
    page.emulate_media(color_scheme="dark" if theme == "light" else "light")
    page.set_viewport_size({"width": width, "height": 900})
    page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    run_page.start(graph_of(wait("one", 0.1)))
    run_page.expect_run("success")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    panel = page.locator(".wo-panel").first.evaluate("element => getComputedStyle(element).backgroundColor")
    assert panel == {"light": "rgb(255, 255, 255)", "dark": "rgb(26, 33, 43)"}[theme]
