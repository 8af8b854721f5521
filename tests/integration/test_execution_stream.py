"""The event streams of runs: what is sent, from where on, what is refused, and what a reader leaves behind."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection
from django.http import StreamingHttpResponse
from django.test import AsyncClient
from rest_framework_simplejwt.tokens import AccessToken

from executions import stream
from executions.dispatch import start_execution
from executions.hub import Topic, hub
from executions.models import Execution, Mode
from flows.models import Flow
from tests.integration.execution_data import (
    EXECUTIONS,
    FrameReader,
    assert_complete,
    bearer,
    executor,  # noqa: F401 (a fixture)
    journal_of,
    make_flow,
    read_frames,
    wait_for_status,
)
from tests.integration.flow_data import graph_of, make_user

pytestmark = pytest.mark.usefixtures("executor")

START = f"{EXECUTIONS}/stream"


@pytest.fixture
def author(executor: None) -> User:  # noqa: F811
    return make_user("author")


@pytest.fixture
def flow(author: User) -> Flow:
    return make_flow(author, graph_of(0.05, 0))


@pytest.fixture
def slow_flow(author: User) -> Flow:
    return make_flow(author, graph_of(30), name="Slow")


@pytest.fixture
def ended(flow: Flow) -> Execution:
    """A run that has ended."""
    run = start_execution(flow, input_data={}, requester=flow.owner, mode=Mode.API)
    wait_for_status(run.pk)
    run.refresh_from_db()
    return run


@pytest.fixture
def going(slow_flow: Flow) -> Execution:
    """A run that waits for half a minute, with its first events committed."""
    run = start_execution(slow_flow, input_data={}, requester=slow_flow.owner, mode=Mode.API)
    wait_for_status(run.pk, "running")
    return run


@pytest.fixture
def headers(author: User) -> dict[str, str]:
    return bearer(author)


def stream_of(run: Execution) -> str:
    return f"{EXECUTIONS}/{run.pk}/stream"


async def body_of(response: Any) -> bytes:
    assert isinstance(response, StreamingHttpResponse), response.content
    return b"".join([chunk async for chunk in response])


async def keep(response: Any, received: BytesIO) -> None:
    """Write what comes, for what breaks off."""
    async for chunk in response:
        received.write(chunk)


def chunks_of(response: Any) -> aclosing[AsyncGenerator[bytes, None]]:
    """What comes, closed at the end as a server closes it."""
    return aclosing(aiter(response))


async def frames_of(response: Any) -> list[Any]:
    return read_frames([await body_of(response)])


@pytest.fixture
def client() -> AsyncClient:
    return AsyncClient()


# What is sent


async def test_a_run_is_started_and_followed_in_one_request(
    client: AsyncClient, flow: Flow, headers: dict[str, str]
) -> None:
    body = {"flow_id": flow.pk, "input_data": {"a": 1}}
    response = await client.post(START, body, "application/json", headers=headers)
    assert response.status_code == 200
    frames = await frames_of(response)
    assert_complete(frames)
    assert [frame.type for frame in frames] == [
        "executionStarted",
        *["nodeExecutionBefore", "nodeExecutionAfter"] * 3,
        "executionFinished",
    ]
    run = await Execution.objects.aget()
    assert (run.status, run.mode, run.input) == ("success", "api", {"a": 1})
    assert response["Location"] == stream_of(run)
    assert [(frame.seq, frame.type, frame.data) for frame in frames] == await sync_to_async(journal_of)(run.pk)


async def test_the_headers_keep_everybody_from_holding_a_stream_back(
    client: AsyncClient, ended: Execution, headers: dict[str, str]
) -> None:
    response = await client.get(stream_of(ended), headers={**headers, "Accept-Encoding": "gzip, br"})
    assert response["Content-Type"] == "text/event-stream"
    assert response["Cache-Control"] == "no-store"
    assert response["X-Accel-Buffering"] == "no"
    assert "Content-Encoding" not in response and "Content-Length" not in response
    assert (await body_of(response)).startswith(b"retry: 2000\n")


async def test_a_middleware_that_compresses_leaves_a_stream_alone(
    client: AsyncClient, ended: Execution, headers: dict[str, str], settings: Any
) -> None:
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    accepts = {**headers, "Accept-Encoding": "gzip"}
    response = await AsyncClient().get(stream_of(ended), headers=accepts)
    assert "Content-Encoding" not in response
    assert_complete(await frames_of(response))
    other = await AsyncClient().get(EXECUTIONS, headers=accepts)
    assert other["Content-Encoding"] == "gzip", "else this shows nothing"


async def test_a_browsers_event_source_is_served(client: AsyncClient, ended: Execution, author: User) -> None:
    """It accepts nothing but event streams, and has a session."""
    await sync_to_async(client.force_login)(author)
    response = await client.get(stream_of(ended), headers={"Accept": "text/event-stream"})
    assert_complete(await frames_of(response))
    refused = await client.get(f"{EXECUTIONS}/{uuid4()}/stream", headers={"Accept": "text/event-stream"})
    assert (refused.status_code, refused["Content-Type"]) == (404, "application/json")


async def test_events_come_while_the_run_goes_on(
    client: AsyncClient, going: Execution, headers: dict[str, str]
) -> None:
    response = await client.get(stream_of(going), headers=headers)
    reader = FrameReader()
    async with chunks_of(response) as chunks:
        async for chunk in chunks:
            for frame in reader.feed(chunk):
                if frame.type == "nodeExecutionProgress" and frame.data["nodeId"] == "wait0":
                    command = await client.post(f"{EXECUTIONS}/{going.pk}/cancel", headers=headers)
                    assert command.status_code in (202, 409)
    assert_complete(reader.frames)
    assert reader.frames[-1].data["status"] == "canceled"


async def test_a_stream_that_has_nothing_to_send_is_kept_alive(
    client: AsyncClient, going: Execution, headers: dict[str, str], settings: Any
) -> None:
    settings.WATAOMI_KEEP_ALIVE = 0.05
    response = await client.get(stream_of(going), headers=headers)
    async with chunks_of(response) as chunks:
        async for chunk in chunks:
            if chunk == b": keep-alive\n":
                return
    pytest.fail("The stream ended.")


# From where on


@pytest.mark.parametrize("by", ["header", "parameter", "both"])
async def test_a_stream_resumes_behind_the_last_event_that_was_seen(
    client: AsyncClient, ended: Execution, headers: dict[str, str], by: str
) -> None:
    for seen in range(ended.last_seq):
        said = {**headers, "Last-Event-ID": str(seen)} if by != "parameter" else headers
        query = {"header": "", "parameter": f"?after={seen}", "both": "?after=1"}[by]
        frames = await frames_of(await client.get(stream_of(ended) + query, headers=said))
        assert [frame.seq for frame in frames] == list(range(seen + 1, ended.last_seq + 1))


async def test_an_empty_header_says_that_nothing_was_seen(
    client: AsyncClient, ended: Execution, headers: dict[str, str]
) -> None:
    response = await client.get(stream_of(ended), headers={**headers, "Last-Event-ID": ""})
    assert_complete(await frames_of(response))


@pytest.mark.parametrize("query", ["?after=", "?after=%20", "?after"])
async def test_an_empty_parameter_says_that_nothing_was_seen(
    client: AsyncClient, ended: Execution, headers: dict[str, str], query: str
) -> None:
    assert_complete(await frames_of(await client.get(stream_of(ended) + query, headers=headers)))


async def test_an_expired_token_opens_no_stream_and_says_that_it_expired(
    client: AsyncClient, ended: Execution, author: User
) -> None:
    token = AccessToken.for_user(author)
    token.set_exp(lifetime=timedelta(seconds=-1))
    for address in (stream_of(ended), f"{EXECUTIONS}/{ended.pk}"):
        response = await client.get(address, headers={"Authorization": f"Bearer {token}"})
        assert (response.status_code, response["Content-Type"]) == (401, "application/json")
        assert "expired" in json.dumps(response.json())


@pytest.mark.parametrize("by", ["header", "parameter"])
async def test_behind_the_last_event_there_is_nothing_more(
    client: AsyncClient, ended: Execution, headers: dict[str, str], by: str
) -> None:
    said = {**headers, "Last-Event-ID": str(ended.last_seq)} if by == "header" else headers
    query = f"?after={ended.last_seq}" if by == "parameter" else ""
    response = await client.get(stream_of(ended) + query, headers=said)
    assert (response.status_code, response.content) == (204, b"")
    assert response["Cache-Control"] == "no-store"


async def test_at_the_newest_event_of_a_run_that_goes_on_a_stream_waits(
    client: AsyncClient, going: Execution, headers: dict[str, str]
) -> None:
    await going.arefresh_from_db()
    response = await client.get(stream_of(going), headers={**headers, "Last-Event-ID": str(going.last_seq)})
    assert response.status_code == 200
    async with chunks_of(response) as chunks:
        assert await anext(chunks) == b"retry: 2000\n"
        await client.post(f"{EXECUTIONS}/{going.pk}/cancel", headers=headers)
        reader = FrameReader()
        async for chunk in chunks:
            reader.feed(chunk)
    assert reader.frames[0].seq == going.last_seq + 1
    assert reader.ended


BAD_IDS = ["x", "-1", "1.5", "0x1", "1e3", "١", "9" * 40, "NaN", "1 2"]


@pytest.mark.parametrize("value", BAD_IDS)
async def test_an_id_that_is_not_a_number_is_a_400(
    client: AsyncClient, ended: Execution, headers: dict[str, str], value: str
) -> None:
    header = value.encode().decode("latin-1")
    response = await client.get(stream_of(ended), headers={**headers, "Last-Event-ID": header})
    assert response.status_code == 400
    assert "event id" in response.json()["Last-Event-ID"][0]
    response = await client.get(stream_of(ended), {"after": value}, headers=headers)
    assert response.status_code == 400
    assert "event id" in response.json()["after"][0]


@pytest.mark.parametrize("beyond", [1, 1000, 2**40])
async def test_an_id_beyond_the_end_is_a_400(
    client: AsyncClient, ended: Execution, headers: dict[str, str], beyond: int
) -> None:
    seen = str(ended.last_seq + beyond)
    response = await client.get(stream_of(ended), headers={**headers, "Last-Event-ID": seen})
    assert response.status_code == 400
    assert f"no event {seen}" in response.json()["Last-Event-ID"][0]


async def test_the_header_wins_over_the_parameter(
    client: AsyncClient, ended: Execution, headers: dict[str, str]
) -> None:
    response = await client.get(stream_of(ended) + "?after=nonsense", headers={**headers, "Last-Event-ID": "1"})
    assert (await frames_of(response))[0].seq == 2


# Who and how


async def test_a_foreign_run_has_no_stream(client: AsyncClient, ended: Execution) -> None:
    stranger = await sync_to_async(make_user)("stranger")
    response = await client.get(stream_of(ended), headers=bearer(stranger))
    assert response.status_code == 404
    operator = await sync_to_async(make_user)("operator", "executions.view_execution")
    assert_complete(await frames_of(await client.get(stream_of(ended), headers=bearer(operator))))


async def test_asking_for_the_head_of_a_stream_opens_none(
    client: AsyncClient, going: Execution, headers: dict[str, str]
) -> None:
    response = await client.head(stream_of(going), headers=headers)
    assert (response.status_code, response["Content-Type"]) == (200, "text/event-stream")
    missing = await client.head(f"{EXECUTIONS}/{uuid4()}/stream", headers=headers)
    assert missing.status_code == 404
    assert hub.readers == 0


# Starting by a request that is sent again


async def test_a_repeated_key_replays_the_run_it_made(client: AsyncClient, flow: Flow, headers: dict[str, str]) -> None:
    said = {**headers, "Idempotency-Key": "k1"}
    bodies = []
    for _ in range(2):
        response = await client.post(START, {"flow_id": flow.pk}, "application/json", headers=said)
        bodies.append(read_frames([await body_of(response)]))
    first, second = [[(frame.seq, frame.data) for frame in frames] for frames in bodies]
    assert first == second
    assert await Execution.objects.acount() == 1


async def test_a_repeated_key_resumes_behind_the_last_event_that_was_seen(
    client: AsyncClient, flow: Flow, headers: dict[str, str]
) -> None:
    said = {**headers, "Idempotency-Key": "k1"}
    body = {"flow_id": flow.pk}
    frames = await frames_of(await client.post(START, body, "application/json", headers=said))
    again = await client.post(START, body, "application/json", headers={**said, "Last-Event-ID": "3"})
    assert [frame.seq for frame in await frames_of(again)] == [frame.seq for frame in frames[3:]]
    behind = {**said, "Last-Event-ID": str(frames[-1].seq)}
    assert (await client.post(START, body, "application/json", headers=behind)).status_code == 204


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "new"}])
async def test_a_client_that_resumes_by_posting_again_starts_no_second_run(
    client: AsyncClient, flow: Flow, headers: dict[str, str], key: dict[str, str]
) -> None:
    said = {**headers, **key, "Last-Event-ID": "3"}
    response = await client.post(START, {"flow_id": flow.pk}, "application/json", headers=said)
    assert response.status_code == 400
    assert "new run" in response.json()["Last-Event-ID"][0]
    assert not await Execution.objects.aexists()


# What a reader leaves behind


async def test_a_reader_that_goes_away_changes_nothing(
    client: AsyncClient, flow: Flow, headers: dict[str, str]
) -> None:
    response = await client.post(START, {"flow_id": flow.pk}, "application/json", headers=headers)
    async with chunks_of(response) as chunks:
        async for chunk in chunks:
            if b"executionStarted" in chunk:
                break
    assert hub.readers == 0, "at once, not when the garbage collector comes by"
    run = await Execution.objects.aget()
    assert await sync_to_async(wait_for_status)(run.pk) == "success"


async def test_a_stream_holds_no_connection_to_the_database(
    client: AsyncClient, going: Execution, headers: dict[str, str]
) -> None:
    response = await client.get(stream_of(going), headers=headers)
    async with chunks_of(response) as chunks:
        await anext(chunks)
        # The thread that the view's synchronous part ran in.
        assert await sync_to_async(lambda: connection.connection)() is None


async def test_many_readers_are_given_the_same(client: AsyncClient, flow: Flow, headers: dict[str, str]) -> None:
    first = await client.post(START, {"flow_id": flow.pk}, "application/json", headers=headers)
    others = [await client.get(first["Location"], headers=headers) for _ in range(20)]
    bodies = await asyncio.gather(*(body_of(response) for response in [first, *others]))
    assert len(set(bodies)) == 1
    assert_complete(read_frames([bodies[0]]))


async def test_a_fault_in_mid_stream_ends_the_response_and_is_logged_with_the_run(
    client: AsyncClient,
    going: Execution,
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(topic: Topic, seq: int) -> None:
        raise TypeError("the ring is broken")

    monkeypatch.setattr(Topic, "after", broken)
    response = await client.get(stream_of(going), headers=headers)
    received = BytesIO()
    with caplog.at_level(logging.ERROR), pytest.raises(TypeError, match="the ring is broken"):
        await keep(response, received)
    frames = read_frames([received.getvalue()])
    assert frames[0].type == "executionStarted", "what came before the fault was sent"
    (record,) = [record for record in caplog.records if record.name == "executions.stream"]
    assert str(going.pk) in record.getMessage()
    assert record.exc_info is not None
    assert hub.readers == 0
    monkeypatch.undo()
    resumed = await client.get(stream_of(going), headers={**headers, "Last-Event-ID": str(frames[-1].seq)})
    await client.post(f"{EXECUTIONS}/{going.pk}/cancel", headers=headers)
    rest = await frames_of(resumed)
    assert_complete(frames + rest)


async def test_events_are_read_decoded_too(ended: Execution) -> None:
    decoded = [(event.seq, event.type, event.data) async for event in stream.events(ended.pk)]
    assert decoded == await sync_to_async(journal_of)(ended.pk)


async def test_frames_are_one_line_of_json_each(client: AsyncClient, ended: Execution, headers: dict[str, str]) -> None:
    body = await body_of(await client.get(stream_of(ended), headers=headers))
    for block in body.removeprefix(b"retry: 2000\n").removesuffix(b"\n\n").split(b"\n\n"):
        data, number = block.split(b"\n")
        assert data.startswith(b"data: ") and number.startswith(b"id: ")
        message = json.loads(data[6:])
        assert list(message) == ["type", "data"]
        assert message["data"]["executionId"] == str(ended.pk)
