"""The settings of flows: their defaults, and the system check of wrong values."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from flows import conf


def test_private_addresses_are_allowed_in_debug_only_unless_said_otherwise(settings: Settings) -> None:
    del settings.WATAOMI_HTTP_ALLOW_PRIVATE
    for debug in (True, False):
        settings.DEBUG = debug
        assert conf.http_allow_private() is debug
    settings.WATAOMI_HTTP_ALLOW_PRIVATE = True
    assert conf.http_allow_private() is True


def test_the_project_s_own_settings_are_right() -> None:
    assert [problem for problem in run_checks() if problem.id in {"flows.E001", "flows.E002"}] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WATAOMI_EXPRESSION_MILLISECONDS", 0),
        ("WATAOMI_EXPRESSION_MEGABYTES", "256"),
        ("WATAOMI_HTTP_MEGABYTES", True),
        ("WATAOMI_HTTP_ALLOW_PRIVATE", "no"),
    ],
)
def test_a_wrong_setting_is_named_by_the_system_check(settings: Settings, name: str, value: Any) -> None:
    setattr(settings, name, value)
    assert [name in problem.msg for problem in run_checks() if str(problem.id).startswith("flows.E00")] == [True]
