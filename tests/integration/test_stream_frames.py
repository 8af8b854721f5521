"""What a real client receives of an event stream from a real server, and when."""

from __future__ import annotations

import time
from itertools import pairwise

import httpx
import pytest
from httpx_sse import connect_sse

from tests.integration.stream_server import StartStreamServer
from tests.servers import ServerProcess

pytestmark = pytest.mark.sqlite_only  # the small project has a database of its own

Message = tuple[str, str, float]


def messages(server: ServerProcess, path: str) -> tuple[httpx.Headers, list[Message]]:
    """Return the headers, and the id, data and time of arrival of each message."""
    with (
        httpx.Client(timeout=10, trust_env=False, headers={"Accept-Encoding": "gzip, deflate, br"}) as client,
        connect_sse(client, "GET", server.url + path) as source,
    ):
        found = [(event.id, event.data, time.monotonic()) for event in source.iter_sse()]
        return source.response.headers, found


def test_only_events_are_delivered(stream_server: StartStreamServer) -> None:
    _, found = messages(stream_server(), "/frames")
    assert [message[:2] for message in found] == [
        ("1", '{"type":"first","data":{"text":"ä"}}'),
        ("2", '{"type":"second","data":{}}'),
        ("3", '{"type":"third","data":{}}'),
    ]


def test_spaced_frames_arrive_spaced_and_never_compressed(stream_server: StartStreamServer) -> None:
    headers, found = messages(stream_server(), "/spaced")
    arrivals = [arrival for _, _, arrival in found]
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert len(gaps) == 4
    assert min(gaps) > 0.1
    assert "content-encoding" not in headers
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
