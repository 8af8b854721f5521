"""The settings of flows, each with its default; a wrong value is a system check error that names the setting.

| setting | default | what |
| --- | --- | --- |
| WATAOMI_EXPRESSION_MILLISECONDS | 1500 | time all expressions of one node may compute for |
| WATAOMI_EXPRESSION_MEGABYTES | 256 | memory they may use, the items they are given included |
| WATAOMI_HTTP_ALLOW_PRIVATE | DEBUG | whether the HTTP node may reach private, loopback and link-local addresses |
| WATAOMI_HTTP_MEGABYTES | 10 | size of a response the HTTP node takes |
| WATAOMI_PARK_AFTER | 30 | seconds; a delay that is longer holds no worker |
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core import checks


def expression_seconds() -> float:
    return int(getattr(settings, "WATAOMI_EXPRESSION_MILLISECONDS", 1500)) / 1000


def expression_megabytes() -> int:
    return int(getattr(settings, "WATAOMI_EXPRESSION_MEGABYTES", 256))


def http_allow_private() -> bool:
    return bool(getattr(settings, "WATAOMI_HTTP_ALLOW_PRIVATE", settings.DEBUG))


def http_megabytes() -> int:
    return int(getattr(settings, "WATAOMI_HTTP_MEGABYTES", 10))


def park_after() -> float:
    """Seconds; `executions.conf` checks it."""
    return float(getattr(settings, "WATAOMI_PARK_AFTER", 30.0))


@checks.register
def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    problems: list[checks.CheckMessage] = []
    for name in ("WATAOMI_EXPRESSION_MILLISECONDS", "WATAOMI_EXPRESSION_MEGABYTES", "WATAOMI_HTTP_MEGABYTES"):
        value: Any = getattr(settings, name, 1)
        if type(value) is not int or value <= 0:
            problems.append(checks.Error(f"{name} must be a whole number above 0, not {value!r}.", id="flows.E001"))
    if not isinstance(getattr(settings, "WATAOMI_HTTP_ALLOW_PRIVATE", False), bool):
        problems.append(checks.Error("WATAOMI_HTTP_ALLOW_PRIVATE must be True or False.", id="flows.E002"))
    return problems
