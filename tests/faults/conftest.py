"""Options and fixtures: services that all tests of this process share, and how many faults there are to be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from rest_framework_simplejwt.tokens import AccessToken

from tests.faults.database import TEMPLATE, make_template, used_by_django
from tests.faults.services import Postgres, Redis, ServiceMissing, running
from tests.faults.world import MakeWorld, worlds

FAULTS = 200
FAULTS_OF_A_SCENARIO = 50
FIRST_SEED = 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", type=int, default=FAULTS, help="how many faults to draw, in scenarios of 50")
    parser.addoption("--seed", type=int, help="run the one scenario of this seed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        given = metafunc.config.getoption("--seed", None)
        count = -(-int(metafunc.config.getoption("--faults", FAULTS)) // FAULTS_OF_A_SCENARIO)
        metafunc.parametrize("seed", [given] if given is not None else range(FIRST_SEED, FIRST_SEED + count))


@pytest.fixture(scope="session")
def redis_service() -> Iterator[Redis]:
    try:
        with running(Redis) as service:
            yield service
    except ServiceMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def postgres_service(django_db_blocker: object) -> Iterator[Postgres]:
    try:
        with running(Postgres) as service, django_db_blocker.unblock():  # type: ignore[attr-defined]
            make_template(service)
            yield service
    except ServiceMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def headers(postgres_service: Postgres) -> dict[str, str]:
    """The header of a client that may do everything."""
    with used_by_django(postgres_service, TEMPLATE):
        return {"Authorization": f"Bearer {AccessToken.for_user(User.objects.get(username='operator'))}"}


@pytest.fixture
def make_world(
    postgres_service: Postgres, redis_service: Redis, headers: dict[str, str], tmp_path: Path
) -> Iterator[MakeWorld]:
    with worlds(postgres_service, redis_service, headers, tmp_path) as make:
        yield make
