"""The sign and the colour of each status in a terminal. A colour never says anything that the sign does not."""

from __future__ import annotations

from dataclasses import dataclass

from executions.statuses import NodeStatus, RunStatus

SPINS = frozenset({NodeStatus.RUNNING, RunStatus.RUNNING, RunStatus.PAUSING})
SPINS_PER_SECOND = 12.5

STYLES = {
    "idle": "dim",
    "queued": "magenta",
    "running": "bold blue",
    "pausing": "yellow",
    "paused": "yellow",
    "waiting": "yellow",
    "success": "green",
    "error": "bold red",
    "skipped": "yellow",
    "canceled": "magenta",
}
"""The terminal's own colours, so that they fit its theme."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Signs:
    """Signs, each one cell wide, and what bars are drawn with."""

    by_status: dict[str, str]
    spinner: str
    bar_done: str
    bar_open: str
    ellipsis: str

    def of(self, status: str, seconds: float) -> str:
        """The sign of a node's or a run's status at a moment in time: that of what runs moves."""
        if status in SPINS:
            return self.spinner[int(seconds * SPINS_PER_SECOND) % len(self.spinner)]
        return self.by_status[status]

    def bar(self, fraction: float, width: int) -> str:
        """A bar of `width` cells; full only for what is complete."""
        done = int(min(max(fraction, 0.0), 1.0) * width + 1e-9)
        return self.bar_done * done + self.bar_open * (width - done)


UNICODE = Signs(
    by_status={
        "idle": "○",
        "queued": "…",
        "paused": "‖",
        "waiting": "‖",
        "success": "✓",
        "error": "!",
        "skipped": "↷",
        "canceled": "⊘",
    },
    spinner="⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏",
    bar_done="━",
    bar_open="╌",
    ellipsis="…",
)
ASCII = Signs(
    by_status={
        "idle": ".",
        "queued": ":",
        "paused": "=",
        "waiting": "=",
        "success": "+",
        "error": "!",
        "skipped": ">",
        "canceled": "x",
    },
    spinner="|/-\\",
    bar_done="#",
    bar_open="-",
    ellipsis="~",
)


def signs_for(encoding: str) -> Signs:
    """The signs that text in this encoding can hold."""
    return UNICODE if encoding.lower().replace("-", "").startswith("utf") else ASCII
