"""200 runs at once on the embedded default, each started and followed by a client of its own."""

from __future__ import annotations

import asyncio

import httpx

from executions.models import Execution
from tests.integration.execution_data import EXECUTIONS, FrameReader, assert_complete, bearer, make_flow
from tests.integration.flow_data import make_user
from tests.servers import StartServer, wait_until

RUNS = 200


def branching_graph() -> dict[str, object]:
    """A start, two branches of delays and steps, and a join."""
    nodes = [
        {"id": "start", "type": "manual"},
        {"id": "long", "type": "delay", "params": {"seconds": 0.5}},
        {"id": "short", "type": "delay", "params": {"seconds": 0.2}},
        *({"id": f"step{number}", "type": "noop"} for number in range(5)),
        {"id": "join", "type": "merge"},
    ]
    edges: list[dict[str, str]] = [
        {"source": "start", "target": "long"},
        {"source": "start", "target": "short"},
        {"source": "short", "target": "step0"},
        *({"source": f"step{number}", "target": f"step{number + 1}"} for number in range(4)),
        {"source": "long", "target": "join", "target_port": "one"},
        {"source": "step4", "target": "join", "target_port": "two"},
    ]
    return {"nodes": nodes, "edges": edges}


async def run_and_follow(client: httpx.AsyncClient, flow_id: int, number: int) -> FrameReader:
    reader = FrameReader()
    body = {"flow_id": flow_id, "input_data": {"number": number}}
    async with client.stream("POST", f"{EXECUTIONS}/stream", json=body) as response:
        assert response.status_code == 200, await response.aread()
        async for chunk in response.aiter_raw():
            reader.feed(chunk)
    return reader


async def test_200_runs_at_once_all_end_and_each_stream_is_complete(project_server: StartServer) -> None:
    def prepare() -> tuple[int, dict[str, str]]:
        author = make_user("author")
        return make_flow(author, branching_graph()).pk, bearer(author)

    server = await asyncio.to_thread(project_server)
    flow_id, headers = await asyncio.to_thread(prepare)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, timeout=60, trust_env=False, limits=limits
    ) as client:
        readers = await asyncio.gather(*(run_and_follow(client, flow_id, number) for number in range(RUNS)))

    for number, reader in enumerate(readers):
        assert_complete(reader.frames)
        names = [frame.type for frame in reader.frames]
        assert names.count("nodeExecutionBefore") == names.count("nodeExecutionAfter") == 9
        assert reader.frames[-1].data["status"] == "success"
        assert reader.frames[-1].data["progress"] == {"done": 9, "total": 9}
        start = next(frame for frame in reader.frames if frame.type == "nodeExecutionAfter")
        assert start.data["output"] == {"main": [{"number": number}]}, "the events are of the run that was asked for"
    assert len({reader.frames[0].data["executionId"] for reader in readers}) == RUNS

    def statuses() -> list[str]:
        return list(Execution.objects.values_list("status", flat=True))

    assert await asyncio.to_thread(statuses) == ["success"] * RUNS
    wait_until(lambda: server.log().count("left as success") == RUNS)
    log = server.log()
    for sign in ("locked", "ERROR", "Traceback", "took too long"):
        assert sign not in log, log
