"""The API of runs: starting, listing, reading, commanding and retrying them, and what it refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken

from executions.api import views
from executions.models import Command, Execution, NodeExecution
from executions.snapshot import snapshot
from flows.models import Flow, FlowVersion
from flows.versions import save_version
from tests.integration.execution_data import (
    EXECUTIONS,
    bearer,
    chain_of,
    executor,  # noqa: F401 (a fixture)
    make_flow,
    query_plan,
    wait_for_status,
)
from tests.integration.flow_data import client_of, cyclic_graph, graph_of, make_user

pytestmark = pytest.mark.django_db

STREAM = f"{EXECUTIONS}/stream"
UNKNOWN = "01900000-0000-7000-8000-000000000000"
"""The id of no run; a fixed one, since it is in the names of tests, which must be the same in every process."""
STARTING = pytest.mark.parametrize("address", [EXECUTIONS, STREAM])
"""Both addresses that start a run refuse the same things in the same words."""


@pytest.fixture
def author(request: pytest.FixtureRequest) -> User:
    # Behind the transactional database of the tests that execute runs: it is emptied when they end.
    for name in ("executor", "db"):
        if name in request.fixturenames:
            request.getfixturevalue(name)
    return make_user("author")


@pytest.fixture
def client(author: User) -> APIClient:
    return client_of(author)


@pytest.fixture
def flow(author: User) -> Flow:
    return make_flow(author, graph_of(0))


def make_run(flow: Flow, **fields: Any) -> Execution:
    """A run as it is stored; nobody executes it."""
    version = flow.versions.get(number=flow.head)
    values = {"mode": "api", "requester": flow.owner, **fields}
    return Execution.objects.create(flow=flow, flow_version=version, **values)


def address_of(execution: Execution | str, *path: str) -> str:
    return "/".join([EXECUTIONS, str(execution.pk if isinstance(execution, Execution) else execution), *path])


# Starting


def test_a_started_run_is_answered_with_its_id_and_status(client: APIClient, flow: Flow) -> None:
    response = client.post(EXECUTIONS, {"flow_id": flow.pk, "input_data": {"a": [1, None, "é"]}})
    assert response.status_code == 202
    run = Execution.objects.get()
    shown = response.json()
    assert shown.pop("created_at").endswith("Z")
    assert shown == {
        "id": str(run.pk),
        "flow_id": flow.pk,
        "flow_name": "Flow",
        "flow_version": 1,
        "status": "queued",
        "mode": "api",
        "error": None,
        "requester": "author",
        "retry_of": None,
        "started_at": None,
        "finished_at": None,
        "duration_ms": None,
        "last_seq": 0,
        "input": {"a": [1, None, "é"]},
        "output": None,
    }
    assert response["Location"] == address_of(run)
    assert client.get(response["Location"]).json()["id"] == str(run.pk)


def test_without_input_a_run_starts_with_an_empty_object(client: APIClient, flow: Flow) -> None:
    assert client.post(EXECUTIONS, {"flow_id": flow.pk}).json()["input"] == {}


def test_a_run_executes_the_newest_version(client: APIClient, flow: Flow) -> None:
    save_version(flow, graph_of(0, 0), base=1, author=flow.owner)
    assert client.post(EXECUTIONS, {"flow_id": flow.pk}).json()["flow_version"] == 2


def test_a_token_starts_a_run_as_api_and_a_session_as_manual(author: User, flow: Flow) -> None:
    by_token = APIClient().post(EXECUTIONS, {"flow_id": flow.pk}, headers=bearer(author))
    by_page = APIClient()
    by_page.force_login(author)
    by_session = by_page.post(EXECUTIONS, {"flow_id": flow.pk})
    assert [by_token.json()["mode"], by_session.json()["mode"]] == ["api", "manual"]


@STARTING
def test_a_page_must_send_its_csrf_token(author: User, flow: Flow, address: str) -> None:
    page = Client(enforce_csrf_checks=True)
    page.force_login(author)
    body = json.dumps({"flow_id": flow.pk})
    response = page.post(address, body, "application/json")
    assert response.status_code == 403
    assert "CSRF" in response.json()["detail"]
    assert not Execution.objects.exists()


def test_a_page_with_its_csrf_token_starts_a_run(author: User, flow: Flow) -> None:
    page = Client(enforce_csrf_checks=True)
    page.force_login(author)
    token = "a" * 32
    page.cookies["csrftoken"] = token
    body = json.dumps({"flow_id": flow.pk})
    response = page.post(EXECUTIONS, body, "application/json", headers={"X-CSRFToken": token})
    assert response.status_code == 202, response.content


def expired_token(user: User) -> str:
    token = AccessToken.for_user(user)
    token.set_exp(lifetime=timedelta(seconds=-1))
    return f"Bearer {token}"


@STARTING
@pytest.mark.parametrize("make", [lambda user: "", lambda user: "Bearer nonsense", expired_token])
def test_nobody_starts_a_run_unknown(author: User, flow: Flow, address: str, make: Callable[[User], str]) -> None:
    header = make(author)
    headers = {"Authorization": header} if header else {}
    response = APIClient().post(address, {"flow_id": flow.pk}, headers=headers)
    assert response.status_code == 401
    assert response.json()["detail"]
    assert not Execution.objects.exists()


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def body_of(value: object) -> Callable[[int], bytes]:
    return lambda flow_id: b'{"flow_id": %d, "input_data": %b}' % (flow_id, json.dumps(value).encode())


def body_around(raw: bytes) -> Callable[[int], bytes]:
    return lambda flow_id: b'{"flow_id": %d, "input_data": %b}' % (flow_id, raw)


BAD_BODIES: dict[str, tuple[Callable[[int], bytes], str, str]] = {
    "nothing": (lambda _: b"", "flow_id", "required"),
    "malformed": (lambda _: b'{"flow_id": 1', "detail", "not JSON"),
    "a list": (lambda _: b"[1]", "non_field_errors", "dictionary"),
    "no flow": (lambda _: b"{}", "flow_id", "required"),
    "a flow that is text": (lambda _: b'{"flow_id": "x"}', "flow_id", "integer"),
    "a flow that is null": (lambda _: b'{"flow_id": null}', "flow_id", "null"),
    "a flow in other digits": (lambda _: '{"flow_id": "٣"}'.encode(), "flow_id", "integer"),
    "a flow with an underscore": (lambda _: b'{"flow_id": "1_0"}', "flow_id", "integer"),
    "a flow beyond 64 bits": (lambda _: b'{"flow_id": 1180591620717411303424}', "flow_id", "64 bits"),
    "input beyond 64 bits": (body_of({"a": [2**70]}), "input_data", "at input_data.a[0] does not fit in 64 bits"),
    "a flow that is true": (lambda _: b'{"flow_id": true}', "flow_id", "integer"),
    "input null": (body_of(None), "input_data", "JSON object"),
    "input a list": (body_of([1]), "input_data", "JSON object"),
    "input text": (body_of("x"), "input_data", "JSON object"),
    "input a number": (body_of(3), "input_data", "JSON object"),
    "NaN": (body_around(b'{"a": NaN}'), "detail", "not JSON"),
    "Infinity": (body_around(b'{"a": -Infinity}'), "detail", "not JSON"),
    "half a surrogate pair": (body_around(b'{"a": "\\ud800"}'), "detail", "not JSON"),
    "bytes that are not UTF-8": (body_around(b'{"a": "\xff"}'), "detail", "not JSON"),
    "too deep for an input": (body_around(deep(70)), "input_data", "64 levels"),
    "too deep for a body": (body_around(deep(150)), "detail", "100 levels"),
    "too deep for a parser": (body_around(deep(100_000)), "detail", "not JSON"),
    "an input too large": (body_of({"a": "x" * 1024 * 1024}), "input_data", "1,048,576"),
}


@STARTING
@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_a_400_that_says_what_is_wrong(client: APIClient, flow: Flow, address: str, name: str) -> None:
    body, field, words = BAD_BODIES[name]
    response = client.post(address, body(flow.pk), content_type="application/json")
    assert response.status_code == 400, response.content
    assert words in str(response.json()[field])
    assert not Execution.objects.exists()


@STARTING
def test_a_body_over_the_limit_is_a_413(client: APIClient, flow: Flow, address: str, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2000
    body = body_of({"a": "x" * 3000})(flow.pk)
    response = client.post(address, body, content_type="application/json")
    assert response.status_code == 413
    assert "2000 bytes" in response.json()["detail"]
    assert not Execution.objects.exists()


@STARTING
def test_a_body_that_does_not_say_that_it_is_json_is_a_415(client: APIClient, address: str) -> None:
    response = client.post(address, b"flow_id=1", content_type="application/x-www-form-urlencoded")
    assert response.status_code == 415
    assert response.json()["code"] == "unsupported_media_type"


def test_of_duplicate_keys_the_last_one_counts(client: APIClient, flow: Flow) -> None:
    response = client.post(EXECUTIONS, body_around(b'{"a": 1, "a": 2}')(flow.pk), content_type="application/json")
    assert response.json()["input"] == {"a": 2}


@STARTING
@pytest.mark.parametrize("flow_id", [0, -1, 999_999, 2**63, 10**18])
def test_an_unknown_flow_is_a_404(client: APIClient, address: str, flow_id: int) -> None:
    response = client.post(address, {"flow_id": flow_id})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert str(flow_id) in response.json()["detail"]


@STARTING
def test_a_foreign_flow_is_answered_as_if_it_were_not_there(client: APIClient, address: str) -> None:
    flow = make_flow(make_user("stranger"), graph_of(0))
    response = client.post(address, {"flow_id": flow.pk})
    assert response.status_code == 404
    assert response.json()["detail"] == f"There is no flow {flow.pk}."


@STARTING
def test_who_may_only_see_a_flow_may_not_run_it(flow: Flow, address: str) -> None:
    viewer = client_of(make_user("viewer", "flows.view_flow"))
    assert viewer.post(address, {"flow_id": flow.pk}).status_code == 403
    assert not Execution.objects.exists()


def test_who_may_add_runs_may_run_a_flow_that_they_see(flow: Flow) -> None:
    operator = client_of(make_user("operator", "flows.view_flow", "executions.add_execution"))
    assert operator.post(EXECUTIONS, {"flow_id": flow.pk}).status_code == 202


@STARTING
def test_an_inactive_flow_starts_no_run(client: APIClient, author: User, address: str) -> None:
    flow = make_flow(author, graph_of(0), active=False)
    response = client.post(address, {"flow_id": flow.pk})
    assert (response.status_code, response.json()["code"]) == (400, "flow_inactive")
    assert response.json()["hint"]
    assert not Execution.objects.exists()


@STARTING
def test_a_flow_with_a_cycle_is_refused_with_the_cycle_named(client: APIClient, author: User, address: str) -> None:
    flow = Flow.objects.create(name="Old", slug="old", owner=author, head=1)
    FlowVersion.objects.create(flow=flow, number=1, graph=cyclic_graph(), checksum="", author=author)
    response = client.post(address, {"flow_id": flow.pk})
    assert (response.status_code, response.json()["code"]) == (400, "flow_invalid")
    (problem,) = response.json()["problems"]
    assert problem["code"] == "cycle"
    assert {"Wait 0", "Wait 1"} <= set(problem["path"])
    assert not Execution.objects.exists()


@STARTING
def test_a_flow_that_was_never_saved_is_refused(client: APIClient, author: User, address: str) -> None:
    flow = Flow.objects.create(name="Empty", slug="empty", owner=author)
    response = client.post(address, {"flow_id": flow.pk})
    assert (response.status_code, response.json()["code"]) == (400, "flow_invalid")


# Idempotency keys


def test_a_repeated_key_is_answered_with_the_run_it_made(client: APIClient, flow: Flow) -> None:
    body = {"flow_id": flow.pk, "input_data": {"a": 1}}
    answers = [client.post(EXECUTIONS, body, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert len({answer.json()["id"] for answer in answers}) == Execution.objects.count() == 1


@STARTING
def test_a_key_that_was_used_for_another_request_is_a_409(client: APIClient, flow: Flow, address: str) -> None:
    first = client.post(EXECUTIONS, {"flow_id": flow.pk}, headers={"Idempotency-Key": "k1"})
    body = {"flow_id": flow.pk, "input_data": {"other": 1}}
    response = client.post(address, body, headers={"Idempotency-Key": "k1"})
    assert (response.status_code, response.json()["code"]) == (409, "idempotency_conflict")
    assert first.json()["id"] in response.json()["detail"]
    assert Execution.objects.count() == 1


def test_two_users_may_use_the_same_key(client: APIClient, flow: Flow) -> None:
    other = make_user("other")
    foreign = make_flow(other, graph_of(0), name="Other")
    first = client.post(EXECUTIONS, {"flow_id": flow.pk}, headers={"Idempotency-Key": "k1"})
    second = client_of(other).post(EXECUTIONS, {"flow_id": foreign.pk}, headers={"Idempotency-Key": "k1"})
    assert first.json()["id"] != second.json()["id"]


@STARTING
@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_a_key_that_cannot_be_one_is_a_400(client: APIClient, flow: Flow, address: str, key: str) -> None:
    response = client.post(address, {"flow_id": flow.pk}, headers={"Idempotency-Key": key})
    assert response.status_code == 400
    assert "Idempotency-Key" in response.json()
    assert not Execution.objects.exists()


# Lists


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [run["id"] for run in response.json()["results"]]


def test_pages_of_runs_are_newest_first_and_hold_each_run_once(client: APIClient, flow: Flow) -> None:
    made = [str(make_run(flow).pk) for _ in range(7)]
    seen: list[str] = []
    address: str | None = f"{EXECUTIONS}?page_size=3"
    while address:
        response = client.get(address)
        seen += ids(response)
        address = response.json()["next"]
    assert seen == made[::-1]
    assert client.get(f"{EXECUTIONS}?page_size=3").json()["previous"] is None


def test_a_page_leads_back_to_the_one_before(client: APIClient, flow: Flow) -> None:
    for _ in range(5):
        make_run(flow)
    first = client.get(f"{EXECUTIONS}?page_size=2")
    second = client.get(first.json()["next"])
    assert ids(client.get(second.json()["previous"])) == ids(first)


def test_a_run_in_a_list_is_without_its_data_and_its_state(client: APIClient, flow: Flow) -> None:
    make_run(flow, input={"large": "x"}, output={"wait0": {"main": []}})
    (shown,) = client.get(EXECUTIONS).json()["results"]
    assert not {"input", "output", "state"} & set(shown)


def test_a_list_of_runs_costs_two_queries_and_reads_no_data(client: APIClient, flow: Flow) -> None:
    for number in range(10):
        make_run(flow, requester=make_user(f"user{number}"), input={"a": 1}, output={"wait0": {"main": []}})
    client.get(EXECUTIONS)
    with CaptureQueriesContext(connection) as queries:
        assert len(ids(client.get(EXECUTIONS))) == 10
    statements = [query["sql"] for query in queries if "executions_execution" in query["sql"]]
    assert len(statements) == 2
    for statement in statements:
        assert '"executions_execution"."input"' not in statement
        assert '"executions_execution"."output"' not in statement
        assert '"graph"' not in statement


@pytest.mark.sqlite_only  # reads SQLite's query plans
@pytest.mark.parametrize("permissions", [(), ("executions.view_execution",)])
@pytest.mark.parametrize(
    "filters", ["", "flow=1", "status=queued", "status=queued,error", "mode=api", "created_after=2020-01-01T00:00:00Z"]
)
def test_a_page_is_found_along_an_index_alone(flow: Flow, permissions: tuple[str, ...], filters: str) -> None:
    """What makes it quick with 100,000 runs: no row is read that is not on the page."""
    user = make_user("reader", *permissions)
    Flow.objects.update(owner=user)
    make_run(flow)
    client = client_of(user)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(f"{EXECUTIONS}?page_size=1&{filters}").status_code == 200
    (finding,) = [query["sql"] for query in queries if "LIMIT 2" in query["sql"]]
    plan = query_plan(finding)
    assert "executions_execution USING COVERING INDEX" in plan
    assert "SCAN flows_flow" not in plan


def test_runs_of_foreign_flows_are_not_listed(client: APIClient, flow: Flow) -> None:
    own = make_run(flow)
    foreign = make_run(make_flow(make_user("stranger"), graph_of(0), name="Foreign"))
    assert ids(client.get(EXECUTIONS)) == [str(own.pk)]
    operator = client_of(make_user("operator", "executions.view_execution"))
    assert ids(operator.get(EXECUTIONS)) == [str(foreign.pk), str(own.pk)]


def test_runs_are_filtered_by_status_flow_mode_and_time(client: APIClient, author: User, flow: Flow) -> None:
    other = make_flow(author, graph_of(0), name="Other")
    failed = make_run(flow, status="error")
    done = make_run(flow, status="success", mode="manual")
    elsewhere = make_run(other, status="running")
    old = make_run(other, status="success")
    Execution.objects.filter(pk=old.pk).update(created_at=datetime(2020, 1, 2, tzinfo=UTC))

    def found(query: str) -> set[UUID]:
        return {UUID(run) for run in ids(client.get(f"{EXECUTIONS}?{query}"))}

    assert found("status=error") == {failed.pk}
    assert found("status=error,running") == {failed.pk, elsewhere.pk}
    assert found(f"flow={other.pk}") == {elsewhere.pk, old.pk}
    assert found(f"flow={other.pk}&status=success") == {old.pk}
    assert found("mode=manual") == {done.pk}
    assert found("created_before=2020-01-03T00:00:00Z") == {old.pk}
    assert found("created_after=2020-01-03T00:00:00Z") == {failed.pk, done.pk, elsewhere.pk}
    assert found("created_after=2020-01-02T00:00:00Z&created_before=2020-01-02T00:00:01Z") == {old.pk}
    assert found("created_before=2020-01-02T00:00:00Z") == set()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=bogus", "status"),
        ("status=error,bogus", "status"),
        ("flow=x", "flow"),
        ("flow=1.5", "flow"),
        (f"flow={10**30}", "flow"),
        ("mode=bogus", "mode"),
        ("flow=%D9%A3", "flow"),
        ("created_after=yesterday", "created_after"),
        ("created_before=2020-13-01T00:00:00Z", "created_before"),
        ("created_after=0001-01-01T00:00:00%2B14:00", "created_after"),
        ("created_before=9999-12-31T23:59:59-14:00", "created_before"),
        ("cursor=nonsense", "cursor"),
        ("cursor=cD0x", "cursor"),
        ("page_size=0", "page_size"),
        ("page_size=1000", "page_size"),
    ],
)
def test_a_filter_that_cannot_be_understood_is_a_400(client: APIClient, query: str, field: str) -> None:
    response = client.get(f"{EXECUTIONS}?{query}")
    assert response.status_code == 400
    assert list(response.json()) == [field]


@pytest.mark.parametrize("flow_id", ["999999", "-1"])
def test_a_list_for_a_flow_without_runs_is_empty(client: APIClient, flow_id: str) -> None:
    assert ids(client.get(f"{EXECUTIONS}?flow={flow_id}")) == []


def test_the_runs_of_one_flow(client: APIClient, author: User, flow: Flow) -> None:
    make_run(make_flow(author, graph_of(0), name="Other"))
    done, failed = make_run(flow, status="success"), make_run(flow, status="error")
    address = f"/api/v1/flows/{flow.pk}/executions"
    assert ids(client.get(address)) == [str(failed.pk), str(done.pk)]
    assert ids(client.get(f"{address}?status=error")) == [str(failed.pk)]
    page = client.get(f"{address}?page_size=1")
    assert ids(client.get(page.json()["next"])) == [str(done.pk)]


def test_the_runs_of_a_foreign_or_unknown_flow_are_a_404(client: APIClient) -> None:
    foreign = make_flow(make_user("stranger"), graph_of(0))
    for flow_id in (foreign.pk, 999_999, 10**30):
        response = client.get(f"/api/v1/flows/{flow_id}/executions")
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


# One run


def test_a_run_is_shown_with_its_data_and_state(client: APIClient, flow: Flow) -> None:
    run = make_run(flow, input={"a": 1})
    shown = client.get(address_of(run)).json()
    assert shown["input"] == {"a": 1}
    assert shown["state"] == snapshot(run.pk)
    assert set(shown["state"]["nodes"]) == {"start", "wait0"}


def test_fields_and_state_are_of_one_moment_though_the_run_goes_on(
    client: APIClient, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(flow)
    started = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

    def end_and_snapshot(execution_id: UUID) -> Any:
        Execution.objects.filter(pk=execution_id).update(
            status="success",
            last_seq=9,
            started_at=started,
            finished_at=started + timedelta(milliseconds=250),
            output={"wait0": {"main": [{"b": 2}]}},
        )
        return snapshot(execution_id)

    monkeypatch.setattr(views, "snapshot", end_and_snapshot)
    shown = client.get(address_of(run)).json()
    state = shown["state"]
    assert (shown["status"], shown["last_seq"]) == (state["status"], state["seq"]) == ("success", 9)
    assert shown["started_at"] == state["startedAt"] == "2026-01-02T03:04:05.000006Z"
    assert shown["finished_at"] == state["finishedAt"] == "2026-01-02T03:04:05.250006Z"
    assert shown["duration_ms"] == state["durationMs"] == 250
    assert shown["output"] == {"wait0": {"main": [{"b": 2}]}}


def test_moments_are_written_as_in_events(client: APIClient, flow: Flow) -> None:
    whole = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    make_run(flow, status="success", started_at=whole, finished_at=whole)
    (listed,) = client.get(EXECUTIONS).json()["results"]
    assert listed["started_at"] == listed["finished_at"] == "2026-01-02T03:04:05.000000Z"
    assert listed["duration_ms"] == 0


READING = ["", "nodes", "nodes/start", "stream"]
COMMANDS = ["pause", "resume", "cancel", "retry"]


@pytest.mark.parametrize("path", READING)
def test_a_foreign_run_is_a_404_to_read(client: APIClient, path: str) -> None:
    foreign = make_run(make_flow(make_user("stranger"), graph_of(0)))
    for execution_id in (str(foreign.pk), str(uuid4())):
        response = client.get(address_of(execution_id, *filter(None, [path])))
        assert response.status_code == 404
        assert response.json() == {"detail": f"There is no execution {execution_id}.", "code": "not_found"}


@pytest.mark.parametrize("path", COMMANDS)
def test_a_foreign_run_is_a_404_to_command(client: APIClient, path: str) -> None:
    foreign = make_run(make_flow(make_user("stranger"), graph_of(0)))
    assert client.post(address_of(foreign, path)).status_code == 404
    assert not Command.objects.exists()


@pytest.mark.parametrize("path", READING)
def test_reading_needs_a_user(flow: Flow, path: str) -> None:
    response = APIClient().get(address_of(make_run(flow), *filter(None, [path])))
    assert response.status_code == 401


@pytest.mark.parametrize("path", ["executions/1", "executions/nonsense", "executions/nonsense/stream"])
def test_what_is_no_id_is_a_404_in_json(client: APIClient, path: str) -> None:
    response = client.get(f"/api/v1/{path}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("delete", EXECUTIONS, "GET, POST, HEAD, OPTIONS"),
        ("get", STREAM, "POST, OPTIONS"),
        ("delete", STREAM, "POST, OPTIONS"),
        ("post", f"{EXECUTIONS}/{UNKNOWN}", "GET, HEAD, OPTIONS"),
        ("post", f"{EXECUTIONS}/{UNKNOWN}/stream", "GET, HEAD, OPTIONS"),
        ("get", f"{EXECUTIONS}/{UNKNOWN}/cancel", "POST, OPTIONS"),
    ],
)
def test_another_method_is_a_405_that_names_those_there_are(
    client: APIClient, method: str, path: str, allowed: str
) -> None:
    response = getattr(client, method)(path)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response["Allow"] == allowed


# Nodes


def node_row(run: Execution, node_id: str, **fields: Any) -> NodeExecution:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    values = {"status": "success", "started_at": moment, "finished_at": moment + timedelta(milliseconds=5), **fields}
    return NodeExecution.objects.create(execution=run, node_id=node_id, **values)


def test_the_nodes_of_a_run_are_those_of_its_version_in_their_order(client: APIClient, flow: Flow) -> None:
    run = make_run(flow)
    node_row(run, "start", item_counts={"main": 1}, output={"main": [{}]})
    save_version(flow, graph_of(0, 0, 0), base=1, author=flow.owner)
    first, second = client.get(address_of(run, "nodes")).json()
    assert first == {
        "node_id": "start",
        "name": "Start",
        "type": "manual",
        "status": "success",
        "attempts": 1,
        "started_at": "2026-01-02T00:00:00.000000Z",
        "finished_at": "2026-01-02T00:00:00.005000Z",
        "duration_ms": 5,
        "item_counts": {"main": 1},
        "error": None,
    }
    assert second["node_id"] == "wait0"
    assert (second["status"], second["attempts"], second["started_at"]) == ("idle", 0, None)


def test_the_nodes_of_a_run_agree_with_its_state(client: APIClient, flow: Flow) -> None:
    run = make_run(flow)
    node_row(run, "start")
    node_row(run, "wait0", status="error", error={"type": "E", "message": "m", "hint": ""})
    node_row(run, "wait0", attempt=2, status="error", retry_at=datetime(2026, 1, 3, tzinfo=UTC))
    nodes = {node["node_id"]: node for node in client.get(address_of(run, "nodes")).json()}
    for node_id, state in snapshot(run.pk)["nodes"].items():
        assert (nodes[node_id]["status"], nodes[node_id]["attempts"]) == (state["status"], state["attempt"])
    assert nodes["wait0"]["status"] == "waiting"


def test_the_number_of_queries_does_not_grow_with_the_nodes(author: User, client: APIClient) -> None:
    def queries_for(nodes: int) -> int:
        run = make_run(make_flow(author, graph_of(*[0] * nodes), name=f"Flow of {nodes}"))
        for number in range(nodes):
            node_row(run, f"wait{number}")
        with CaptureQueriesContext(connection) as queries:
            client.get(address_of(run, "nodes"))
            client.get(address_of(run))
        return len(queries)

    queries_for(2)  # the user's permissions are read once
    assert queries_for(20) == queries_for(1)


def test_a_node_is_shown_with_its_data_and_all_attempts(client: APIClient, flow: Flow) -> None:
    run = make_run(flow)
    error = {"type": "NodeError", "message": "no", "hint": "mend it"}
    node_row(run, "wait0", status="error", input={"main": [{"a": 1}]}, error=error)
    node_row(run, "wait0", attempt=2, input={"main": [{"a": 1}]}, output={"main": [{"a": 1}, {"b": 2}]})
    shown = client.get(address_of(run, "nodes", "wait0")).json()
    assert (shown["status"], shown["type"], shown["error"]) == ("success", "delay", None)
    assert shown["input"] == {"main": [{"a": 1}]}
    assert shown["output"] == {"main": [{"a": 1}, {"b": 2}]}
    assert [(one["attempt"], one["status"], one["error"]) for one in shown["attempts"]] == [
        (1, "error", error),
        (2, "success", None),
    ]


def test_the_output_of_a_node_is_given_in_full(client: APIClient, flow: Flow) -> None:
    run = make_run(flow)
    items = [{"n": number, "text": "x" * 100} for number in range(2000)]
    node_row(run, "wait0", output={"main": items})
    assert client.get(address_of(run, "nodes", "wait0")).json()["output"] == {"main": items}


def test_a_node_that_was_not_reached_is_idle(client: APIClient, flow: Flow) -> None:
    shown = client.get(address_of(make_run(flow), "nodes", "wait0")).json()
    assert (shown["status"], shown["input"], shown["output"], shown["attempts"]) == ("idle", None, None, [])


def test_a_node_that_is_not_in_the_flow_is_a_404(client: APIClient, flow: Flow) -> None:
    response = client.get(address_of(make_run(flow), "nodes", "nowhere"))
    assert response.status_code == 404
    assert "'nowhere'" in response.json()["detail"]


# Commands


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("pause", "success"),
        ("pause", "paused"),
        ("resume", "running"),
        ("resume", "error"),
        ("cancel", "canceled"),
    ],
)
def test_a_command_that_the_status_does_not_admit_is_a_409(
    client: APIClient, flow: Flow, command: str, status: str
) -> None:
    response = client.post(address_of(make_run(flow, status=status), command))
    assert (response.status_code, response.json()["code"]) == (409, "control_refused")
    assert status in response.json()["detail"]
    assert response.json()["hint"]
    assert not Command.objects.exists()


@pytest.mark.parametrize("path", COMMANDS)
def test_who_may_only_see_a_run_may_not_command_it(flow: Flow, path: str) -> None:
    run = make_run(flow, status="running" if path != "retry" else "error")
    viewer = client_of(make_user("viewer", "executions.view_execution"))
    response = viewer.post(address_of(run, path))
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    assert not Command.objects.exists() and Execution.objects.count() == 1


def test_a_command_is_answered_with_the_status_of_the_run(client: APIClient, author: User, flow: Flow) -> None:
    run = make_run(flow, status="running")
    response = client.post(address_of(run, "pause"))
    assert response.status_code == 202
    assert response.json() == {"id": str(run.pk), "status": "running"}
    assert list(Command.objects.values_list("execution_id", "kind", "requester")) == [(run.pk, "pause", author.pk)]


@pytest.mark.usefixtures("executor")
def test_a_run_is_paused_resumed_and_ends(author: User) -> None:
    flow = make_flow(author, graph_of(0.3, 0))
    client = client_of(author)
    run = client.post(EXECUTIONS, {"flow_id": flow.pk}).json()["id"]
    wait_for_status(run, "running")
    assert client.post(address_of(run, "pause")).status_code == 202
    wait_for_status(run, "paused")
    nodes = {node["node_id"]: node["status"] for node in client.get(address_of(run, "nodes")).json()}
    assert nodes == {"start": "success", "wait0": "success", "wait1": "idle"}
    assert client.post(address_of(run, "resume")).status_code == 202
    assert wait_for_status(run) == "success"


@pytest.mark.usefixtures("executor")
def test_a_delay_of_thirty_seconds_is_cancelled_at_once(author: User) -> None:
    flow = make_flow(author, graph_of(30))
    client = client_of(author)
    run = client.post(EXECUTIONS, {"flow_id": flow.pk}).json()["id"]
    wait_for_status(run, "running")
    started = time.monotonic()
    assert client.post(address_of(run, "cancel")).status_code == 202
    assert wait_for_status(run) == "canceled"
    assert time.monotonic() - started < 0.5


@pytest.mark.usefixtures("executor")
def test_what_a_run_did_can_be_read_when_it_has_ended(author: User) -> None:
    flow = make_flow(author, graph_of(0))
    client = client_of(author)
    run = client.post(EXECUTIONS, {"flow_id": flow.pk, "input_data": {"a": 1}}).json()["id"]
    wait_for_status(run)
    shown = client.get(address_of(run)).json()
    assert (shown["status"], shown["output"]) == ("success", {"wait0": {"main": [{"a": 1}]}})
    assert shown["state"] == snapshot(UUID(run))
    assert shown["last_seq"] == shown["state"]["seq"] > 0
    node = client.get(address_of(run, "nodes", "wait0")).json()
    assert node["input"] == node["output"] == {"main": [{"a": 1}]}


# Retries


@pytest.mark.usefixtures("executor")
def test_a_failed_run_is_retried_from_the_start_and_from_the_failed_node(author: User) -> None:
    flow = make_flow(author, chain_of(("noop", {}), ("fail", {"message": "broken"})))
    client = client_of(author)
    run = client.post(EXECUTIONS, {"flow_id": flow.pk, "input_data": {"a": 1}}).json()["id"]
    assert wait_for_status(run) == "error"
    assert "broken" in client.get(address_of(run)).json()["error"]["message"]
    save_version(flow, chain_of(("noop", {}), ("noop", {})), base=1, author=author)

    again = client.post(address_of(run, "retry"))
    assert again.status_code == 202
    shown = again.json()
    assert (shown["retry_of"], shown["mode"], shown["flow_version"], shown["input"]) == (run, "retry", 1, {"a": 1})
    assert again["Location"] == address_of(shown["id"])
    assert wait_for_status(shown["id"]) == "error"

    mended = client.post(address_of(run, "retry"), {"from": "failed", "version": "newest"}).json()
    assert mended["flow_version"] == 2
    assert wait_for_status(mended["id"]) == "success"
    started = [event.data for event in Execution.objects.get(pk=mended["id"]).events.filter(type="nodeExecutionBefore")]
    assert [json.loads(data)["nodeId"] for data in started] == ["n1"]


@pytest.mark.parametrize(
    ("status", "body"), [("running", {}), ("paused", {"from": "failed"}), ("success", {"from": "failed"})]
)
def test_a_retry_that_the_status_does_not_admit_is_a_409(
    client: APIClient, flow: Flow, status: str, body: dict[str, str]
) -> None:
    response = client.post(address_of(make_run(flow, status=status), "retry"), body)
    assert (response.status_code, response.json()["code"]) == (409, "retry_refused")
    assert Execution.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [({"from": "middle"}, "from"), ({"version": "7"}, "version"), ({"from": None}, "from"), ([1], "non_field_errors")],
)
def test_a_retry_that_is_not_understood_is_a_400(client: APIClient, flow: Flow, body: Any, field: str) -> None:
    response = client.post(address_of(make_run(flow, status="error"), "retry"), body)
    assert response.status_code == 400
    assert list(response.json()) == [field]
    assert Execution.objects.count() == 1


def test_a_run_of_an_inactive_flow_is_not_retried(client: APIClient, author: User) -> None:
    flow = make_flow(author, graph_of(0), active=False)
    response = client.post(address_of(make_run(flow, status="error"), "retry"))
    assert (response.status_code, response.json()["code"]) == (400, "flow_inactive")


# The schema


def test_the_schema_describes_every_address_without_a_warning() -> None:
    output = StringIO()
    call_command("spectacular", validate=True, fail_on_warn=True, format="openapi-json", stdout=output)
    paths = json.loads(output.getvalue())["paths"]
    run = "/api/v1/executions/{execution_id}"
    for path in ("", "/nodes", "/nodes/{node_id}", "/stream"):
        assert "get" in paths[run + path]
    for path in ("/pause", "/resume", "/cancel", "/retry"):
        assert "202" in paths[run + path]["post"]["responses"]
    assert "text/event-stream" in paths["/api/v1/executions/stream"]["post"]["responses"]["200"]["content"]
    parameters = {parameter["name"] for parameter in paths["/api/v1/executions"]["get"]["parameters"]}
    assert {"status", "flow", "mode", "created_after", "created_before", "cursor"} <= parameters
