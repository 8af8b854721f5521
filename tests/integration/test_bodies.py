"""Bodies as clients send them: in chunks, as forms, too large. The same under a real Daphne and in process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIRequest

from executions.models import Execution
from flows.models import Flow
from tests.integration.execution_data import EXECUTIONS, bearer, chain_of, make_flow
from tests.integration.flow_data import make_user
from tests.servers import ServerProcess, StartServer
from wataomi.bodies import BodyLengthHandler

FLOWS = "/api/v1/flows"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def server(project_server: StartServer) -> ServerProcess:
    return project_server()


@pytest.fixture
def author(server: ServerProcess) -> User:
    return make_user("author")


@pytest.fixture
def client(server: ServerProcess, author: User) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={**bearer(author), **JSON}, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def flow(author: User) -> Flow:
    return make_flow(author, chain_of(("fail", {"message": "as told"})))


def chunks(value: object, size: int = 7) -> Iterator[bytes]:
    """A body that httpx sends in chunks, since it cannot know its length."""
    body = json.dumps(value).encode()
    yield from (body[start : start + size] for start in range(0, len(body), size))


def test_what_is_sent_in_chunks_is_read_by_every_endpoint_that_writes(client: httpx.Client, flow: Flow) -> None:
    login = client.post("/api/v1/token", content=chunks({"username": "author", "password": "wrong"}))
    assert (login.status_code, login.request.headers["Transfer-Encoding"]) == (401, "chunked")
    address = f"{FLOWS}/{flow.pk}"
    assert client.patch(address, content=chunks({"name": "Patched"})).json()["name"] == "Patched"
    flow.refresh_from_db()
    assert flow.name == "Patched"
    graph = {"name": "Put", "base": flow.head, "graph": chain_of(("fail", {"message": "again"}))}
    assert client.put(address, content=chunks(graph)).json()["version"] == flow.head + 1
    validated = client.post(f"{address}/validate", content=chunks({"graph": {"nodes": [{"id": "a", "type": "no"}]}}))
    assert validated.json()["valid"] is False
    created = client.post(FLOWS, content=chunks({"name": "Posted"}))
    assert (created.status_code, created.json()["name"]) == (201, "Posted")


def test_a_run_is_started_and_retried_as_the_chunks_say(client: httpx.Client, flow: Flow) -> None:
    posted = chunks({"flow_id": flow.pk, "input_data": {"text": "in chunks"}})
    stream = client.post(f"{EXECUTIONS}/stream", content=posted)  # read to its end: the run has failed then
    assert stream.status_code == 200
    run = Execution.objects.get()
    assert run.input == {"text": "in chunks"}
    refused = client.post(f"{EXECUTIONS}/{run.pk}/retry", content=chunks({"from": "nowhere"}))
    assert (refused.status_code, list(refused.json())) == (400, ["from"])
    retried = client.post(f"{EXECUTIONS}/{run.pk}/retry", content=chunks({"from": "failed"}))
    assert retried.status_code == 202
    with client.stream("GET", f"{EXECUTIONS}/{retried.json()['id']}/stream") as events:
        began = next(line for line in events.iter_lines() if line.startswith("data: "))
    nodes = json.loads(began.removeprefix("data: "))["data"]["nodes"]
    assert {node["id"]: node["status"] for node in nodes}["start"] == "success"  # taken over


@pytest.mark.parametrize("chunked", [True, False], ids=["in chunks", "with a length"])
def test_a_body_over_the_limit_is_413_however_it_is_sent(client: httpx.Client, flow: Flow, chunked: bool) -> None:
    value = {"flow_id": flow.pk, "input_data": {"text": "x" * 8_000_000}}
    body: Any = chunks(value, 65_536) if chunked else json.dumps(value).encode()
    response = client.post(EXECUTIONS, content=body)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert not Execution.objects.exists()


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize(
    "body", [b"{}", b'--x\r\nContent-Disposition: form-data; name="flow_id"\r\n\r\n1\r\n--x--\r\n']
)
def test_a_form_is_415_with_words(client: httpx.Client, content_type: str, body: bytes) -> None:
    response = client.post(EXECUTIONS, content=body, headers={"Content-Type": content_type})
    assert response.status_code == 415, response.content
    assert response.json()["code"] == "unsupported_media_type"
    assert "multipart/form-data" in response.json()["detail"]


def request_of(body: bytes, *headers: tuple[bytes, bytes]) -> ASGIRequest:
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [*headers]}
    request, _ = BodyLengthHandler().create_request(scope, BytesIO(body))
    assert request is not None
    return request


def test_a_request_says_how_long_its_body_is() -> None:
    request = request_of(b'{"a": 1}', (b"transfer-encoding", b"chunked"))
    assert (request.META["CONTENT_LENGTH"], request.body) == ("8", b'{"a": 1}')
    assert request_of(b'{"a": 1}', (b"content-length", b"8")).META["CONTENT_LENGTH"] == "8"
    assert "CONTENT_LENGTH" not in request_of(b"").META
