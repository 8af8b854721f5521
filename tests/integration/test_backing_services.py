"""What `manage.py prepare` says and does when PostgreSQL or Redis is not as the settings say."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import transaction
from psycopg import sql

from tests import services
from tests.servers import PROJECT, free_port


def prepare(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "prepare", "--port", str(free_port())],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("debug", ["0", "1"])
def test_a_postgresql_that_is_not_there_is_said_in_a_line(debug: str) -> None:
    port = free_port()
    said = prepare(DEBUG=debug, REDIS_URL="", DATABASE_URL=f"postgres://somebody:secret@127.0.0.1:{port}/flows")
    assert said.returncode == 1 and len(said.stderr.splitlines()) == 1
    assert f"PostgreSQL cannot be used at 127.0.0.1:{port} (" in said.stderr
    assert "DATABASE_URL" in said.stderr and "secret" not in said.stderr


@pytest.mark.django_db
@pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:{port}/0", "nonsense"])
def test_a_redis_that_is_not_there_is_said_in_a_line(settings: Any, url: str) -> None:
    port = free_port()
    settings.REDIS_URL = url.format(port=port)
    with pytest.raises(CommandError) as refused:
        call_command("prepare", port=free_port(), verbosity=0)
    assert "REDIS_URL" in str(refused.value) and "secret" not in str(refused.value)
    assert url == "nonsense" or f"at 127.0.0.1:{port} (" in str(refused.value)


@pytest.fixture
def no_database() -> Iterator[str]:
    """The name of a database that PostgreSQL has not; what a test makes of it is dropped."""
    name = f"{services.own_name()}_New-one"
    yield name
    with closing(psycopg.connect(services.database_url(), autocommit=True)) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.services_only
def test_the_database_is_made_for_development_and_only_there(no_database: str) -> None:
    url = services.database_url(no_database)
    refused = prepare(DEBUG="0", DATABASE_URL=url)
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
    assert f'has no database "{no_database}"' in refused.stderr and "createdb" in refused.stderr
    for _ in range(2):
        made = prepare(DEBUG="1", DATABASE_URL=url, WATAOMI_EXECUTOR="procrastinate")
        assert made.returncode == 0, made.stderr
        assert "/flows/1/edit" in made.stdout
    with closing(psycopg.connect(services.database_url(no_database))) as connection:
        assert connection.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (0,)
        flows = connection.execute("SELECT count(*) FROM flows_flow").fetchone()
    assert flows is not None and flows[0] > 0


FROZEN = """
import os, signal
from django.contrib.auth.models import User
from django.db import transaction
with transaction.atomic():
    User.objects.select_for_update().get()
    print("locked", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.services_only
@pytest.mark.django_db(transaction=True)
def test_a_process_that_is_frozen_in_a_transaction_keeps_its_rows_no_longer_than_its_runs() -> None:
    User.objects.create_user("author")
    environment = {**os.environ, **services.test_environment(), "WATAOMI_LEASE": "1"}
    command = [sys.executable, "manage.py", "shell", "--verbosity", "0", "-c", FROZEN]
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=-1) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"locked\n"
            began = time.monotonic()
            with transaction.atomic():
                assert User.objects.select_for_update().get().username == "author"
            assert 2 < time.monotonic() - began < 15
        finally:
            process.kill()
