"""System checks of the project's own settings: a wrong value is an error that names the setting."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

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
