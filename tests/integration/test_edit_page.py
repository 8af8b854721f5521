"""The pages of flows: who may see which, and what is rendered before any script runs."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from executions.models import Execution
from flows.models import Flow
from flows.versions import create_flow, save_version

pytestmark = pytest.mark.django_db

GRAPH: dict[str, Any] = {
    "nodes": [
        {"id": "start", "type": "manual", "name": "Start", "position": [0, 0]},
        {
            "id": "which",
            "type": "if",
            "name": "Large?",
            "params": {"condition": "=item['n'] > 1"},
            "position": [280, 0],
        },
        {"id": "wait", "type": "delay", "name": "Wait", "params": {"seconds": 2}, "position": [560, -60]},
        {"id": "end", "type": "noop", "name": "End", "position": [560, 60], "settings": {"disabled": True}},
    ],
    "edges": [
        {"source": "start", "target": "which"},
        {"source": "which", "source_port": "true", "target": "wait"},
        {"source": "which", "source_port": "false", "target": "end"},
    ],
}


@pytest.fixture
def owner() -> User:
    return User.objects.create_user("owner", password="secret")


@pytest.fixture
def flow(owner: User) -> Flow:
    return create_flow(owner=owner, name="Orders <b>&", graph_json=GRAPH)


@pytest.fixture
def page(client: Client, owner: User) -> Client:
    client.force_login(owner)
    return client


class Elements(HTMLParser):
    """All start tags of a page, with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def with_attribute(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.found if name in attributes]


def edit_page(page: Client, flow: Flow) -> str:
    response = page.get(f"/flows/{flow.pk}/edit")
    assert response.status_code == 200
    return str(response.content.decode())


def editor_data(html: str) -> dict[str, Any]:
    found = re.search(r'<script id="editor-data" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


@pytest.mark.parametrize("path", ["/", "/flows/1/edit"])
def test_who_is_not_logged_in_is_asked_to(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 302
    assert response.headers["Location"] == f"/login?next={path}"


def test_logging_in_leads_to_where_one_wanted_to_go(client: Client, flow: Flow) -> None:
    path = f"/flows/{flow.pk}/edit"
    response = client.post(f"/login?next={path}", {"username": "owner", "password": "secret"})
    assert response.status_code == 302
    assert response.headers["Location"] == path


def test_a_wrong_password_is_said_on_the_page(client: Client, owner: User) -> None:
    response = client.post("/login", {"username": "owner", "password": "wrong"})
    assert response.status_code == 200
    assert 'role="alert"' in response.content.decode()
    assert "wrong" not in response.content.decode()


def test_logging_out_ends_the_session(page: Client) -> None:
    assert page.post("/logout").headers["Location"] == "/login"
    assert page.get("/").status_code == 302


def test_the_graph_is_drawn_without_a_script(page: Client, flow: Flow) -> None:
    elements = Elements(edit_page(page, flow))
    cards = [each for each in elements.with_attribute("data-node") if each.get("class") == "node"]
    assert {card["data-node"]: card["transform"] for card in cards} == {
        "start": "translate(0.0 0.0)",
        "which": "translate(280.0 0.0)",
        "wait": "translate(560.0 -60.0)",
        "end": "translate(560.0 60.0)",
    }
    assert {card["data-status"] for card in cards} == {"idle"}
    edges = elements.with_attribute("data-edge")
    assert [(edge["data-source"], edge["data-source-port"], edge["data-target"]) for edge in edges] == [
        ("start", "main", "which"),
        ("which", "true", "wait"),
        ("which", "false", "end"),
    ]


def test_a_disabled_node_is_marked(page: Client, flow: Flow) -> None:
    marked = [each["data-node"] for each in Elements(edit_page(page, flow)).with_attribute("data-disabled")]
    assert marked == ["end"]


def test_each_type_in_the_flow_has_its_form(page: Client, flow: Flow) -> None:
    html = edit_page(page, flow)
    elements = Elements(html)
    assert [each["data-node-form"] for each in elements.with_attribute("data-node-form")] == [
        "delay",
        "if",
        "manual",
        "noop",
    ]
    assert {"condition", "seconds"} <= {each["data-field"] for each in elements.with_attribute("data-field")}
    assert set(editor_data(html)["types"]) == {"delay", "if", "manual", "noop"}


def test_the_script_starts_from_the_graph_as_it_is_drawn(page: Client, owner: User) -> None:
    nodes = [{"id": name, "type": "manual" if name == "a" else "noop", "name": name} for name in "abc"]
    graph = {"nodes": nodes, "edges": [{"source": "a", "target": "b"}, {"source": "b", "target": "c"}]}
    data = editor_data(edit_page(page, create_flow(owner=owner, name="No positions", graph_json=graph)))
    assert [node["position"] for node in data["graph"]["nodes"]] == [[0, 0], [280, 0], [560, 0]]
    assert data["version"] == 1
    assert data["editable"]


def test_the_newest_version_is_shown(page: Client, flow: Flow, owner: User) -> None:
    save_version(flow, {**GRAPH, "nodes": GRAPH["nodes"][:3], "edges": GRAPH["edges"][:2]}, base=1, author=owner)
    data = editor_data(edit_page(page, flow))
    assert data["version"] == 2
    assert [node["id"] for node in data["graph"]["nodes"]] == ["start", "which", "wait"]


def test_names_and_parameters_are_text_and_never_markup(page: Client, owner: User) -> None:
    evil = "</script><script>alert(1)</script>"
    nodes = [{"id": "start", "type": "manual", "name": evil, "settings": {"notes": evil}}]
    html = edit_page(page, create_flow(owner=owner, name=evil, graph_json={"nodes": nodes}))
    assert "<script>alert" not in html
    assert editor_data(html)["graph"]["nodes"][0]["name"] == evil


def test_no_script_and_no_style_is_inline(page: Client, flow: Flow) -> None:
    """The Content-Security-Policy would forbid them."""
    for path in ("/login", "/", f"/flows/{flow.pk}/edit"):
        response = page.get(path, follow=True)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        for tag, attributes in Elements(response.content.decode()).found:
            assert tag != "style"
            assert "style" not in attributes
            assert not [name for name in attributes if name.startswith("on")]
            assert tag != "script" or "src" in attributes or attributes["type"] == "application/json"


@pytest.mark.parametrize("who", ["foreign", "unknown"])
def test_a_flow_one_may_not_see_is_not_there(client: Client, flow: Flow, who: str) -> None:
    client.force_login(User.objects.create_user("stranger"))
    response = client.get(f"/flows/{flow.pk if who == 'foreign' else 12345}/edit")
    assert response.status_code == 404
    assert "Orders" not in response.content.decode()


def test_who_may_see_all_flows_reads_them_and_who_may_not_change_one_cannot_save_it(client: Client, flow: Flow) -> None:
    reader = User.objects.create_user("reader")
    reader.user_permissions.add(Permission.objects.get(codename="view_flow"))
    client.force_login(reader)
    html = edit_page(client, flow)
    assert "data-save" not in {name for _, attributes in Elements(html).found for name in attributes}
    assert not editor_data(html)["editable"]


def test_a_flow_that_was_never_saved_is_an_empty_page_on_which_the_first_version_is_saved(
    page: Client, owner: User
) -> None:
    flow = Flow.objects.create(owner=owner, name="Bare", slug="bare")
    html = edit_page(page, flow)
    data = editor_data(html)
    assert data["graph"] == {"nodes": [], "edges": []}
    assert "This flow has no nodes yet" in html
    change = {"graph": GRAPH, "base": data["version"]}
    response = page.patch(f"/api/v1/flows/{flow.pk}", change, content_type="application/json")
    assert response.status_code == 200
    assert editor_data(edit_page(page, flow))["version"] == 1


COMMANDS = {"pause", "resume", "cancel", "retry"}


@pytest.mark.parametrize(
    ("permissions", "offered"),
    [
        ([], set()),
        (["add_execution"], {"run"}),
        (["change_execution"], COMMANDS),
        (["change_flow"], {"save"}),
        (["add_execution", "change_execution", "change_flow"], {"save", "run", *COMMANDS}),
    ],
)
def test_what_the_api_would_refuse_is_not_offered(
    client: Client, flow: Flow, permissions: list[str], offered: set[str]
) -> None:
    viewer = User.objects.create_user("viewer")
    seeing = ["view_flow", "view_execution"]
    viewer.user_permissions.set(Permission.objects.filter(codename__in=[*seeing, *permissions]))
    client.force_login(viewer)
    elements = Elements(edit_page(client, flow))
    actions = {str(each["data-action"]) for each in elements.with_attribute("data-action")}
    assert actions | ({"save"} if elements.with_attribute("data-save") else set()) == offered
    assert bool(elements.with_attribute("data-input-form")) == ("run" in offered)
    assert {action for action, status in answers(client, flow).items() if status != 403} == offered


def answers(client: Client, flow: Flow) -> dict[str, int]:
    """The status of the API's answer to each of what the page has a button for."""
    ended = Execution.objects.create(flow=flow, flow_version=flow.versions.get(), status="success", mode="manual")
    asked = {"run": ("executions", {"flow_id": flow.pk, "input_data": "refused, but not forbidden"})}
    asked |= {command: (f"executions/{ended.pk}/{command}", {"from": "nowhere"}) for command in COMMANDS}
    statuses = {
        action: client.post(f"/api/v1/{path}", body, content_type="application/json").status_code
        for action, (path, body) in asked.items()
    }
    change = {"graph": GRAPH, "base": 1}
    saved = client.patch(f"/api/v1/flows/{flow.pk}", change, content_type="application/json")
    return {**statuses, "save": saved.status_code}


def test_the_list_shows_ones_own_flows(page: Client, flow: Flow) -> None:
    create_flow(owner=User.objects.create_user("other"), name="Foreign flow", graph_json=GRAPH)
    html = page.get("/").content.decode()
    assert "Orders &lt;b&gt;&amp;" in html
    assert f'href="/flows/{flow.pk}/edit"' in html
    assert "Foreign flow" not in html


def test_the_list_is_searched_by_name(page: Client, flow: Flow, owner: User) -> None:
    create_flow(owner=owner, name="Invoices", graph_json=GRAPH)
    html = page.get("/?q=invo").content.decode()
    assert "Invoices" in html
    assert "Orders" not in html
    assert "No flow has “zebra”" in page.get("/?q=zebra").content.decode()


def test_the_list_has_pages(page: Client, owner: User) -> None:
    for number in range(51):
        create_flow(owner=owner, name=f"Flow number {number}", graph_json=GRAPH)
    first, second = page.get("/").content.decode(), page.get("/?page=2").content.decode()
    assert "Flow number 49<" in first
    assert "Flow number 50<" not in first
    assert "Flow number 50<" in second
    assert page.get("/?page=none").status_code == 200


def test_a_missing_page_says_so(page: Client) -> None:
    response = page.get("/nothing/here")
    assert response.status_code == 404
    assert "There is nothing here" in response.content.decode()


def test_a_form_without_its_token_is_refused_with_a_page(owner: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)
    response = client.post("/logout")
    assert response.status_code == 403
    assert "Not allowed" in response.content.decode()
    assert client.get("/").status_code == 200
