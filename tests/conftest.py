"""What all tests share: on which services they run, and that in CI a test which is skipped because the machine lacks
something is a failure."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator

import pytest
from django.conf import settings
from pytest_django import DjangoDbBlocker

from tests import services
from tests.servers import daphne_server, project_server  # noqa: F401 (fixtures)

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


PLACES = 1_000
"""Connections of the tests' own pool to PostgreSQL. Many tests use threads that end without giving theirs back, which
closes the connection, and which the pool never hears of: after ten of them nobody would get one any more."""


def pytest_configure() -> None:
    _hear_signals()
    if services.wanted():
        settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"] = PLACES


def _hear_signals() -> None:
    """Processes inherit which signals are ignored: tests that send them would fail under `nohup`, or behind a shell's
    `&`."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that is about one of the databases belongs to one half of the suite, and is no test of the other."""
    foreign = "sqlite_only" if services.wanted() else "services_only"
    left_out = [item for item in items if item.get_closest_marker(foreign)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker(foreign)]


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The database of the tests can be dropped, whoever is still connected to it."""
    yield
    if services.wanted():
        with django_db_blocker.unblock():
            services.disconnect_others()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # Reports go from process to process as UTF-8, and some tests log lone surrogates.
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    # An expected failure is reported as skipped too, and means something else.
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = call.excinfo.value if call.excinfo is not None else "no reason given"
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and in CI nothing may be: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module skipped as a whole (`pytest.skip(allow_module_level=True)`, `importorskip`) counts as well."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, and in CI nothing may be: {report.longrepr}"
    return report
