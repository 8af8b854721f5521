"""A node with an effect starts only while its run is surely held: a worker that was frozen may have lost it."""

from __future__ import annotations

import asyncio

from executions.engine.ports import JournalLost
from executions.engine.run import Outcome
from tests.unit.engine_world import World, chain


async def test_a_node_with_an_effect_waits_until_the_lease_is_renewed() -> None:
    world = World(chain("a", "b", "c"), pure={"a"})
    world.journal.lease.clear()
    driving = asyncio.ensure_future(world.drive())
    await world.journal.committed(3)  # the run and `a`, which is pure, and needs no lease
    await asyncio.sleep(0.02)
    assert world.started == ["a"]
    assert world.journal.durable == 3
    world.journal.lease.set()
    assert await driving is Outcome.ENDED
    assert world.started == ["a", "b", "c"]


async def test_a_node_whose_run_was_lost_meanwhile_does_not_start() -> None:
    world = World(chain("a", "b"), pure={"a"})

    async def lost() -> None:
        raise JournalLost("another worker took the run over")

    world.journal.held = lost  # type: ignore[method-assign]
    outcome = await asyncio.gather(world.drive(), return_exceptions=True)
    assert isinstance(outcome[0], JournalLost)
    assert world.started == ["a"]
