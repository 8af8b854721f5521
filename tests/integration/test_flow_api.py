"""The API of flows."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from flows.models import Flow, FlowVersion
from flows.node_types import registry
from flows.versions import create_flow
from tests.integration.flow_data import client_of, cyclic_graph, graph_of, make_user

pytestmark = pytest.mark.django_db

FLOWS = "/api/v1/flows"


@pytest.fixture
def client() -> APIClient:
    """Of a user without any permission."""
    return client_of(make_user("author"))


def post_flow(client: APIClient, **values: Any) -> dict[str, Any]:
    response = client.post(FLOWS, {"name": "Flow", "graph": graph_of(1), **values})
    assert response.status_code == 201, response.json()
    posted: dict[str, Any] = response.json()
    return posted


def foreign_flow() -> Flow:
    return create_flow(owner=make_user("stranger"), name="Foreign", graph_json=graph_of(1))


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


# Creating


def test_a_flow_is_posted_and_answered_with_its_id(client: APIClient) -> None:
    posted = post_flow(client, name="My flow", note="First.")
    assert posted["id"] == Flow.objects.get().pk
    assert posted | {"id": 0, "created_at": "", "updated_at": "", "graph": {}} == {
        "id": 0,
        "name": "My flow",
        "slug": "my-flow",
        "active": True,
        "max_concurrent_runs": None,
        "when_full": "queue",
        "priority": 0,
        "version": 1,
        "graph": {},
        "owner": "author",
        "created_at": "",
        "updated_at": "",
    }
    assert posted["graph"]["edges"] == [
        {"source": "start", "source_port": "main", "target": "wait0", "target_port": "main"}
    ]
    assert client.get(f"{FLOWS}/{posted['id']}").json() == posted
    assert FlowVersion.objects.get().note == "First."


def test_a_flow_without_a_graph_starts_as_a_manual_start(client: APIClient) -> None:
    response = client.post(FLOWS, {"name": "Empty"})
    assert response.status_code == 201
    assert [node["type"] for node in response.json()["graph"]["nodes"]] == ["manual"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"graph": {"nodes": []}}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": ["a"]}, "name"),
        ({"name": "F", "graph": None}, "graph"),
        ({"name": "F", "slug": "not a slug"}, "slug"),
        ({"name": "F", "slug": "123"}, "slug"),
        ({"name": "F", "slug": "taken"}, "slug"),
        ({"name": "F", "active": "perhaps"}, "active"),
        ({"name": "F", "note": "x" * 501}, "note"),
    ],
)
def test_bad_values_are_refused_with_their_field(client: APIClient, values: dict[str, Any], field: str) -> None:
    post_flow(client, slug="taken")
    response = client.post(FLOWS, values)
    assert response.status_code == 400 and list(response.json()) == [field]
    assert Flow.objects.count() == 1


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u200b", "\n", "\x1b"])
def test_a_name_that_cannot_be_printed_is_refused(client: APIClient, character: str) -> None:
    name = f"Report{character}txt.exe"
    flow = post_flow(client)
    for response in (
        client.post(FLOWS, {"name": name, "graph": graph_of(1)}),
        client.patch(f"{FLOWS}/{flow['id']}", {"name": name}),
    ):
        assert response.status_code == 400
        assert response.json() == {"name": ["A flow's name has printable characters only, in one line."]}
    assert Flow.objects.get().name == "Flow"


def test_a_cycle_is_refused_by_its_path_and_nothing_is_written(client: APIClient) -> None:
    response = client.post(FLOWS, {"name": "Circle", "graph": cyclic_graph()})
    assert response.status_code == 400
    refused = response.json()
    assert refused["code"] == "flow_invalid" and "Wait 0 -> Wait 1 -> Wait 0" in refused["detail"]
    (problem,) = refused["problems"]
    assert problem == {
        "node": "wait0",
        "code": "cycle",
        "message": "The nodes form a cycle: Wait 0 -> Wait 1 -> Wait 0.",
        "severity": "error",
        "field": None,
        "path": ["Wait 0", "Wait 1", "Wait 0"],
    }
    assert not Flow.objects.exists()


@pytest.mark.parametrize(
    ("graph", "code"),
    [
        ([], "shape"),
        ("text", "shape"),
        ({"nodes": [{"id": "a"}]}, "shape"),
        ({"nodes": []}, "no_trigger"),
        ({"nodes": [{"id": "a", "type": "gone"}]}, "unknown_type"),
    ],
)
def test_a_graph_that_cannot_run_is_refused(client: APIClient, graph: Any, code: str) -> None:
    response = client.post(FLOWS, {"name": "F", "graph": graph})
    assert response.status_code == 400
    assert response.json()["problems"][0]["code"] == code
    assert not Flow.objects.exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("", 400),
        ("[]", 400),
        ("null", 400),
        ('"flow"', 400),
        ('{"name": "F", "graph": NaN}', 400),
        ('{"name": "\\ud800"}', 400),
        ('{"name": "F", "graph": {"nodes": [{"id": "a", "type": "manual", "name": "\\udfff"}]}}', 400),
        ('{"name": "F", "graph": ' + deep(90) + "}", 400),
        ('{"name": "F", "graph": {"nodes": [{"id": "a", "type": "manual", "params": {"x": ' + deep(90) + "}}]}}", 400),
        ('{"name": "F", "graph": ' + deep(100_000) + "}", 400),
        ('{"name": "F", "graph": {"nodes": [{"id": "a", "type": "manual", "position": [1e400, 0]}]}}', 400),
        (
            '{"name": "F", "graph": {"nodes": [{"id": "a", "type": "manual", "position": [9' + "9" * 400 + ", 0]}]}}",
            400,
        ),
        ('{"name": "F", "graph": {"nodes": [' + '{"id": "a", "type": "manual"},' * 3000 + "null]}}", 400),
        ('{"name": "' + "x" * 6_000_000 + '"}', 413),
    ],
)
def test_a_hostile_body_is_a_clear_refusal(client: APIClient, body: str, status: int) -> None:
    response = client.generic("POST", FLOWS, body, content_type="application/json")
    assert response.status_code == status and response.json()
    assert not Flow.objects.exists()


# Changing


def test_a_graph_is_saved_as_a_new_version(client: APIClient) -> None:
    flow = post_flow(client)
    response = client.patch(f"{FLOWS}/{flow['id']}", {"graph": graph_of(5), "base": 1, "note": "Longer."})
    assert response.status_code == 200
    assert response.json()["version"] == 2 and response.json()["graph"]["nodes"][1]["params"] == {"seconds": 5}
    assert response.json()["updated_at"] > flow["updated_at"]
    newest = FlowVersion.objects.get(number=2)
    assert (newest.note, newest.author and newest.author.username) == ("Longer.", "author")


def test_a_stale_save_changes_nothing(client: APIClient) -> None:
    flow = post_flow(client)
    url = f"{FLOWS}/{flow['id']}"
    client.patch(url, {"graph": graph_of(5), "base": 1})
    response = client.patch(url, {"graph": graph_of(7), "base": 1, "name": "Renamed"})
    assert response.status_code == 409
    assert response.json()["code"] == "stale_base" and response.json()["current"] == 2
    now = client.get(url).json()
    assert (now["name"], now["version"], now["graph"]["nodes"][1]["params"]) == ("Flow", 2, {"seconds": 5})


def test_an_invalid_graph_changes_nothing(client: APIClient) -> None:
    flow = post_flow(client)
    response = client.patch(f"{FLOWS}/{flow['id']}", {"graph": cyclic_graph(), "base": 1, "name": "Renamed"})
    assert response.status_code == 400 and response.json()["code"] == "flow_invalid"
    assert client.get(f"{FLOWS}/{flow['id']}").json() == flow


def test_a_taken_slug_leaves_the_graph_as_it_was(client: APIClient) -> None:
    post_flow(client, slug="taken")
    flow = post_flow(client)
    response = client.patch(f"{FLOWS}/{flow['id']}", {"graph": graph_of(5), "base": 1, "slug": "taken"})
    assert response.status_code == 400 and list(response.json()) == ["slug"]
    assert client.get(f"{FLOWS}/{flow['id']}").json() == flow


def test_name_slug_and_active_change_without_a_base(client: APIClient) -> None:
    flow = post_flow(client)
    response = client.patch(f"{FLOWS}/{flow['id']}", {"name": "Renamed", "slug": "renamed", "active": False})
    assert response.status_code == 200
    assert response.json() | {"updated_at": ""} == flow | {
        "name": "Renamed",
        "slug": "renamed",
        "active": False,
        "updated_at": "",
    }
    assert FlowVersion.objects.count() == 1


@pytest.mark.parametrize(
    ("method", "values", "field"),
    [
        ("patch", {"graph": graph_of(2)}, "base"),
        ("patch", {"graph": graph_of(2), "base": "one"}, "base"),
        ("patch", {"graph": graph_of(2), "base": "١"}, "base"),
        ("patch", {"graph": {"nodes": [{"id": "a", "type": "manual", "params": {"n": 2**70}}]}, "base": 1}, "graph"),
        ("patch", {"graph": graph_of(2), "base": -1}, "base"),
        ("patch", {"graph": graph_of(2), "base": None}, "base"),
        ("put", {"name": "F", "base": 1}, "graph"),
        ("put", {"graph": graph_of(2), "base": 1}, "name"),
    ],
)
def test_a_save_names_what_it_needs(client: APIClient, method: str, values: dict[str, Any], field: str) -> None:
    flow = post_flow(client)
    response = getattr(client, method)(f"{FLOWS}/{flow['id']}", values)
    assert response.status_code == 400 and list(response.json()) == [field]
    assert client.get(f"{FLOWS}/{flow['id']}").json() == flow


def test_what_only_the_server_sets_is_not_taken_from_a_client(client: APIClient) -> None:
    make_user("stranger")
    posted = post_flow(client, owner="stranger", version=7, id=99, head=5, created_at="2001-01-01T00:00:00Z")
    assert (posted["owner"], posted["version"]) == ("author", 1) and posted["created_at"] > "2002"


def test_a_flow_is_deleted_with_its_versions(client: APIClient) -> None:
    flow = post_flow(client)
    assert client.delete(f"{FLOWS}/{flow['id']}").status_code == 204
    assert not FlowVersion.objects.exists()
    assert client.get(f"{FLOWS}/{flow['id']}").status_code == 404


# Who may what


@pytest.mark.parametrize("path", ["", "/versions", "/versions/1", "/validate"])
def test_a_foreign_flow_is_not_there(client: APIClient, path: str) -> None:
    url = f"{FLOWS}/{foreign_flow().pk}{path}"
    methods = ["post"] if path == "/validate" else ["get"]
    methods += [] if path else ["patch", "put", "delete"]
    for method in methods:
        response = getattr(client, method)(url, {"name": "Mine"} if method != "get" else {})
        assert response.status_code == 404, method
        assert response.json()["code"] == "not_found"
    assert Flow.objects.get().name == "Foreign"


@pytest.mark.parametrize("flow_id", ["0", "99999", "9" * 30, "-1", "abc", "1.5", "%00", ""])
def test_an_id_that_is_none_is_404(client: APIClient, flow_id: str) -> None:
    response = client.get(f"{FLOWS}/{flow_id}")
    assert response.status_code == 404 and response.json()["code"] == "not_found"


def test_who_may_see_all_flows_may_not_therefore_change_them() -> None:
    flow = foreign_flow()
    viewer = client_of(make_user("viewer", "flows.view_flow"))
    url = f"{FLOWS}/{flow.pk}"
    assert viewer.get(url).status_code == 200
    assert viewer.patch(url, {"name": "Mine"}).status_code == 403
    assert viewer.patch(url, {"graph": graph_of(9), "base": 1}).status_code == 403
    assert viewer.delete(url).status_code == 403
    assert Flow.objects.get().name == "Foreign" and FlowVersion.objects.count() == 1


def test_permissions_open_foreign_flows() -> None:
    flow = foreign_flow()
    editor = client_of(make_user("editor", "flows.view_flow", "flows.change_flow", "flows.delete_flow"))
    url = f"{FLOWS}/{flow.pk}"
    assert editor.patch(url, {"graph": graph_of(9), "base": 1}).json()["owner"] == "stranger"
    author = FlowVersion.objects.get(number=2).author
    assert author is not None and author.username == "editor"
    assert editor.delete(url).status_code == 204


def test_without_a_login_there_is_nothing() -> None:
    flow = foreign_flow()
    for url in (FLOWS, f"{FLOWS}/{flow.pk}", "/api/v1/node-types"):
        assert APIClient().get(url).status_code == 401


# Lists


def test_flows_come_in_cursor_pages_newest_first_without_their_graphs(client: APIClient) -> None:
    foreign_flow()
    ids = [post_flow(client)["id"] for _ in range(5)]
    url: str | None = f"{FLOWS}?page_size=2"
    seen = []
    while url:
        page = client.get(url).json()
        assert set(page) == {"next", "previous", "results"}
        seen += [flow["id"] for flow in page["results"]]
        assert all("graph" not in flow for flow in page["results"])
        url = page["next"]
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name=sales", ["Sales report"]),
        ("active=false", ["Old"]),
        ("active=true&name=o", ["Sales report"]),
        ("slug=old", ["Old"]),
        ("owner=author", ["Sales report", "Old"]),
        ("owner=stranger", []),
        ("updated_after=2001-01-01T00:00:00Z", ["Sales report", "Old"]),
        ("updated_before=2001-01-01", []),
    ],
)
def test_the_list_is_filtered(client: APIClient, query: str, names: list[str]) -> None:
    post_flow(client, name="Old", active=False)
    post_flow(client, name="Sales report")
    assert [flow["name"] for flow in client.get(f"{FLOWS}?{query}").json()["results"]] == names


def cursor(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("cursor=nonsense", "cursor"),
        ("cursor=%ff", "cursor"),
        (f"cursor={cursor('p=abc')}", "cursor"),
        (f"cursor={cursor('o=abc')}", "cursor"),
        ("page_size=0", "page_size"),
        ("page_size=201", "page_size"),
        ("page_size=many", "page_size"),
        ("updated_after=yesterday", "updated_after"),
        ("name=a%00b", "name"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_with_its_name(client: APIClient, query: str, field: str) -> None:
    post_flow(client)
    response = client.get(f"{FLOWS}?{query}")
    assert response.status_code == 400 and list(response.json()) == [field]


def test_a_cursor_far_beyond_the_end_is_an_empty_page(client: APIClient) -> None:
    post_flow(client)
    assert client.get(f"{FLOWS}?cursor={cursor('p=-' + '9' * 30)}").json()["results"] == []


def test_versions_are_listed_and_read_with_their_graphs(client: APIClient) -> None:
    flow = post_flow(client)
    for number in (1, 2):
        client.patch(f"{FLOWS}/{flow['id']}", {"graph": graph_of(number + 1), "base": number})
    page = client.get(f"{FLOWS}/{flow['id']}/versions?page_size=2").json()
    assert [version["number"] for version in page["results"]] == [3, 2]
    assert [version["number"] for version in client.get(page["next"]).json()["results"]] == [1]
    assert set(page["results"][0]) == {"number", "author", "note", "checksum", "created_at"}
    first = client.get(f"{FLOWS}/{flow['id']}/versions/1").json()
    assert first["graph"]["nodes"][1]["params"] == {"seconds": 1} and first["author"] == "author"
    assert client.get(f"{FLOWS}/{flow['id']}/versions/4").status_code == 404


def test_a_version_outlives_its_author() -> None:
    flow = foreign_flow()
    editor = make_user("editor", "flows.view_flow", "flows.change_flow")
    client_of(editor).patch(f"{FLOWS}/{flow.pk}", {"graph": graph_of(9), "base": 1})
    editor.delete()
    assert client_of(flow.owner).get(f"{FLOWS}/{flow.pk}/versions").json()["results"][0]["author"] is None


# Validating, node types


def test_a_graph_is_validated_without_being_saved(client: APIClient) -> None:
    flow = post_flow(client)
    url = f"{FLOWS}/{flow['id']}/validate"
    assert client.post(url, {}).json() == {"valid": True, "problems": []}
    cyclic = client.post(url, {"graph": cyclic_graph()})
    assert cyclic.status_code == 200 and cyclic.json()["valid"] is False
    assert [problem["code"] for problem in cyclic.json()["problems"]] == ["cycle"]
    loose = graph_of(1, 2)
    loose["edges"].pop()
    warned = client.post(url, {"graph": loose}).json()
    assert warned["valid"] is True and warned["problems"][0]["severity"] == "warning"
    assert client.post(url, {"graph": None}).status_code == 400
    assert client.post(url, {"graph": 3}).json()["problems"][0]["code"] == "shape"
    assert FlowVersion.objects.count() == 1


def test_a_flow_that_was_never_saved_has_no_graph(client: APIClient) -> None:
    flow = Flow.objects.create(name="Bare", slug="bare", owner=User.objects.get())
    assert client.get(f"{FLOWS}/{flow.pk}").json()["graph"] is None
    response = client.post(f"{FLOWS}/{flow.pk}/validate", {})
    assert response.status_code == 400 and list(response.json()) == ["graph"]
    assert client.patch(f"{FLOWS}/{flow.pk}", {"graph": graph_of(1), "base": 0}).json()["version"] == 1


def test_the_palette_lists_every_node_type_with_its_fields(client: APIClient) -> None:
    listed = {node_type["name"]: node_type for node_type in client.get("/api/v1/node-types").json()}
    assert list(listed) == registry.names()
    assert listed["manual"]["trigger"] is True and listed["manual"]["inputs"] == []
    assert listed["if"]["outputs"] == ["true", "false"]
    (seconds,) = listed["delay"]["fields"]
    assert (seconds["name"], seconds["kind"], seconds["initial"]) == ("seconds", "number", 1)
    assert all(node_type["label"] and node_type["help"] for node_type in listed.values())


def test_the_api_is_described(client: APIClient) -> None:
    schema = client.get("/api/v1/schema?format=json").content.decode()
    for path in ("/flows/{id}/versions/{number}", "/flows/{id}/validate", "/node-types"):
        assert f"/api/v1{path}" in schema
