"""System checks of the project's own settings: a wrong value is an error that names the setting."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

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
