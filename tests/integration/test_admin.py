"""The admin: who sees what, what is read only, a run's page and its controls, and the flows."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from executions.admin.filters import first_id_at
from executions.models import Command, Execution
from flows.models import Flow, FlowVersion
from flows.versions import create_flow, save_version
from tests.integration.admin_data import NODE_RUNS, RUNS, STARTED, listed, logged_in, make_node_run, make_run, staff
from tests.integration.flow_data import graph_of

pytestmark = pytest.mark.django_db

FLOWS = "/admin/flows/flow/"
UNLIMITED = {"max_concurrent_runs": "", "when_full": "queue", "priority": "0"}
"""What the form says of a flow's runs, left as it was."""
VERSIONS = "/admin/flows/flowversion/"


@pytest.fixture
def owner() -> User:
    """Staff without any permission, who has a flow."""
    return staff("owner")


@pytest.fixture
def operator() -> User:
    """Staff who sees and commands all runs."""
    return staff("operator", "executions.view_execution", "executions.change_execution", "flows.view_flow")


@pytest.fixture
def viewer() -> User:
    """Staff who sees all runs, and commands none."""
    return staff("viewer", "executions.view_execution", "flows.view_flow")


@pytest.fixture
def flow(owner: User) -> Flow:
    return create_flow(owner=owner, name="Three waits", graph_json=graph_of(2, 3))


def page_of(run: Execution) -> str:
    return f"{RUNS}{run.pk}/change/"


def control(client: Client, run: Execution, name: str, **data: Any) -> Any:
    return client.post(f"{RUNS}{run.pk}/control/{name}", data, headers={"accept": "application/json"})


# -- who sees what ----------------------------------------------------------------------------------------------------


def test_the_admin_is_called_after_the_product(owner: User) -> None:
    page = logged_in(owner).get("/admin/").content.decode()
    assert "<title>Flows and runs | WataOmi</title>" in page
    assert "Django administration" not in page


def test_staff_finds_flows_and_runs_on_the_index_also_without_permissions(owner: User) -> None:
    page = logged_in(owner).get("/admin/").content.decode()
    assert all(address in page for address in (RUNS, NODE_RUNS, FLOWS, VERSIONS))


def test_who_is_not_staff_is_sent_to_log_in(flow: Flow) -> None:
    visitor = User.objects.create_user("visitor")
    for address in (RUNS, NODE_RUNS, page_of(make_run(flow)), FLOWS):
        assert logged_in(visitor).get(address).status_code == 302


def test_an_owner_sees_the_runs_of_the_own_flows_only(owner: User, flow: Flow) -> None:
    foreign = make_run(create_flow(owner=staff("other"), name="Foreign", graph_json=graph_of(1)))
    own = make_run(flow)
    nodes = [make_node_run(run, "start") for run in (own, foreign)]
    client = logged_in(owner)
    assert listed(client, RUNS) == [own.pk]
    assert listed(client, NODE_RUNS) == [nodes[0].pk]
    assert listed(client, FLOWS) == [flow.pk]
    assert listed(client, VERSIONS) == [flow.versions.get().pk]


def test_with_the_permission_all_runs_are_seen(viewer: User, flow: Flow) -> None:
    run = make_run(flow)
    assert listed(logged_in(viewer), RUNS) == [run.pk]
    assert logged_in(viewer).get(page_of(run)).status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "{runs}{run}/change/",
        "{runs}{run}/history/",
        "{runs}{run}/parts",
        "{runs}{run}/node?node=start",
        "{nodes}{node}/change/",
        "{flows}{flow}/change/",
        "{versions}{version}/change/",
    ],
)
def test_what_a_user_may_not_see_is_not_there(address: str, flow: Flow) -> None:
    run = make_run(flow)
    known = {"run": run.pk, "node": make_node_run(run, "start").pk, "flow": flow.pk, "version": run.flow_version_id}
    places = {"runs": RUNS, "nodes": NODE_RUNS, "flows": FLOWS, "versions": VERSIONS}
    assert logged_in(staff("stranger")).get(address.format(**known, **places)).status_code == 404
    assert logged_in(flow.owner).get(address.format(**known, **places)).status_code == 200


def test_a_run_that_does_not_exist_is_not_found(owner: User) -> None:
    for key in (uuid4(), "nonsense"):
        assert logged_in(owner).get(f"{RUNS}{key}/change/").status_code == 404


# -- history is read only ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["execution", "nodeexecution", "flowversion"])
def test_history_cannot_be_added_changed_or_deleted_by_anybody(kind: str, flow: Flow) -> None:
    run = make_run(flow)
    keys = {"execution": run.pk, "nodeexecution": make_node_run(run, "start").pk, "flowversion": run.flow_version_id}
    folder = f"/admin/{'flows' if kind == 'flowversion' else 'executions'}/{kind}/"
    client = logged_in(User.objects.create_superuser("root"))
    assert client.get(f"{folder}{keys[kind]}/change/").status_code == 200
    assert client.get(f"{folder}add/").status_code == 403
    assert client.post(f"{folder}{keys[kind]}/change/", {"status": "success", "note": "x"}).status_code == 403
    assert client.post(f"{folder}{keys[kind]}/delete/", {"post": "yes"}).status_code == 403
    assert "delete_selected" not in client.get(folder).content.decode()


# -- the list of runs -------------------------------------------------------------------------------------------------


def test_the_list_says_what_each_run_was(owner: User, flow: Flow) -> None:
    run = make_run(flow, "error", took=65)
    page = logged_in(owner).get(RUNS).content.decode()
    assert f'href="{page_of(run)}"' in page
    for said in ('data-status="error"', "Three waits", "v1", "1 m 05 s", "API", "owner", "16:00:00"):
        assert said in page


def test_a_run_that_goes_on_has_no_duration_yet(owner: User, flow: Flow) -> None:
    make_run(flow, "running")
    page = logged_in(owner).get(RUNS).content.decode()
    assert '<td class="field-duration">-</td>' in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=error", "error"),
        ("status=active", "running paused"),
        ("mode=cli", "paused"),
        ("status=canceled", ""),
        ("created=hour", "success error running paused"),
        ("status=nonsense", ""),
    ],
)
def test_runs_are_filtered_by_status_mode_and_time(query: str, found: str, owner: User, flow: Flow) -> None:
    for status in ("success", "error", "running", "paused"):
        make_run(flow, status, mode="cli" if status == "paused" else "api")
    keys = listed(logged_in(owner), f"{RUNS}?{query}")
    statuses = {str(run.pk): run.status for run in Execution.objects.all()}
    assert {statuses[str(key)] for key in keys} == set(found.split())


def test_runs_are_filtered_by_flow(owner: User, flow: Flow) -> None:
    other = create_flow(owner=owner, name="Another", graph_json=graph_of(1))
    first, second = make_run(flow), make_run(other)
    client = logged_in(owner)
    assert listed(client, f"{RUNS}?flow={flow.pk}") == [first.pk]
    assert listed(client, f"{RUNS}?flow={other.pk}") == [second.pk]
    for nonsense in ("nonsense", "99999999999999999999", "-1"):
        assert listed(client, f"{RUNS}?flow={nonsense}") == []


def test_runs_made_before_the_period_are_left_out(owner: User, flow: Flow) -> None:
    old = make_run(flow, id=first_id_at(timezone.now() - timedelta(hours=3)))
    fresh = make_run(flow)
    old_node, fresh_node = make_node_run(old, "start"), make_node_run(fresh, "start")
    client = logged_in(owner)
    assert listed(client, f"{RUNS}?created=hour") == [fresh.pk]
    assert listed(client, f"{RUNS}?created=day") == [fresh.pk, old.pk]
    assert listed(client, f"{NODE_RUNS}?recorded=hour") == [fresh_node.pk]
    assert listed(client, f"{NODE_RUNS}?recorded=day") == [fresh_node.pk, old_node.pk]


def test_runs_are_found_by_the_beginning_of_their_id_and_by_their_flow(owner: User, flow: Flow) -> None:
    other = create_flow(owner=owner, name="Face 019", graph_json=graph_of(1))
    run = make_run(flow, id=UUID("11111111-1111-7111-8111-111111111111"))
    named = make_run(other, id=UUID("22222222-2222-7222-8222-222222222222"))
    client = logged_in(owner)
    for term in ("1111", "11111111-11", "11111111111171118111111111111111", " 1111 ", "three", "WAITS"):
        assert listed(client, f"{RUNS}?q={term}") == [run.pk], term
    assert listed(client, f"{RUNS}?q=face") == [named.pk], "a name of hexadecimal digits is still a name"
    assert listed(client, f"{RUNS}?q=nothing") == []


def test_node_runs_are_found_by_their_run_and_flow_and_filtered_by_status(owner: User, flow: Flow) -> None:
    run = make_run(flow, id=UUID("11111111-1111-7111-8111-111111111111"))
    rows = [make_node_run(run, "start"), make_node_run(run, "wait0", "error")]
    client = logged_in(owner)
    newest_first = [row.pk for row in reversed(rows)]
    assert listed(client, f"{NODE_RUNS}?q=11111111-1") == newest_first
    assert listed(client, f"{NODE_RUNS}?q=waits") == newest_first
    assert listed(client, f"{NODE_RUNS}?q=nothing") == []
    assert listed(client, f"{NODE_RUNS}?status=error") == [rows[1].pk]


def test_selected_runs_are_canceled_and_those_that_cannot_be_are_named(operator: User, flow: Flow) -> None:
    going, over = make_run(flow, "running"), make_run(flow)
    chosen = {"action": "cancel_selected", "_selected_action": [str(going.pk), str(over.pk)]}
    page = logged_in(operator).post(f"{RUNS}?status=", {**chosen, "index": 0}, follow=True).content.decode()
    assert "1 run told to cancel." in page
    assert "Not told to cancel" in page
    assert "The run is success" in page
    assert [(row.execution_id, row.kind, row.requester) for row in Command.objects.all()] == [
        (going.pk, "cancel", operator)
    ]


def test_who_may_only_look_cancels_nothing(viewer: User, flow: Flow) -> None:
    create_flow(owner=viewer, name="Own", graph_json=graph_of(1))
    run = make_run(flow, "running")
    chosen = {"action": "cancel_selected", "_selected_action": [str(run.pk)], "index": 0}
    page = logged_in(viewer).post(RUNS, chosen, follow=True).content.decode()
    assert "You may see this run, but not control it." in page
    assert not Command.objects.exists()


def test_who_can_command_no_run_is_offered_no_commands(viewer: User, operator: User, owner: User, flow: Flow) -> None:
    run = make_run(flow, "running")
    offer = 'value="cancel_selected"'
    assert offer not in logged_in(viewer).get(RUNS).content.decode()
    assert all(offer in logged_in(user).get(RUNS).content.decode() for user in (operator, owner))
    chosen = {"action": "cancel_selected", "_selected_action": [str(run.pk)], "index": 0}
    assert logged_in(viewer).post(RUNS, chosen).status_code == 200
    assert not Command.objects.exists()


def test_the_name_of_a_flow_stands_by_itself_in_the_list_of_runs(owner: User) -> None:
    """A name that reads from right to left turns nothing around but itself (Unicode Standard Annex 9, 2.4)."""
    make_run(create_flow(owner=owner, name="שלום", graph_json=graph_of(1)))
    page = logged_in(owner).get(RUNS).content.decode()
    assert '<bdi>שלום</bdi> <span class="wo-quiet">v1</span>' in page
    assert 'title="שלום"><bdi>שלום</bdi></a>' in page


# -- a run's page -----------------------------------------------------------------------------------------------------


def test_a_runs_page_shows_its_graph_timeline_and_nodes(owner: User, flow: Flow) -> None:
    run = make_run(flow, input={"who": "me"}, output={"wait1": {"main": [{"answer": 42}]}}, last_seq=9)
    make_node_run(run, "start", item_counts={"main": 1})
    make_node_run(run, "wait0", started_at=STARTED, finished_at=STARTED + timedelta(seconds=3))
    page = logged_in(owner).get(page_of(run)).content.decode()
    assert 'class="node" data-node="wait0"' in page
    assert '<tr data-node="wait0" data-status="success">' in page
    assert 'aria-label="Timeline of 3 nodes, 6.0 s"' in page
    assert 'aria-label="Wait 0: success, attempt 1 success from 0 for 3.0 s"' in page
    assert ">1 item<" in page
    assert "&quot;who&quot;: &quot;me&quot;" in page
    assert "&quot;answer&quot;: 42" in page
    assert "Retry from start" in page


def test_a_runs_page_starts_its_script_from_the_state_it_shows(owner: User, flow: Flow) -> None:
    run = make_run(flow, "running", last_seq=4)
    make_node_run(run, "wait0", "running", finished_at=None)
    response = logged_in(owner).get(page_of(run))
    text = response.content.decode().split('<script id="run-state" type="application/json">')[1].split("</script>")[0]
    state = json.loads(text)
    assert (state["seq"], state["status"], state["nodes"]["wait0"]["status"]) == (4, "running", "running")
    assert f'data-parts-url="{RUNS}{run.pk}/parts"' in response.content.decode()


def test_a_failed_runs_page_says_what_went_wrong_where_and_what_to_do(owner: User, flow: Flow) -> None:
    error = {"type": "Refused", "message": "The bank said no", "hint": "Ask the bank"}
    run = make_run(flow, "error", error={"nodeId": "wait0", **error})
    make_node_run(run, "wait0", "error", error=error)
    page = logged_in(owner).get(page_of(run)).content.decode()
    assert "in “Wait 0”" in page
    assert "The bank said no" in page
    assert "Ask the bank" in page


def test_what_people_wrote_is_text_on_the_page_and_never_markup(owner: User) -> None:
    graph = graph_of(1)
    graph["nodes"][1]["name"] = "</script><script>alert(1)</script>"
    flow = create_flow(owner=owner, name="<b>bold</b>", graph_json=graph)
    error = {"nodeId": "wait0", "type": "E", "message": "<img src=x onerror=alert(1)>", "hint": "<i>"}
    run = make_run(flow, "error", input={"x": "</pre><script>"}, error=error)
    make_node_run(run, "wait0", "error", error=error, output={"main": [{"x": "<script>"}]})
    client = logged_in(owner)
    for address in (page_of(run), RUNS, NODE_RUNS, f"{RUNS}{run.pk}/node?node=wait0", f"{RUNS}{run.pk}/parts", FLOWS):
        page = client.get(address).content.decode()
        assert "<script>alert" not in page
        assert "<b>bold" not in page
        assert "<img src=x" not in page
        assert "</pre><script>" not in page


def test_the_parts_that_change_come_by_themselves(owner: User, flow: Flow) -> None:
    run = make_run(flow, "running")
    make_node_run(run, "start", "running", finished_at=None)
    Command.objects.create(execution=run, kind="pause", requester=owner)
    parts = logged_in(owner).get(f"{RUNS}{run.pk}/parts").content.decode()
    assert all(f'data-part="{name}"' in parts for name in ("timeline", "history", "output"))
    assert "<html" not in parts
    assert 'data-open="0"' in parts
    assert "told to pause by owner" in parts


def test_a_node_can_be_read_with_all_its_attempts(owner: User, flow: Flow) -> None:
    run = make_run(flow, "error")
    error = {"type": "Refused", "message": "No", "hint": "Try again"}
    make_node_run(run, "wait0", "error", error=error, input={"main": [{"n": 1}]}, retry_at=STARTED)
    make_node_run(run, "wait0", "success", attempt=2, output={"main": [{"n": 2}]}, item_counts={"main": 1})
    client = logged_in(owner)
    whole = client.get(f"{RUNS}{run.pk}/node?node=wait0").content.decode()
    part = client.get(f"{RUNS}{run.pk}/node?node=wait0&part=1").content.decode()
    assert "<html" in whole
    assert "<html" not in part
    for said in ("Attempt 1", "Attempt 2 · 2.0 s · 1 item", "&quot;n&quot;: 1", "&quot;n&quot;: 2", "Try again"):
        assert said in whole
        assert said in part
    assert part.index("Attempt 2") < part.index("Attempt 1")


@pytest.mark.parametrize("query", ["", "?node=", "?node=nowhere"])
def test_a_node_that_the_version_does_not_have_is_not_found(query: str, owner: User, flow: Flow) -> None:
    assert logged_in(owner).get(f"{RUNS}{make_run(flow).pk}/node{query}").status_code == 404


def test_long_output_is_cut_and_says_so(owner: User, flow: Flow) -> None:
    run = make_run(flow)
    make_node_run(run, "wait0", output={"main": [{"text": "x" * 500_000}]})
    page = logged_in(owner).get(f"{RUNS}{run.pk}/node?node=wait0&part=1").content.decode()
    assert len(page) < 120_000
    assert "of JSON." in page
    assert f'href="/api/v1/executions/{run.pk}/nodes/wait0"' in page


def test_a_retry_and_the_run_it_retries_lead_to_each_other(owner: User, flow: Flow) -> None:
    run = make_run(flow, "error")
    retry = make_run(flow, retry_of=run)
    assert page_of(retry) in logged_in(owner).get(page_of(run)).content.decode()
    assert page_of(run) in logged_in(owner).get(page_of(retry)).content.decode()


# -- controls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("queued", {"pause", "cancel"}),
        ("running", {"pause", "cancel"}),
        ("pausing", {"resume", "cancel"}),
        ("paused", {"resume", "cancel"}),
        ("waiting", {"pause", "cancel"}),
        ("success", {"retry start"}),
        ("error", {"retry failed", "retry start"}),
        ("canceled", {"retry failed", "retry start"}),
    ],
)
def test_the_controls_shown_are_those_the_status_admits(status: str, shown: set[str], owner: User, flow: Flow) -> None:
    response = logged_in(owner).get(page_of(make_run(flow, status)))
    pairs = [*response.context["controls"], *response.context["retries"]]
    assert {f"{control.name} {control.origin}".strip() for control, is_shown in pairs if is_shown} == shown


@pytest.mark.parametrize(("status", "name"), [("running", "pause"), ("paused", "resume"), ("running", "cancel")])
def test_a_control_writes_a_command_and_is_logged(status: str, name: str, owner: User, flow: Flow) -> None:
    run = make_run(flow, status)
    response = control(logged_in(owner), run, name)
    assert response.status_code == 202
    assert response.json() == {"id": str(run.pk), "url": page_of(run)}
    assert [(row.kind, row.requester) for row in run.commands.all()] == [(name, owner)]
    assert LogEntry.objects.get().change_message == f"Told to {name}."


def test_a_control_without_a_script_comes_back_to_the_page_with_a_message(owner: User, flow: Flow) -> None:
    run = make_run(flow, "running")
    response = logged_in(owner).post(f"{RUNS}{run.pk}/control/pause", follow=True)
    assert response.redirect_chain == [(page_of(run), 302)]
    assert "The run was told to pause." in response.content.decode()


def test_what_the_status_does_not_admit_is_a_conflict_that_says_why(owner: User, flow: Flow) -> None:
    run, client = make_run(flow), logged_in(owner)
    response = control(client, run, "pause")
    assert response.status_code == 409
    assert response.json()["code"] == "control_refused"
    assert response.json()["detail"] == "The run is success; it cannot be told to pause."
    page = client.post(f"{RUNS}{run.pk}/control/pause", follow=True).content.decode()
    assert "it cannot be told to pause." in page
    assert not Command.objects.exists()


def test_a_retry_is_a_new_run_that_the_answer_leads_to(owner: User, flow: Flow) -> None:
    run = make_run(flow, "error", input={"who": "me"})
    make_node_run(run, "start", output={"main": [{}]}, item_counts={"main": 1})
    make_node_run(run, "wait0", "error")
    answer = control(logged_in(owner), run, "retry", **{"from": "failed"}).json()
    retry = Execution.objects.get(pk=answer["id"])
    assert answer["url"] == page_of(retry)
    assert (retry.retry_of, retry.input, retry.requester, retry.status) == (run, {"who": "me"}, owner, "queued")
    assert [row.node_id for row in retry.node_executions.all()] == ["start"]
    assert LogEntry.objects.get().change_message == f"Retried as {retry.pk}."


def test_a_retry_is_on_the_same_version_or_on_the_newest(owner: User, flow: Flow) -> None:
    run = make_run(flow, "error")
    save_version(flow, graph_of(1), base=1, author=owner)
    client = logged_in(owner)
    page = client.get(page_of(run)).content.decode()
    assert "on v2" in page
    retries = [control(client, run, "retry", version=version).json()["id"] for version in ("same", "newest")]
    assert [Execution.objects.get(pk=key).flow_version.number for key in retries] == [1, 2]


@pytest.mark.parametrize("options", [{"from": "middle"}, {"version": "oldest"}])
def test_a_retry_that_does_not_exist_is_a_bad_request(options: dict[str, str], owner: User, flow: Flow) -> None:
    assert control(logged_in(owner), make_run(flow), "retry", **options).status_code == 400
    assert Execution.objects.count() == 1


def test_a_flow_that_is_not_active_is_not_retried(owner: User, flow: Flow) -> None:
    run = make_run(flow)
    Flow.objects.update(active=False)
    response = control(logged_in(owner), run, "retry")
    assert (response.status_code, response.json()["code"]) == (409, "flow_inactive")


def test_who_may_only_look_has_no_controls_and_is_refused(viewer: User, flow: Flow) -> None:
    run, client = make_run(flow, "running"), logged_in(viewer)
    assert "data-controls" not in client.get(page_of(run)).content.decode()
    assert control(client, run, "cancel").status_code == 403
    assert not Command.objects.exists()


def test_a_control_wants_a_post_with_a_token_and_a_name_that_exists(owner: User, flow: Flow) -> None:
    run = make_run(flow, "running")
    assert logged_in(owner).get(f"{RUNS}{run.pk}/control/pause").status_code == 405
    assert logged_in(owner, enforce_csrf_checks=True).post(f"{RUNS}{run.pk}/control/pause").status_code == 403
    assert control(logged_in(owner), run, "explode").status_code == 404
    assert control(logged_in(staff("stranger")), run, "pause").status_code == 404


# -- flows ------------------------------------------------------------------------------------------------------------


def test_a_flow_is_renamed_and_switched_off_and_its_head_stays(owner: User, flow: Flow) -> None:
    client = logged_in(owner)
    page = client.get(f"{FLOWS}{flow.pk}/change/").content.decode()
    assert f"/flows/{flow.pk}/edit" in page
    assert f"{RUNS}?flow={flow.pk}" in page
    save_version(flow, graph_of(1), base=1, author=owner)
    assert client.post(f"{FLOWS}{flow.pk}/change/", {"name": "New name", **UNLIMITED}).status_code == 302
    saved = Flow.objects.get()
    assert (saved.name, saved.active, saved.head, saved.owner, saved.slug) == ("New name", False, 2, owner, flow.slug)


def test_a_flow_gets_no_name_that_cannot_be_printed(owner: User, flow: Flow) -> None:
    page = logged_in(owner).post(
        f"{FLOWS}{flow.pk}/change/", {"name": "Report\u202etxt.exe", "active": "on", **UNLIMITED}
    )
    assert "printable characters only" in page.content.decode()
    flow.refresh_from_db()
    assert flow.name == "Three waits"


def test_an_owner_is_chosen_by_who_may_see_the_users(owner: User, flow: Flow) -> None:
    heir = staff("heir")
    change = {"name": flow.name, "active": "on", "owner": heir.pk, **UNLIMITED}
    logged_in(owner).post(f"{FLOWS}{flow.pk}/change/", change)
    assert Flow.objects.get().owner == owner
    logged_in(staff("manager", "flows.view_flow", "flows.change_flow", "auth.view_user")).post(
        f"{FLOWS}{flow.pk}/change/", change
    )
    assert Flow.objects.get().owner == heir


def test_who_may_only_see_a_flow_changes_nothing(viewer: User, flow: Flow) -> None:
    client = logged_in(viewer)
    assert client.get(f"{FLOWS}{flow.pk}/change/").status_code == 200
    assert client.post(f"{FLOWS}{flow.pk}/change/", {"name": "Mine"}).status_code == 403
    assert client.post(f"{FLOWS}{flow.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.get(f"{FLOWS}add/").status_code == 403


def test_deleting_a_flow_says_how_much_goes_with_it(owner: User, flow: Flow) -> None:
    for _ in range(3):
        make_run(flow)
    client = logged_in(owner)
    page = client.get(f"{FLOWS}{flow.pk}/delete/").content.decode()
    assert "Executions: 3" in page
    assert "Flow versions: 1" in page
    assert client.post(f"{FLOWS}{flow.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Flow.objects.exists()
    assert not Execution.objects.exists()


def test_a_versions_page_shows_its_drawing_and_its_graph(owner: User, flow: Flow) -> None:
    version = FlowVersion.objects.get()
    page = logged_in(owner).get(f"{VERSIONS}{version.pk}/change/").content.decode()
    assert 'data-node="wait1"' in page
    assert "&quot;seconds&quot;: 2" in page


def test_versions_are_listed_by_flow(owner: User, flow: Flow) -> None:
    create_flow(owner=owner, name="Another", graph_json=graph_of(1))
    assert listed(logged_in(owner), f"{VERSIONS}?flow__id__exact={flow.pk}") == [flow.versions.get().pk]


def test_a_version_that_cannot_be_drawn_still_has_a_page(owner: User, flow: Flow) -> None:
    FlowVersion.objects.update(graph={"nodes": [{"id": "a", "type": "gone", "position": "nowhere"}], "edges": []})
    run = make_run(flow)
    assert "cannot be drawn" in logged_in(owner).get(f"{VERSIONS}{run.flow_version_id}/change/").content.decode()
    assert "cannot be drawn" in logged_in(owner).get(page_of(run)).content.decode()


def test_a_node_runs_page_shows_what_went_in_and_out(owner: User, flow: Flow) -> None:
    error = {"type": "Refused", "message": "No", "hint": "Try again"}
    row = make_node_run(make_run(flow), "wait0", "error", error=error, input={"main": [{"n": 1}]})
    page = logged_in(owner).get(f"{NODE_RUNS}{row.pk}/change/").content.decode()
    assert page_of(row.execution) in page
    assert "&quot;n&quot;: 1" in page
    assert "Try again" in page
    assert 'data-status="error"' in page


def test_the_runs_of_a_flow_are_limited_on_its_form(owner: User, flow: Flow) -> None:
    form = {"name": flow.name, "active": "on", "max_concurrent_runs": "2", "when_full": "refuse", "priority": "-4"}
    assert logged_in(owner).post(f"{FLOWS}{flow.pk}/change/", form).status_code == 302
    saved = Flow.objects.get()
    assert (saved.max_concurrent_runs, saved.when_full, saved.priority) == (2, "refuse", -4)
    page = logged_in(owner).post(f"{FLOWS}{flow.pk}/change/", {**form, "max_concurrent_runs": "0", "priority": "101"})
    assert "greater than or equal to 1" in page.content.decode()
    assert "less than or equal to 100" in page.content.decode()
