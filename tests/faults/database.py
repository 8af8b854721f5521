"""The databases of the scenarios: each is a copy of one that was migrated once, and that notes who writes what."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import User
from django.db import connections
from django.db.utils import load_backend

from tests.faults.nodes_app.effects import TABLE as EFFECTS
from tests.faults.services import Postgres
from tests.servers import PROJECT

TEMPLATE = "template_of_scenarios"

WRITERS = """
CREATE TABLE writers (execution_id uuid, seq int, epoch int, process text);
CREATE FUNCTION note_writer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO writers SELECT fresh.execution_id, fresh.seq, run.epoch, session_user
        FROM fresh JOIN executions_execution AS run ON run.id = fresh.execution_id;
    RETURN NULL;
END $$;
CREATE TRIGGER note_writer AFTER INSERT ON executions_executionevent
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION note_writer();
"""
"""Which process has written an event, and at which epoch of the run."""


def make_template(postgres: Postgres) -> None:
    """Migrate the database that those of the scenarios are copied from; it has a user, who may do everything."""
    postgres.create(TEMPLATE)
    variables = {**os.environ, "DATABASE_URL": postgres.url(TEMPLATE), "WATAOMI_EXECUTOR": "procrastinate"}
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v", "0"], check=True, cwd=PROJECT, env=variables, timeout=120
    )
    with postgres.connect(TEMPLATE) as connection:
        connection.execute(EFFECTS)
        connection.execute(WRITERS)
        for name in ("web0", "web1", "worker0", "worker1"):
            connection.execute(f"CREATE ROLE {name} SUPERUSER LOGIN")
    with used_by_django(postgres, TEMPLATE):
        User.objects.create_superuser("operator", password="secret")


@contextmanager
def used_by_django(postgres: Postgres, database: str) -> Iterator[None]:
    """In this thread Django's default connection is one to `database`."""
    settings = dict(connections["default"].settings_dict)
    settings |= {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database,
        "USER": "postgres",
        "PASSWORD": "",
        "HOST": "127.0.0.1",
        "PORT": str(postgres.port),
        "OPTIONS": {},
        "CONN_MAX_AGE": 0,
    }
    wrapper: Any = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, "default")
    before = connections["default"]
    connections["default"] = wrapper
    try:
        yield
    finally:
        wrapper.close()
        connections["default"] = before
