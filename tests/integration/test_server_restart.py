"""A server is restarted while runs go on and readers follow them: they read on from the next one."""

from __future__ import annotations

import httpx
from django.contrib.auth.models import User

from tests.integration.execution_data import EXECUTIONS, FrameReader, assert_complete, bearer, make_flow
from tests.integration.flow_data import graph_of, make_user
from tests.raw_client import RawClient
from tests.servers import StartServer, within

READERS = 10


def read_until(client: RawClient, reader: FrameReader, event_type: str) -> None:
    """Read a stream until an event of that type has come."""
    for chunk in client.chunks():
        if any(frame.type == event_type for frame in reader.feed(chunk)):
            return
    raise AssertionError(f"The stream ended without {event_type}")


def test_readers_resume_at_the_next_server_and_miss_nothing(project_server: StartServer) -> None:
    author: User = make_user("author")
    headers = bearer(author)
    flow = make_flow(author, graph_of(0, 6))
    first = project_server()
    answer = httpx.post(first.url + EXECUTIONS, json={"flow_id": flow.pk}, headers=headers, trust_env=False)
    path = f"{EXECUTIONS}/{answer.json()['id']}/stream"
    readers = [FrameReader() for _ in range(READERS)]
    clients = [RawClient(first.port, path, headers=headers) for _ in readers]
    for client, reader in zip(clients, readers, strict=True):
        assert client.read_head()[0] == 200
        read_until(client, reader, "nodeExecutionAfter")

    assert first.terminate() < within(3)
    for client, reader in zip(clients, readers, strict=True):
        body, complete = client.read_body()
        assert not complete, "else a client takes the run for ended"
        reader.feed(body)
        reader.cut()
        client.close()

    second = project_server(port=first.port)
    for reader in readers:
        assert not reader.ended
        resume = {**headers, "Last-Event-ID": str(reader.last_seq)}
        with RawClient(second.port, path, headers=resume) as client:
            assert client.read_head()[0] == 200
            body, complete = client.read_body()
            assert complete
            reader.feed(body)
        assert_complete(reader.frames)
        assert reader.frames[-1].data["status"] == "success"
    assert "Traceback" not in first.log() + second.log()
