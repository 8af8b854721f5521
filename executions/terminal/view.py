"""What shows a run in a terminal, whatever it looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from executions.events import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """Which run is shown. `address` is the path of its page; None where there is none."""

    execution_id: str
    flow_id: int
    flow_name: str
    flow_version: int
    address: str | None


class View(Protocol):
    """Shows the events of one run. Its methods may be called from several threads, one at a time."""

    def begin(self, heading: Heading) -> None:
        """Say which run it is. Raises OSError as `show` does."""

    def show(self, event: Event) -> None:
        """Show the next event. Raises OSError when there is nobody left to show it to."""

    def say(self, text: str) -> None:
        """Say something about the run that is not one of its events."""

    def end(self) -> None:
        """Leave the terminal as it was, with what is to stay on it."""

    def abandon(self) -> None:
        """Leave the terminal usable, at once and whatever else goes on."""
