"""Faults at random: whatever comes together, each run ends once, and no event is lost or doubled."""

from __future__ import annotations

from pathlib import Path

from tests.faults.conftest import FAULTS_OF_A_SCENARIO
from tests.faults.scenario import Scenario
from tests.faults.services import Postgres, Redis

EXECUTORS = ("embedded", "procrastinate")


def test_nothing_is_lost_or_doubled(
    seed: int, postgres_service: Postgres, redis_service: Redis, headers: dict[str, str], tmp_path: Path
) -> None:
    executor = EXECUTORS[seed % 2]
    scenario = Scenario(seed, executor, postgres_service, redis_service, tmp_path, headers)
    print(scenario.run(FAULTS_OF_A_SCENARIO))
    assert scenario.nemesis.done.total() == FAULTS_OF_A_SCENARIO
