"""The signals that end a command."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from executions.terminal import signals
from executions.terminal.signals import Signals


class Left(BaseException):
    """Stands for the end of the process."""


def leave(number: int) -> None:
    raise Left(number)


@pytest.fixture(autouse=True)
def _unchanged() -> Iterator[None]:
    before = [signal.getsignal(number) for number in signals.ENDING]
    yield
    assert [signal.getsignal(number) for number in signals.ENDING] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_wakes_who_waits_for_it(number: signal.Signals) -> None:
    with Signals(leave) as entered:
        waiting = asyncio.ensure_future(entered.arrived())
        await asyncio.sleep(0)
        signal.raise_signal(number)
        assert await asyncio.wait_for(waiting, 5) == number


async def test_a_signal_that_came_before_anyone_waited_is_kept() -> None:
    with Signals(leave) as entered:
        signal.raise_signal(signal.SIGINT)
        assert await asyncio.wait_for(entered.arrived(), 5) == signal.SIGINT


def test_a_second_signal_leaves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "ONE_PRESS", 0.0)
    with Signals(leave):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Left) as left:
            signal.raise_signal(signal.SIGINT)
    assert left.value.args == (signal.SIGINT,)


def test_another_signal_is_a_second_one_however_soon_it_comes() -> None:
    with Signals(leave):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Left) as left:
            signal.raise_signal(signal.SIGTERM)
    assert left.value.args == (signal.SIGINT,)


def test_the_same_signal_twice_within_a_moment_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As timeout(1) sends it: to its child, and then to the whole group."""
    monkeypatch.setattr(signals, "ONE_PRESS", 60.0)
    with Signals(leave) as entered:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert entered.first == signal.SIGINT


def test_a_hang_up_that_nohup_ignores_stays_ignored() -> None:
    script = (
        "import signal\n"
        "from executions.terminal.signals import Signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with Signals(lambda number: None) as entered:\n"
        "    signal.raise_signal(signal.SIGHUP)\n"
        "print(entered.first)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
