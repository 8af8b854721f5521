"""The edit page in a real browser: running a flow and watching it, reading its nodes, editing and saving it."""

from __future__ import annotations

import re
import time
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, StorageState, expect

from tests.browser.conftest import TIMEOUT, Site
from tests.browser.proxy import proxy_to
from tests.servers import wait_until

expect.set_options(timeout=TIMEOUT)

Graph = dict[str, Any]


def node(name: str, kind: str, params: Graph | None = None, at: tuple[int, int] = (0, 0), **settings: Any) -> Graph:
    return {
        "id": name.lower().replace(" ", "-"),
        "type": kind,
        "name": name,
        "params": params or {},
        "position": list(at),
        "settings": settings,
    }


def chain(*nodes: Graph) -> Graph:
    edges = [{"source": one["id"], "target": two["id"]} for one, two in pairwise(nodes)]
    return {"nodes": list(nodes), "edges": edges}


def waits(*seconds: float) -> Graph:
    """Manual start, then a delay for each of the seconds, side by side."""
    delays = [
        node(f"Wait {index}", "delay", {"seconds": value}, (280 * index, 0)) for index, value in enumerate(seconds, 1)
    ]
    return chain(node("Start", "manual"), *delays)


def open_flow(page: Page, flow_id: int) -> None:
    page.goto(f"/flows/{flow_id}/edit")
    page.locator("[data-ready]").wait_for()


def card(page: Page, node_id: str) -> Locator:
    return page.locator(f'.node[data-node="{node_id}"]')


def expect_status(page: Page, **statuses: str) -> None:
    for node_id, status in statuses.items():
        expect(card(page, node_id.replace("_", "-"))).to_have_attribute("data-status", status)


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def expect_run_status(page: Page, status: str) -> None:
    expect(page.locator("[data-run]")).to_have_attribute("data-status", status)


WATCH = """
() => {
  window.seen = [];
  for (const card of document.querySelectorAll(".node")) {
    new MutationObserver(() => window.seen.push([card.dataset.node, card.dataset.status, Date.now()]))
      .observe(card, { attributes: true, attributeFilter: ["data-status"] });
  }
}
"""
"""Keeps every change of a card's status, with its moment."""


def test_a_run_is_seen_node_by_node_at_the_moment_the_server_says_so(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(0.8, 0.6))
    open_flow(page, flow_id)
    page.evaluate(WATCH)
    button(page, "Run").click()
    expect(page.get_by_role("status").filter(has_text="Workflow executed successfully!")).to_be_visible()
    seen = [tuple(each) for each in page.evaluate("window.seen")]
    assert [each[:2] for each in seen if each[0] != "start"] == [
        ("wait-1", "running"),
        ("wait-1", "success"),
        ("wait-2", "running"),
        ("wait-2", "success"),
    ]
    state = site.state(site.runs(flow_id)[0]["id"])
    for node_id, status, moment in seen:
        stamp = state["nodes"][node_id]["startedAt" if status == "running" else "finishedAt"]
        assert abs(moment / 1000 - datetime.fromisoformat(stamp).timestamp()) < 0.5


def test_each_node_shows_its_sign_and_its_duration(page: Page, site: Site) -> None:
    open_flow(page, site.create_flow(waits(0.7, 30)))
    expect_status(page, start="idle", wait_1="idle", wait_2="idle")
    button(page, "Run").click()
    expect_status(page, wait_2="running")
    expect(card(page, "wait-1").locator("[data-node-duration]")).to_have_text(re.compile(r"^0\.7 s$|^7\d\d ms$"))
    expect(card(page, "wait-1").locator(".sign-success")).to_be_visible()
    expect(card(page, "wait-1").locator(".sign-idle")).to_be_hidden()
    expect(card(page, "wait-2").locator(".sign-running")).to_be_visible()
    expect(card(page, "wait-2").locator("[data-node-duration]")).to_have_text(re.compile(r"^1\.\d s$"))
    expect(page.locator("[data-run-count]")).to_have_text("2 / 3")
    assert page.locator("[data-run-progress]").evaluate("bar => bar.value / bar.max") == pytest.approx(2 / 3)
    button(page, "Cancel").click()
    expect_run_status(page, "canceled")


def test_a_second_run_begins_with_every_node_idle(page: Page, site: Site) -> None:
    open_flow(page, site.create_flow(waits(0.2, 30)))
    button(page, "Run").click()
    expect_status(page, wait_2="running")
    button(page, "Cancel").click()
    expect_status(page, wait_1="success", wait_2="canceled")
    page.evaluate(WATCH)
    button(page, "Run").click()
    expect_status(page, wait_2="running")
    changes = [each[:2] for each in page.evaluate("window.seen") if each[0] == "wait-2"]
    assert changes == [["wait-2", "idle"], ["wait-2", "running"]]
    button(page, "Cancel").click()
    expect_run_status(page, "canceled")


def test_a_reload_in_mid_run_shows_the_true_state_and_goes_on_live(page: Page, site: Site) -> None:
    open_flow(page, site.create_flow(waits(0.3, 2.5, 0.3)))
    button(page, "Run").click()
    expect_status(page, wait_2="running")
    page.reload()
    expect_status(page, start="success", wait_1="success", wait_2="running", wait_3="idle")
    expect(button(page, "Pause")).to_be_visible()
    expect_status(page, wait_2="success", wait_3="success")
    expect(page.get_by_text("Workflow executed successfully!")).to_be_visible()


def test_a_run_that_was_started_elsewhere_is_shown_on_load(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(30))
    run = site.answer("POST", "executions", {"flow_id": flow_id, "input_data": {}})
    open_flow(page, flow_id)
    expect_status(page, wait_1="running")
    site.answer("POST", f"executions/{run['id']}/cancel", {})
    expect_status(page, wait_1="canceled")


def test_runs_started_elsewhere_are_followed_by_a_page_that_is_open_and_what_is_unsaved_stays(
    page: Page, site: Site
) -> None:
    flow_id = site.create_flow(waits(30))
    open_flow(page, flow_id)
    card(page, "wait-1").click()
    page.locator("#param-seconds").fill("7")
    for _ in range(2):
        run = site.answer("POST", "executions", {"flow_id": flow_id, "input_data": {}})
        expect_status(page, wait_1="running")
        site.answer("POST", f"executions/{run['id']}/cancel", {})
        expect_status(page, wait_1="canceled")
    expect(page.locator("#param-seconds")).to_have_value("7")
    expect(page.get_by_text("Unsaved changes")).to_be_visible()
    assert site.flow(flow_id)["version"] == 1


def test_a_run_started_in_one_tab_is_live_in_the_other(context: BrowserContext, page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(30))
    other = context.new_page()
    open_flow(other, flow_id)
    open_flow(page, flow_id)
    button(page, "Run").click()
    expect_status(other, wait_1="running")
    button(page, "Cancel").click()
    expect_status(other, wait_1="canceled")


def test_a_followed_run_is_not_left_for_a_newer_one(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(30))
    open_flow(page, flow_id)
    button(page, "Run").click()
    expect_status(page, wait_1="running")
    newer = site.answer("POST", "executions", {"flow_id": flow_id, "input_data": {}})
    site.answer("POST", f"executions/{newer['id']}/cancel", {})
    with page.expect_request(re.compile(f"executions/{newer['id']}$")):  # only then is the newer one asked for
        expect_status(page, wait_1="running")
        button(page, "Cancel").click()
        expect(page.get_by_text("The run was canceled.")).to_be_visible()
    expect_run_status(page, "canceled")


def test_a_run_of_another_version_leaves_what_it_does_not_have_idle(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(0.1, 0.1))
    open_flow(page, flow_id)
    button(page, "Run").click()
    expect_status(page, wait_1="success", wait_2="success")
    site.answer("PATCH", f"flows/{flow_id}", {"graph": waits(0.2), "base": 1})
    site.answer("POST", "executions", {"flow_id": flow_id, "input_data": {}})
    expect_status(page, wait_1="success", wait_2="idle")
    expect(page.locator("[data-run-count]")).to_have_text("2 / 2")


def test_pause_resume_and_cancel_are_offered_as_the_status_admits(page: Page, site: Site) -> None:
    open_flow(page, site.create_flow(waits(0.8, 30)))
    expect(button(page, "Run")).to_be_visible()
    for name in ("Pause", "Resume", "Cancel", "Retry"):
        expect(button(page, name)).to_be_hidden()
    button(page, "Run").click()
    expect(button(page, "Run")).to_be_hidden()
    button(page, "Pause").click()
    expect_run_status(page, "paused")
    expect_status(page, wait_1="success", wait_2="idle")
    expect(button(page, "Pause")).to_be_hidden()
    button(page, "Resume").click()
    expect_status(page, wait_2="running")
    button(page, "Cancel").click()
    expect_run_status(page, "canceled")
    expect(page.get_by_text("The run was canceled.")).to_be_visible()
    expect(button(page, "Retry")).to_be_visible()
    expect(button(page, "Run")).to_be_visible()


def test_canceling_a_long_wait_is_seen_at_once(page: Page, site: Site) -> None:
    open_flow(page, site.create_flow(waits(30)))
    button(page, "Run").click()
    expect_status(page, wait_1="running")
    expect(button(page, "Cancel")).to_be_visible()
    began = time.monotonic()
    button(page, "Cancel").click()
    expect_status(page, wait_1="canceled")
    assert time.monotonic() - began < 1.5


def test_a_double_click_on_run_starts_one_run_and_stops_none(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(0.6))
    open_flow(page, flow_id)
    button(page, "Run").dblclick()
    expect_run_status(page, "success")
    assert [run["status"] for run in site.runs(flow_id)] == ["success"]


FAILING = chain(
    node("Start", "manual"),
    node("Prepare", "delay", {"seconds": 0.1}, (280, 0)),
    node("Charge card", "fail", {"message": "The card was refused."}, (4000, 2000)),
)


def test_a_failure_names_the_node_and_brings_it_into_view(page: Page, site: Site) -> None:
    open_flow(page, site.create_flow(FAILING))
    expect(card(page, "charge-card")).not_to_be_in_viewport()
    button(page, "Run").click()
    toast = page.get_by_role("alert").filter(has_text="“Charge card” failed: The card was refused.")
    expect(toast).to_be_visible()
    expect(card(page, "charge-card")).to_be_in_viewport(ratio=1)
    expect_run_status(page, "error")
    toast.get_by_role("button", name="Open node").click()
    panel = page.get_by_role("complementary", name="Node Charge card")
    expect(panel.get_by_role("alert")).to_contain_text("The card was refused.")


def test_what_was_repaired_is_retried_without_doing_the_rest_again(page: Page, site: Site) -> None:
    flow_id = site.create_flow(FAILING)
    open_flow(page, flow_id)
    button(page, "Run").click()
    expect_run_status(page, "error")
    page.get_by_role("button", name="Open node").click()
    page.get_by_role("tab", name="Parameters").click()
    page.locator("[data-settings] summary").click()
    page.locator('[data-setting="disabled"] .switch').click()
    button(page, "Retry").click()
    expect_run_status(page, "success")
    newest, oldest = site.runs(flow_id)
    assert newest["retry_of"] == oldest["id"]
    assert newest["flow_version"] == 2
    before, after = site.state(oldest["id"])["nodes"], site.state(newest["id"])["nodes"]
    assert after["prepare"]["startedAt"] in (None, before["prepare"]["startedAt"])


def test_an_opened_node_shows_its_input_and_output(page: Page, site: Site) -> None:
    fields = node("Facts", "set", {"fields": {"total": '=item["price"] * 2', "city": "Ōmi"}}, (280, 0))
    open_flow(page, site.create_flow(chain(node("Start", "manual"), fields)))
    page.get_by_role("button", name="Input of the run").click()
    page.locator("[data-input-text]").fill('{"price": 21}')
    page.get_by_role("button", name="Run with it").click()
    expect_run_status(page, "success")
    card(page, "facts").click()
    page.get_by_role("tab", name="Output").click()
    output = page.get_by_role("tabpanel", name="Output")
    expect(output.get_by_role("row").last).to_have_text(re.compile("21.*42.*Ōmi"))
    output.get_by_role("button", name="JSON", exact=True).click()
    expect(output.get_by_text("total: 42")).to_be_visible()
    page.get_by_role("tab", name="Input").click()
    received = page.get_by_role("tabpanel", name="Input")
    expect(received.get_by_text("1 item")).to_be_visible()
    expect(received).not_to_contain_text("total")


def test_a_running_node_in_the_panel_is_live(page: Page, site: Site) -> None:
    open_flow(page, site.create_flow(waits(1.5)))
    card(page, "wait-1").click()
    page.get_by_role("tab", name="Output").click()
    output = page.get_by_role("tabpanel", name="Output")
    expect(output).to_contain_text("Run the flow")
    button(page, "Run").click()
    expect(output).to_contain_text("at work")
    expect(page.locator("[data-panel-run] [data-node-status]")).to_have_text("running")
    expect(page.locator("[data-panel-run] [data-node-status]")).to_have_text("success")
    expect(output).to_contain_text("1 item")


def test_items_are_text_and_never_markup(page: Page, site: Site) -> None:
    evil = "<img src=x onerror=\"document.title='broken'\">"
    flow_id = site.create_flow(chain(node("Start", "manual"), node("Same", "noop", at=(280, 0))), name=evil)
    site.answer("POST", "executions", {"flow_id": flow_id, "input_data": {evil: evil}})
    wait_until(lambda: site.runs(flow_id)[0]["status"] == "success")
    open_flow(page, flow_id)
    expect_run_status(page, "success")
    card(page, "same").click()
    page.get_by_role("tab", name="Output").click()
    output = page.get_by_role("tabpanel", name="Output")
    expect(output.get_by_role("cell", name=evil)).to_be_visible()
    output.get_by_role("button", name="JSON", exact=True).click()
    expect(output.get_by_text(evil).first).to_be_visible()
    assert page.title() != "broken"


BRANCHES = {
    "nodes": [
        node("Start", "manual"),
        node("Large", "if", {"condition": "=item['n'] > 10"}, (280, 0)),
        node("Yes", "noop", at=(560, -80)),
        node("No", "noop", at=(560, 80)),
    ],
    "edges": [
        {"source": "start", "target": "large"},
        {"source": "large", "source_port": "true", "target": "yes"},
        {"source": "large", "source_port": "false", "target": "no"},
    ],
}


def test_the_edges_show_which_way_the_items_went(page: Page, site: Site) -> None:
    flow_id = site.create_flow(BRANCHES)
    site.answer("POST", "executions", {"flow_id": flow_id, "input_data": {"n": 5}})
    wait_until(lambda: site.runs(flow_id)[0]["status"] == "success")
    open_flow(page, flow_id)
    expect_status(page, yes="skipped", no="success")
    expect(page.locator('[data-edge][data-target="yes"]')).to_have_attribute("data-state", "skipped")
    taken = page.locator('[data-edge][data-target="no"]')
    expect(taken).to_have_attribute("data-state", "taken")
    expect(taken.locator("[data-edge-count]")).to_have_text("1")
    assert page.locator('[data-output="false"] .node-port-label').text_content() == "false"


# Editing and saving


def test_a_changed_parameter_is_saved_as_a_new_version(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(1))
    open_flow(page, flow_id)
    expect(button(page, "Save")).to_be_disabled()
    card(page, "wait-1").click()
    page.locator("#param-seconds").fill("2.5")
    page.get_by_label("Name", exact=True).fill("Wait longer")
    expect(card(page, "wait-1").locator("[data-node-summary]")).to_have_text("Seconds: 2.5")
    expect(card(page, "wait-1").locator("[data-node-name]")).to_have_text("Wait longer")
    expect(page.get_by_text("Unsaved changes")).to_be_visible()
    page.keyboard.press("Control+s")
    expect(page.locator("[data-version]")).to_have_text("v2")
    expect(button(page, "Save")).to_be_disabled()
    saved = site.flow(flow_id)["graph"]["nodes"][1]
    assert (saved["name"], saved["params"]) == ("Wait longer", {"seconds": 2.5})


def test_a_value_that_is_refused_is_said_at_its_field_and_nothing_is_saved(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(1, 1))
    open_flow(page, flow_id)
    card(page, "wait-2").click()
    page.locator("#param-seconds").fill("two")
    card(page, "wait-1").click()
    button(page, "Save").click()
    field = page.locator('[data-field="seconds"]')
    expect(page.get_by_role("complementary", name="Node Wait 2")).to_be_visible()
    expect(field.locator("[data-error]")).to_have_text("Enter a number.")
    expect(page.locator("#param-seconds")).to_be_focused()
    expect(page.locator("#param-seconds")).to_have_value("two")
    expect(card(page, "wait-2")).to_have_attribute("data-problem", "")
    assert site.flow(flow_id)["version"] == 1
    page.locator("#param-seconds").fill("2")
    button(page, "Save").click()
    expect(page.locator("[data-version]")).to_have_text("v2")
    expect(card(page, "wait-2")).not_to_have_attribute("data-problem", "")


def test_a_bad_setting_is_said_at_its_field(page: Page, site: Site) -> None:
    open_flow(page, site.create_flow(waits(1)))
    card(page, "wait-1").click()
    page.locator("[data-settings] summary").click()
    page.get_by_label("Time limit").fill("soon")
    page.get_by_label("Attempts").fill("0")
    button(page, "Save").click()
    expect(page.locator('[data-setting="timeout"] [data-error]')).to_have_text("Must be a number, not text")
    page.get_by_label("Time limit").fill("5")
    button(page, "Save").click()
    expect(page.locator('[data-setting="retry.max_attempts"] [data-error]')).to_contain_text("not between")


def test_any_field_can_be_an_expression(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(1))
    open_flow(page, flow_id)
    card(page, "wait-1").click()
    page.get_by_role("button", name="Expression for Seconds").click()
    expression = page.get_by_label("Seconds, as an expression")
    expect(expression).to_have_value("1")
    expression.fill('item["n"')
    button(page, "Save").click()
    expect(page.locator('[data-field="seconds"] [data-error]')).to_contain_text("is not an expression")
    expression.fill('item["n"]')
    button(page, "Save").click()
    expect(page.locator("[data-version]")).to_have_text("v2")
    assert site.flow(flow_id)["graph"]["nodes"][1]["params"] == {"seconds": '=item["n"]'}


def test_an_equals_sign_typed_into_an_expression_is_not_doubled(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(1))
    open_flow(page, flow_id)
    card(page, "wait-1").click()
    page.get_by_role("button", name="Expression for Seconds").click()
    expression = page.get_by_label("Seconds, as an expression")
    expression.fill("")
    expression.press_sequentially("=1 / 4")
    expect(expression).to_have_value("1 / 4")
    expression.fill("=1 / 5")  # at once, as pasting does
    expect(expression).to_have_value("1 / 5")
    button(page, "Save").click()
    expect(page.locator("[data-version]")).to_have_text("v2")
    assert site.flow(flow_id)["graph"]["nodes"][1]["params"] == {"seconds": "=1 / 5"}


def test_a_required_field_that_was_emptied_is_refused_at_the_field(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(2))
    open_flow(page, flow_id)
    card(page, "wait-1").click()
    page.locator("#param-seconds").fill("")
    button(page, "Save").click()
    expect(page.locator('[data-field="seconds"] [data-error]')).to_have_text("This field is required.")
    assert site.flow(flow_id)["version"] == 1


def test_assignments_are_edited_row_by_row(page: Page, site: Site) -> None:
    fields = node("Facts", "set", {"fields": {"city": "Ōmi", "zip": "12345", "n": 3}}, (280, 0))
    flow_id = site.create_flow(chain(node("Start", "manual"), fields))
    open_flow(page, flow_id)
    card(page, "facts").click()
    rows = page.locator(".assignment")
    assert rows.locator("input").evaluate_all("inputs => inputs.map((input) => input.value)") == [
        "city",
        "Ōmi",
        "zip",
        '"12345"',
        "n",
        "3",
    ]
    rows.nth(0).get_by_role("button", name="Remove this field").click()
    page.get_by_role("button", name="Add a field").click()
    rows.last.get_by_label("Name").fill("twice")
    rows.last.get_by_label("Value").fill("=item['n'] * 2")
    button(page, "Save").click()
    expect(page.locator("[data-version]")).to_have_text("v2")
    saved = site.flow(flow_id)["graph"]["nodes"][1]["params"]["fields"]
    assert saved == {"zip": "12345", "n": 3, "twice": "=item['n'] * 2"}


def save_meanwhile(site: Site, flow_id: int, name: str) -> None:
    flow = site.flow(flow_id)
    flow["graph"]["nodes"][0]["name"] = name
    site.answer("PATCH", f"flows/{flow_id}", {"graph": flow["graph"], "base": flow["version"]})


def change_and_save_stale(page: Page, site: Site, flow_id: int) -> Locator:
    open_flow(page, flow_id)
    card(page, "wait-1").click()
    page.locator("#param-seconds").fill("7")
    save_meanwhile(site, flow_id, "Changed by another")
    button(page, "Save").click()
    dialog = page.get_by_role("dialog", name="Someone saved a newer version")
    expect(dialog).to_contain_text("Meanwhile version 2 was saved.")
    return dialog


def test_a_stale_save_is_refused_and_nothing_is_lost(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(1))
    dialog = change_and_save_stale(page, site, flow_id)
    assert site.flow(flow_id)["version"] == 2
    dialog.get_by_role("button", name="Go on editing").click()
    expect(page.locator("#param-seconds")).to_have_value("7")
    expect(page.get_by_text("Unsaved changes")).to_be_visible()
    assert site.flow(flow_id)["graph"]["nodes"][0]["name"] == "Changed by another"


def test_after_a_stale_save_ones_own_can_be_saved_on_top(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(1))
    dialog = change_and_save_stale(page, site, flow_id)
    dialog.get_by_role("button", name="Save mine on top").click()
    expect(page.locator("[data-version]")).to_have_text("v3")
    nodes = site.flow(flow_id)["graph"]["nodes"]
    assert (nodes[0]["name"], nodes[1]["params"]) == ("Start", {"seconds": 7})


def test_after_a_stale_save_the_newest_can_be_loaded(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(1))
    dialog = change_and_save_stale(page, site, flow_id)
    dialog.get_by_role("button", name="Drop mine, reload").click()
    expect(card(page, "start").locator("[data-node-name]")).to_have_text(re.compile("Changed by"))
    expect(page.locator("[data-version]")).to_have_text("v2")


def test_leaving_with_unsaved_changes_is_asked_about(page: Page, site: Site) -> None:
    open_flow(page, site.create_flow(waits(1)))
    card(page, "wait-1").click()
    page.locator("#param-seconds").fill("7")
    asked: list[str] = []

    def stay(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.once("dialog", stay)
    page.get_by_role("link", name="WataOmi").click()
    wait_until(lambda: bool(page.evaluate("1") and asked))
    assert asked == ["beforeunload"]
    expect(page.locator("#param-seconds")).to_have_value("7")
    page.locator("#param-seconds").fill("1")
    page.get_by_role("link", name="WataOmi").click()
    expect(page.get_by_role("heading", name="Flows")).to_be_visible()


def test_run_saves_first_what_is_not_saved(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(30))
    open_flow(page, flow_id)
    card(page, "wait-1").click()
    page.locator("#param-seconds").fill("0.1")
    button(page, "Save and run").click()
    expect_run_status(page, "success")
    assert site.runs(flow_id)[0]["flow_version"] == 2


def test_run_does_not_start_what_cannot_be_saved(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(0.1))
    open_flow(page, flow_id)
    card(page, "wait-1").click()
    page.locator("#param-seconds").fill("never")
    button(page, "Save and run").click()
    expect(page.locator('[data-field="seconds"] [data-error]')).to_have_text("Enter a number.")
    assert site.runs(flow_id) == []


# Moving about


def test_a_dragged_node_takes_its_edges_along_and_is_saved(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(1, 1))
    open_flow(page, flow_id)
    edges = page.locator(".edge-line")
    before = edges.evaluate_all("lines => lines.map((line) => line.getAttribute('d'))")
    box = card(page, "wait-1").locator(".node-card").bounding_box()
    assert box
    page.mouse.move(box["x"] + 60, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 80, steps=4)
    page.mouse.move(box["x"] + 100, box["y"] + 120, steps=4)
    page.mouse.up()
    after = edges.evaluate_all("lines => lines.map((line) => line.getAttribute('d'))")
    assert after == ["M 200 36 C 260 36, 260 136, 320 136", "M 520 136 C 560 136, 520 36, 560 36"]
    assert before != after
    expect(page.locator("[data-panel]")).to_be_hidden()  # a drag is no click
    button(page, "Save").click()
    expect(page.locator("[data-version]")).to_have_text("v2")
    assert site.flow(flow_id)["graph"]["nodes"][1]["position"] == [320, 100]


def test_escape_gives_a_drag_up(page: Page, site: Site) -> None:
    open_flow(page, site.create_flow(waits(1)))
    before = card(page, "wait-1").get_attribute("transform")
    box = card(page, "wait-1").locator(".node-card").bounding_box()
    assert box
    page.mouse.move(box["x"] + 60, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 120, steps=3)
    page.keyboard.press("Escape")
    page.mouse.up()
    expect(page.locator("[data-panel]")).to_be_hidden()
    assert card(page, "wait-1").get_attribute("transform") != before  # the same place, written anew
    expect(card(page, "wait-1")).to_have_attribute("transform", "translate(280 0)")
    expect(button(page, "Save")).to_be_disabled()


def test_everything_can_be_done_by_keys(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(1, 1))
    open_flow(page, flow_id)
    card(page, "start").focus()
    page.keyboard.press("ArrowRight")
    expect(card(page, "wait-1")).to_be_focused()
    page.keyboard.press("Shift+ArrowDown")
    expect(card(page, "wait-1")).to_have_attribute("transform", "translate(280 20)")
    page.keyboard.press("Enter")
    panel = page.get_by_role("complementary", name="Node Wait 1")
    expect(panel).to_be_focused()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(card(page, "wait-1")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Enter")
    expect_status(page, wait_1="running")
    assert site.flow(flow_id)["graph"]["nodes"][1]["position"] == [280, 20]


def test_the_tabs_of_the_panel_go_by_the_arrow_keys(page: Page, site: Site) -> None:
    open_flow(page, site.create_flow(waits(1)))
    card(page, "wait-1").click()
    page.get_by_role("tab", name="Parameters").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Input")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Input")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Output")).to_have_attribute("aria-selected", "true")


def test_the_wheel_pans_and_with_control_zooms_round_the_pointer(page: Page, site: Site) -> None:
    open_flow(page, site.create_flow(waits(1)))
    place = card(page, "start").locator(".node-card")
    before = place.bounding_box()
    assert before
    page.mouse.move(before["x"], before["y"])
    page.mouse.wheel(50, 30)
    panned = place.bounding_box()
    assert panned
    assert (panned["x"], panned["y"]) == pytest.approx((before["x"] - 50, before["y"] - 30), abs=1)
    page.mouse.move(panned["x"], panned["y"])
    page.keyboard.down("Control")
    page.mouse.wheel(0, -50)
    page.keyboard.up("Control")
    zoomed = place.bounding_box()
    assert zoomed
    assert (zoomed["x"], zoomed["y"]) == pytest.approx((panned["x"], panned["y"]), abs=1.5)
    assert zoomed["width"] > panned["width"] * 1.2


def test_a_running_node_out_of_sight_is_brought_into_view(page: Page, site: Site) -> None:
    graph = waits(0.2, 1.2)
    graph["nodes"][2]["position"] = [3000, 1500]
    open_flow(page, site.create_flow(graph))
    button(page, "Run").click()
    expect(card(page, "wait-2")).to_be_in_viewport(ratio=1)


def test_a_run_that_ends_well_out_of_sight_shows_its_last_node(page: Page, site: Site) -> None:
    graph = chain(*waits(0.2)["nodes"], node("Answer", "noop", at=(3000, 0)))
    open_flow(page, site.create_flow(graph))
    expect(card(page, "answer")).not_to_be_in_viewport()
    button(page, "Run").click()
    expect(card(page, "answer")).to_be_in_viewport(ratio=1)
    expect_status(page, answer="success")


def test_who_has_moved_the_view_is_left_there(page: Page, site: Site) -> None:
    graph = chain(*waits(0.8)["nodes"], node("Answer", "noop", at=(3000, 0)))
    open_flow(page, site.create_flow(graph))
    button(page, "Run").click()
    expect_status(page, wait_1="running")
    button(page, "Zoom out").click()
    expect_run_status(page, "success")
    expect(page.get_by_text("Workflow executed successfully!")).to_be_visible()
    expect(card(page, "answer")).not_to_be_in_viewport()


# The connection


def test_a_lost_connection_is_told_and_nothing_is_missed(
    browser: Browser, site: Site, demo_login: StorageState, context_options: dict[str, Any]
) -> None:
    flow_id = site.create_flow(waits(0.5, 0.5, 0.5, 2.5))
    with proxy_to(site.server.port) as proxy:
        context = browser.new_context(base_url=proxy.url, storage_state=demo_login, **context_options)
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        open_flow(page, flow_id)
        button(page, "Run").click()
        expect_status(page, wait_1="running")
        proxy.cut()
        banner = page.locator("[data-banner]")
        expect(banner).to_be_visible()
        expect(banner).to_contain_text("Connection lost")
        run_id = site.runs(flow_id)[0]["id"]
        wait_until(lambda: site.state(run_id)["nodes"]["wait-3"]["status"] == "success")
        expect_status(page, wait_3="idle")  # what happened meanwhile is not known here yet
        proxy.mend()
        page.get_by_role("button", name="Reconnect now").click()
        expect(banner).to_be_hidden()
        expect_status(page, wait_1="success", wait_2="success", wait_3="success", wait_4="success")
        expect(page.get_by_text("Workflow executed successfully!")).to_be_visible()
        context.close()


def test_a_refused_start_says_why(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(1))
    open_flow(page, flow_id)
    site.answer("PATCH", f"flows/{flow_id}", {"active": False})
    button(page, "Run").click()
    expect(page.get_by_role("alert").filter(has_text="is not active")).to_be_visible()
    page.reload()
    expect(button(page, "Run")).to_be_disabled()


# How it looks


STATUSES = ("idle", "queued", "running", "waiting", "success", "error", "skipped", "canceled")

CONTRAST = """
(element) => {
  const colour = (value) => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = value;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const luminance = (value) => {
    const [r, g, b] = colour(value).map((each) => each / 255)
      .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const text = luminance(getComputedStyle(element.querySelector(".node-status")).fill);
  const back = luminance(getComputedStyle(element.querySelector(".node-chip-back")).fill);
  return (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
}
"""


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def schemed(context: BrowserContext, page: Page, scheme: str) -> Page:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    return page


def test_every_status_can_be_read_and_has_a_sign_of_its_own(schemed: Page, site: Site) -> None:
    open_flow(schemed, site.create_flow(waits(1)))
    subject = card(schemed, "wait-1")
    signs = set()
    for status in STATUSES:
        subject.evaluate("(element, status) => { element.dataset.status = status; }", status)
        schemed.wait_for_function(
            "element => element.getAnimations({subtree: true}).every((each) => !(each instanceof CSSTransition))",
            arg=subject.element_handle(),
        )
        assert subject.evaluate(CONTRAST) >= 4.5, status
        shown = subject.locator(".sign > use").filter(visible=True)
        assert shown.count() == 1, status
        signs.add(shown.get_attribute("href"))
    assert len(signs) == len(STATUSES)


def test_reduced_motion_stops_the_spinner(page: Page, site: Site) -> None:
    page.emulate_media(reduced_motion="reduce")
    open_flow(page, site.create_flow(waits(30)))
    button(page, "Run").click()
    expect_status(page, wait_1="running")
    expect(card(page, "wait-1").locator(".sign-running")).to_be_visible()
    assert card(page, "wait-1").evaluate("element => element.getAnimations({subtree: true}).length") == 0
    button(page, "Cancel").click()
    expect_run_status(page, "canceled")


class TestPhone:
    @pytest.fixture
    def context_options(self) -> dict[str, Any]:
        return {"viewport": {"width": 400, "height": 800}, "has_touch": True}

    def test_the_panel_is_a_sheet_at_the_foot_and_nothing_is_wider_than_the_page(self, page: Page, site: Site) -> None:
        open_flow(page, site.create_flow(waits(0.2, 0.2, 0.2)))
        button(page, "Run").tap()
        expect_run_status(page, "success")
        card(page, "wait-3").locator(".node-card").tap()
        panel = page.get_by_role("complementary", name="Node Wait 3")
        expect(panel).to_be_visible()
        panel.evaluate("element => Promise.all(element.getAnimations().map((each) => each.finished))")
        box = panel.bounding_box()
        assert box
        assert (box["x"], box["width"], round(box["y"] + box["height"])) == (0, 400, 800)
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        expect(card(page, "wait-3")).to_be_in_viewport()
        top = card(page, "wait-3").bounding_box()
        assert top
        assert top["y"] + top["height"] <= box["y"]
        page.get_by_role("button", name="Close").tap()
        expect(panel).to_be_hidden()

    def test_the_buttons_are_large_enough_for_a_finger(self, page: Page, site: Site) -> None:
        open_flow(page, site.create_flow(waits(30)))
        button(page, "Run").tap()
        for name in ("Pause", "Cancel"):
            box = button(page, name).bounding_box()
            assert box
            assert box["height"] >= 40
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 400
        button(page, "Cancel").tap()
        expect_run_status(page, "canceled")


def test_the_list_shows_how_the_newest_run_of_each_flow_stands(page: Page, site: Site) -> None:
    flow_id = site.create_flow(waits(1.5), name="Shown in the list")
    page.goto("/?q=Shown+in+the+list")
    row = page.locator(f'[data-flow="{flow_id}"]')
    expect(row).to_contain_text("not run yet")
    site.answer("POST", "executions", {"flow_id": flow_id, "input_data": {}})
    page.reload()
    expect(row.locator("[data-run-status]")).to_have_text("running")
    expect(row.locator("[data-run-status]")).to_have_text("success")
    row.get_by_role("link").click()
    expect(page).to_have_title(re.compile("Shown in the list"))
