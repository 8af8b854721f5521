"""System checks of the project's own settings: a wrong value is an error that names the setting."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.checks import Warning as Doubt

from executions.conf import EXECUTORS, ExecutionSettings, execution_settings
from wataomi.logs import LEVELS


@register()
def check_log_level(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    if settings.WATAOMI_LOG_LEVEL in LEVELS:
        return []
    return [
        Error(
            f"WATAOMI_LOG_LEVEL is {settings.WATAOMI_LOG_LEVEL!r}; it must be one of {', '.join(LEVELS)}.",
            id="wataomi.E001",
        )
    ]


@register()
def check_processes_fit(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    """What is chosen for the database, the executor and the channel layer must fit together."""
    on_postgresql = settings.DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql"
    by_workers = execution_settings().executor == "procrastinate"
    joined = settings.CHANNEL_LAYERS["default"]["BACKEND"] != "channels.layers.InMemoryChannelLayer"
    problems: list[CheckMessage] = []
    if by_workers and not on_postgresql:
        message = (
            "WATAOMI_EXECUTOR is procrastinate, which keeps its queue in PostgreSQL, and DATABASE_URL names SQLite."
        )
        hint = "Set DATABASE_URL=postgres://user:password@host:5432/name, or WATAOMI_EXECUTOR=embedded."
        problems.append(Error(message, hint=hint, id="wataomi.E004"))
    if by_workers and not joined:
        message = "Workers execute the runs, and no channel layer tells the web processes what they do."
        hint = (
            "Set REDIS_URL=redis://host:6379/0 for all of them. Without it, streams look into the database every "
            f"{execution_settings().stream_poll:g} s (WATAOMI_STREAM_POLL): nothing is lost, but all of it is late."
        )
        problems.append(Doubt(message, hint=hint, id="wataomi.W001"))
    return problems + _check_many_web_processes(joined, on_postgresql)


def _check_many_web_processes(joined: bool, on_postgresql: bool) -> list[CheckMessage]:
    count = os.environ.get("WEB_CONCURRENCY", "")
    if not (count.isdecimal() and int(count) > 1):
        return []
    problems: list[CheckMessage] = []
    if not on_postgresql:
        message = f"WEB_CONCURRENCY asks for {count} web processes, and SQLite has one writer at a time."
        hint = "Use PostgreSQL (DATABASE_URL), or one process."
        problems.append(Doubt(message, hint=hint, id="wataomi.W002"))
    if not joined:
        message = f"WEB_CONCURRENCY asks for {count} web processes, and no channel layer joins them."
        hint = "Set REDIS_URL: a stream of a run that another process executes is late without it."
        problems.append(Doubt(message, hint=hint, id="wataomi.W003"))
    return problems


@register()
def check_execution_settings(app_configs: object, **kwargs: Any) -> list[CheckMessage]:
    given = execution_settings()
    problems: list[CheckMessage] = []
    if given.executor not in EXECUTORS:
        message = f"WATAOMI_EXECUTOR is {given.executor!r}; it must be one of {', '.join(EXECUTORS)}."
        problems.append(Error(message, id="wataomi.E002"))
    for field in fields(ExecutionSettings):
        value = getattr(given, field.name)
        if field.type != "str" and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            message = f"WATAOMI_{field.name.upper()} is {value!r}; it must be a number, 0 or more."
            problems.append(Error(message, id="wataomi.E003"))
    return problems
