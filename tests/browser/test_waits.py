"""An approval, as people go through it: the link on the edit page and the run's page, and the page behind it."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import TIMEOUT, Site

expect.set_options(timeout=TIMEOUT)

SCREENSHOTS = os.environ.get("SCREENSHOTS", "")
"""A folder for pictures of what is tested; none without it."""


def approval(**params: Any) -> dict[str, Any]:
    nodes = [
        {"id": "start", "type": "manual", "name": "Start", "position": [0, 0]},
        {"id": "ask", "type": "wait_for_resume", "name": "Approve order", "params": params, "position": [280, 0]},
        {"id": "yes", "type": "noop", "name": "Ship", "position": [560, -60]},
        {"id": "late", "type": "noop", "name": "Remind", "position": [560, 60]},
    ]
    edges = [
        {"source": "start", "target": "ask"},
        {"source": "ask", "source_port": "resumed", "target": "yes"},
        {"source": "ask", "source_port": "timeout", "target": "late"},
    ]
    return {"nodes": nodes, "edges": edges}


def picture(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png")


def test_a_run_is_approved_by_its_link_without_scripts_or_an_account(page: Page, site: Site, browser: Browser) -> None:
    flow_id = site.create_flow(approval(), name="Orders")
    page.goto(f"/flows/{flow_id}/edit")
    page.get_by_role("button", name="Run", exact=True).click()
    card = page.locator('g[data-node="ask"]')
    expect(card).to_have_attribute("data-status", "waiting")
    card.click()
    panel = page.locator("[data-panel-run]")
    expect(panel.locator("[data-node-message]")).to_have_text("until it is resumed")
    link = panel.get_by_role("link", name="Resume link")
    expect(link).to_be_visible()
    expect(page.locator("[data-run-status]")).to_have_text("waiting")
    picture(page, "edit-page")
    address = urlsplit(str(link.get_attribute("href"))).path

    context = browser.new_context(base_url=site.url, java_script_enabled=False, viewport={"width": 420, "height": 640})
    try:
        visitor = context.new_page()
        visitor.goto(address)
        expect(visitor.get_by_role("heading", name="Approve order")).to_be_visible()
        visitor.get_by_label("Comment").fill("Looks good")
        picture(visitor, "resume-page")
        visitor.get_by_role("button", name="Approve").click()
        expect(visitor.get_by_role("status")).to_contain_text("Approved.")
        picture(visitor, "resume-page-approved")
        visitor.goto(address)
        expect(visitor.get_by_role("status")).to_contain_text("The run has ended")
        picture(visitor, "resume-page-ended")
    finally:
        context.close()

    expect(page.locator('g[data-node="yes"]')).to_have_attribute("data-status", "success")
    expect(page.locator('g[data-node="late"]')).to_have_attribute("data-status", "skipped")
    expect(link).to_be_hidden()
    run = site.runs(flow_id)[0]
    answer = site.answer("GET", f"executions/{run['id']}/nodes/ask")["output"]["resumed"][0]["resume"]
    assert answer == {"approved": True, "comment": "Looks good"}


def test_the_page_of_a_run_that_waits_says_until_when_and_offers_pause(page: Page, site: Site) -> None:
    flow_id = site.create_flow(approval(timeout=3, unit="days"), name="Orders")
    run = site.answer("POST", "executions", {"flow_id": flow_id, "input_data": {}})["id"]
    page.goto(f"/admin/executions/execution/{run}/change/")
    line = page.locator('tr[data-node="ask"]')
    expect(line).to_have_attribute("data-status", "waiting")
    until = site.state(run)["nodes"]["ask"]["waitUntil"]
    expect(line.locator("[data-node-message]")).to_have_text(f"until {until[:10]} {until[11:19]} UTC")
    link = page.get_by_role("link", name="Resume link")
    expect(link).to_be_visible()
    picture(page, "run-page")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator("[data-run]")).to_have_attribute("data-status", "paused")
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.locator("[data-run]")).to_have_attribute("data-status", "waiting")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(line).to_have_attribute("data-status", "canceled")
    expect(link).to_be_hidden()
