"""Workers that are killed, frozen and told to end in the middle of a run."""

from __future__ import annotations

import signal
import time

import pytest

from tests.faults.cluster import EXIT_SECONDS, LEASE, QUICK
from tests.faults.flows import chain_of_effects
from tests.faults.world import MakeWorld, Supervisor, World
from tests.servers import wait_until, within

EXECUTORS = ("embedded", "procrastinate")

TAKE_OVER_SECONDS = 15.0
"""Within these a run goes on, with the default settings, when its worker was killed."""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_killed_worker_s_run_goes_on_behind_its_last_node(executor: str, make_world: MakeWorld) -> None:
    defaults = {"WATAOMI_LOG_LEVEL": "WARNING"}
    world = make_world(executor, webs=1 if executor == "procrastinate" else 2, environment=defaults)
    run = world.start(chain_of_effects(0, 1.5, 0))
    world.wait_begun(run, "n1")
    holder = world.holder(run)
    holder.kill()
    killed_at = time.time()
    holder.process = None
    world.wait_begun(run, "n1", times=2, timeout=TAKE_OVER_SECONDS * 2)
    first, second = world.effects(run, "n1")
    assert second.begun_at - killed_at < TAKE_OVER_SECONDS
    assert world.wait_for_status(run) == "success"
    assert [effect.node_id for effect in world.effects(run)] == ["n0", "n1", "n1", "n2"]
    assert first.idempotency_key == second.idempotency_key
    assert (first.attempt, second.attempt) == (1, 1)
    assert first.pid != second.pid
    world.follow(run)
    world.check()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_worker_that_was_frozen_past_its_lease_writes_nothing(executor: str, make_world: MakeWorld) -> None:
    world = make_world(executor, webs=1 if executor == "procrastinate" else 2)
    run = world.start(chain_of_effects(0, 0.5, 0, 2.0, 0))
    world.wait_begun(run, "n1")
    zombie = world.holder(run)
    zombie.send(signal.SIGSTOP)
    world.wait_begun(run, "n3", timeout=LEASE * 4 + 10)  # elsewhere, and it is not through when the zombie wakes up
    zombie.send(signal.SIGCONT)
    assert world.holder(run) is not zombie
    assert world.wait_for_status(run) == "success"
    assert [effect.node_id for effect in world.effects(run)] == ["n0", "n1", "n1", "n2", "n3", "n4"]
    world.follow(run)
    world.check()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_worker_that_was_frozen_past_its_lease_begins_no_node(executor: str, make_world: MakeWorld) -> None:
    """All that the node depends on is durable, and only time keeps it from starting: it must see that it lost the run
    before it does anything."""
    graph = chain_of_effects(0, 0, 1.0)
    graph["nodes"][2]["params"]["failures"] = 1
    graph["nodes"][2]["settings"] = {"retry": {"max_attempts": 2, "backoff": 1.0, "max_delay": 2}}
    environment = {**QUICK, "WATAOMI_PARK_AFTER": "30"}
    world = make_world(executor, webs=1 if executor == "procrastinate" else 2, environment=environment)
    run = world.start(graph)
    world.wait_begun(run, "n1")
    wait_for_event(world, run, "nodeExecutionAfter", "n1")
    zombie = world.holder(run)
    zombie.send(signal.SIGSTOP)
    assert world.effects(run, "n1")[-1].attempt == 1
    assert world.wait_for_status(run) == "success"
    zombie.send(signal.SIGCONT)
    time.sleep(1.0)  # the time of the retry is over: what the zombie is to do, it does at once
    assert [(effect.node_id, effect.attempt) for effect in world.effects(run)] == [
        ("n0", 1), ("n1", 1), ("n1", 2), ("n2", 1),
    ]  # fmt: skip
    world.check()


def wait_for_event(world: World, run: str, type: str, node_id: str) -> None:
    query = "SELECT 1 FROM executions_executionevent WHERE execution_id = %s AND type = %s AND data LIKE %s"
    wait_until(lambda: bool(world.query(query, run, type, f'%"nodeId":"{node_id}"%')), 20, lambda: world.describe(run))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_run_that_kills_its_workers_is_failed(executor: str, make_world: MakeWorld) -> None:
    environment = {**QUICK, "WATAOMI_MAX_TAKEOVERS": "2"}
    world = make_world(executor, webs=1, workers=1, environment=environment)
    with Supervisor(world.cluster) as supervisor:
        # Whatever runs beside it loses the same workers, and must not be failed for that.
        bystander = world.start(chain_of_effects(*[0.2] * 20), "a bystander")
        graph = chain_of_effects(0)
        graph["nodes"].append({"id": "deadly", "type": "faults.kill_worker", "name": "Deadly"})
        graph["edges"].append({"source": "n0", "target": "deadly"})
        run = world.start(graph, "failing flow")
        assert world.wait_for_status(run, timeout=40) == "error"
        assert world.wait_for_status(bystander, timeout=40) == "success"
    assert supervisor.restarts == 2
    (error,) = world.query("SELECT error FROM executions_execution WHERE id = %s", run)[0]
    assert "2 workers in a row while 'Deadly' ran" in error
    assert "WATAOMI_MAX_TAKEOVERS" in error
    assert [effect.node_id for effect in world.effects(run)] == ["n0", "deadly", "deadly"]
    assert len({effect.idempotency_key for effect in world.effects(run, "deadly")}) == 1
    world.follow(run)
    world.check()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_sigterm_hands_runs_over_between_nodes(executor: str, make_world: MakeWorld) -> None:
    world = make_world(executor, environment={**QUICK, "WATAOMI_LEASE": "10", "WATAOMI_SHUTDOWN_GRACE": "1.5"})
    run = world.start(chain_of_effects(0, 0.6, 0.2, 0))
    world.follow(run, 2)
    world.wait_begun(run, "n1")
    holder = world.holder(run)
    assert holder.terminate() < within(EXIT_SECONDS)
    ended_at = time.time()
    holder.process = None
    assert world.wait_for_status(run) == "success"
    effects = world.effects(run)
    assert [effect.node_id for effect in effects] == ["n0", "n1", "n2", "n3"], "no node ran twice"
    assert effects[1].pid != effects[2].pid
    assert effects[2].begun_at - ended_at < within(3), "its lease did not have to end first"
    world.check()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_sigterm_does_not_wait_for_a_long_node(executor: str, make_world: MakeWorld) -> None:
    world = make_world(executor)
    run = world.start(chain_of_effects(0, 4))
    world.wait_begun(run, "n1")
    holder = world.holder(run)
    assert holder.terminate() < within(3)
    holder.process = None
    assert world.wait_for_status(run) == "success"
    first, second = world.effects(run, "n1")
    assert first.finished_at is None
    assert first.idempotency_key == second.idempotency_key
    world.check()


def test_an_embedded_executor_recovers_its_runs_when_it_starts(make_world: MakeWorld) -> None:
    world = make_world("embedded", webs=1, environment={"WATAOMI_LOG_LEVEL": "WARNING"})
    runs = [world.start(chain_of_effects(0, 1, 0)) for _ in range(3)]
    for run in runs:
        world.wait_begun(run, "n1")
    (web,) = world.cluster.webs
    web.kill()
    web.start()
    started_at = time.time()
    for run in runs:
        assert world.wait_for_status(run) == "success"
        assert [effect.node_id for effect in world.effects(run)] == ["n0", "n1", "n1", "n2"]
        assert world.effects(run, "n1")[1].begun_at - started_at < within(3), "its lease did not have to end first"
    world.check()
