"""PostgreSQL and Redis that go away and come back, and all processes at once: runs wait, and then they go on."""

from __future__ import annotations

import signal
import time

import pytest

from tests.faults.flows import chain_of_effects
from tests.faults.services import Postgres, Redis
from tests.faults.world import MakeWorld, World
from tests.servers import wait_until

EXECUTORS = ("embedded", "procrastinate")

AWAY = 2.5
"""Seconds: longer than a lease."""


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("mode", [Postgres.FAST, Postgres.IMMEDIATE])
def test_runs_wait_while_postgresql_is_away_and_then_go_on(
    executor: str, mode: signal.Signals, make_world: MakeWorld, postgres_service: Postgres
) -> None:
    world = make_world(executor, webs=1 if executor == "procrastinate" else 2)
    runs = [world.start(chain_of_effects(*[0.3] * 8)) for _ in range(3)]
    readers = [world.follow(run)[0] for run in runs]
    for run in runs:
        world.wait_begun(run, "n1")
    postgres_service.restart(mode, AWAY)
    for run in runs:
        assert world.wait_for_status(run) == "success"
        begun = [effect.node_id for effect in world.effects(run)]
        assert list(dict.fromkeys(begun)) == [f"n{number}" for number in range(8)]
        assert world.query("SELECT epoch, takeovers FROM executions_execution WHERE id = %s", run) == [(1, 0)]
    world.check()
    assert all(reader.frames.ended for reader in readers)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_streams_go_on_while_redis_is_away_and_when_it_is_back(
    executor: str, make_world: MakeWorld, redis_service: Redis
) -> None:
    """Hints over Redis make streams of other processes' runs quick; without them the journal is looked at."""
    world = make_world(executor)
    run = world.start(chain_of_effects(*[0.25] * 12))
    readers = world.follow(run, 4)
    world.wait_begun(run, "n1")
    redis_service.restart(signal.SIGKILL, 1.0)
    assert world.wait_for_status(run) == "success"
    world.check()
    assert [effect.node_id for effect in world.effects(run)] == [f"n{number}" for number in range(12)]
    assert all(reader.frames.ended for reader in readers)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_paused_runs_and_waits_survive_a_restart_of_everything(
    executor: str, make_world: MakeWorld, postgres_service: Postgres, redis_service: Redis
) -> None:
    world = make_world(executor, webs=1, workers=1)
    paused = world.start(chain_of_effects(0, 0.5, 0))
    world.wait_begun(paused, "n1")
    assert world.command(paused, "pause")
    graph = chain_of_effects(0)
    graph["nodes"].append({"id": "wait", "type": "delay", "name": "Wait", "params": {"seconds": 6}})
    graph["edges"].append({"source": "n0", "target": "wait"})
    waiting = world.start(graph)
    readers = [*world.follow(paused), *world.follow(waiting)]
    assert world.wait_for_status(paused, "paused") == "paused"
    assert world.wait_for_status(waiting, "waiting") == "waiting"
    wait_until(lambda: not holders(world), 5, lambda: "runs that hold no worker")
    for member in world.cluster.members:
        member.kill()
    postgres_service.restart(Postgres.IMMEDIATE)
    redis_service.restart(signal.SIGKILL)
    for member in world.cluster.members:
        member.start()
    assert world.status(paused) == "paused"
    assert world.wait_for_status(waiting) == "success"
    assert world.command(paused, "resume")
    assert world.wait_for_status(paused) == "success"
    assert [effect.node_id for effect in world.effects(paused)] == ["n0", "n1", "n2"]
    world.check()
    assert all(reader.frames.ended for reader in readers)


def holders(world: World) -> set[str]:
    return {owner for (owner,) in world.query("SELECT lease_owner FROM executions_execution") if owner}


def test_readers_go_on_at_another_web_process(make_world: MakeWorld) -> None:
    """Each web process is killed or told to end while readers follow: they go on behind their Last-Event-ID."""
    world = make_world("procrastinate", webs=2, workers=1)
    run = world.start(chain_of_effects(*[0.1] * 400))
    readers = world.follow(run, 6)
    for round_number, web in enumerate(world.cluster.webs * 2):
        seen = [reader.frames.last_seq for reader in readers]
        wait_until(lambda seen=seen: all(now.frames.last_seq > then for now, then in zip(readers, seen, strict=True)))
        if round_number % 2:
            web.terminate()
        else:
            web.kill()
        time.sleep(0.2)
        web.start()
    assert world.command(run, "cancel")
    assert world.wait_for_status(run) == "canceled"
    world.check()
    assert min(reader.connections for reader in readers) > 1
    begun = [effect.node_id for effect in world.effects(run)]
    assert begun == [f"n{number}" for number in range(len(begun))]
