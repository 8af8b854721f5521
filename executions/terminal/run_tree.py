"""Draws the state of a run as a tree: its nodes in the order of the plan, each with what it does now."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text
from rich.tree import Tree

from executions.durations import format_duration, format_wait
from executions.events import Event, EventType, State, empty_state, fold
from executions.statuses import NODE_SETTLED, RUN_ENDED, NodeStatus
from executions.terminal.signs import STYLES, Signs
from executions.terminal.words import Data, error_words, growing, items_words, last_line, one_line, percentage

WIDEST_NAME = 40
DURATION_WIDTH = 9
GUIDE_WIDTH = 4
SIGN_WIDTH = 2
GAP = 2
BAR_WIDTH = 20
PERCENTAGE_WIDTH = 5
DETAIL_WIDTH = 14
WIDTH_FOR_DETAILS = 60
"""Columns from which on there is room for bars and counts beside names and durations."""

ACTIVE = frozenset({NodeStatus.RUNNING, NodeStatus.WAITING, NodeStatus.QUEUED})


@dataclass(slots=True)
class Branch:
    """A node as the tree shows it: its line, and the lines below it. `rank`: the lower, the sooner it is shown."""

    line: Text
    below: list[Text] = field(default_factory=list)
    rank: int = 0
    status: str = NodeStatus.IDLE


class RunTree:
    """Draws a run's state at the width and height that there is, whenever it is asked to.

    `clock` gives the seconds since the epoch: what runs is drawn with how long it has run.
    """

    def __init__(self, signs: Signs, clock: Callable[[], float] = time.time) -> None:
        self.signs = signs
        self.clock = clock
        self.state: State = empty_state("", [])
        self.names: dict[str, str] = {}
        self.title = ""
        self.whole = False
        """Whether every node is drawn, however many rows that takes."""

    def take(self, event: Event) -> None:
        """Draw the run as it is behind this event, from now on."""
        if event.type == EventType.EXECUTION_STARTED:
            self.names = {node["id"]: one_line(node["name"]) for node in event.data["nodes"]}
        self.state = fold(self.state, event)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        state, now = self.state, self.clock()
        width = options.max_width
        branches = [self._branch(node_id, node, width, now) for node_id, node in state["nodes"].items()]
        shown = branches if self.whole else fitting(branches, options.size.height - 2)
        tree = Tree(self._root(state, width, now), guide_style="dim", highlight=False)
        for branch in shown:
            below = tree.add(branch.line)
            for line in branch.below:
                below.add(line)
        if len(shown) < len(branches):
            tree.add(Text(f"{self.signs.ellipsis} {_hidden_words(branches, shown)}", style="dim", no_wrap=True))
        if state["error"] and not state["error"]["nodeId"]:
            tree.add(Text(error_words(state["error"]), style=STYLES["error"]))
        yield tree
        if self.whole and _rows(branches) > options.size.height - 2:
            # The root has left the screen.
            yield self._root(state, width, now)

    # -- lines --------------------------------------------------------------------------------------------------------

    def _root(self, state: State, width: int, now: float) -> Text:
        status, progress = state["status"], state["progress"]
        ended = status in RUN_ENDED
        took = format_duration(state["durationMs"]) if ended else _since(state["startedAt"], now)
        share = f"{progress['done']}/{progress['total']}" if progress["total"] else ""
        bar = ""
        if not ended and width >= WIDTH_FOR_DETAILS and progress["total"]:
            bar = self.signs.bar(progress["done"] / progress["total"], BAR_WIDTH)
        tail = "  ".join(part for part in (status, took, bar, share) if part)
        if SIGN_WIDTH + cell_len(tail) > width:
            # The sign says the status too.
            tail = "  ".join(part for part in (took, share) if part)
        room = width - SIGN_WIDTH - GAP - cell_len(tail)
        title = _fit(self.title, min(room, cell_len(self.title)), self.signs) + "  " if room > 0 else ""
        line = self._line(status, now, title, style="bold")
        return line.append(tail, style=STYLES[status] if ended else "")

    def _branch(self, node_id: str, node: Data, width: int, now: float) -> Branch:
        status = node["status"]
        line = self._line(status, now, _fit(self.names.get(node_id, node_id), self._name_width(width), self.signs))
        line.append(f"  {self._duration(node, now):>{DURATION_WIDTH}}", style=STYLES[status])
        room = width - GUIDE_WIDTH - cell_len(line.plain) - GAP
        if room >= DETAIL_WIDTH and (detail := self._detail(node, room)):
            line.append(f"  {detail}", style="" if status in ACTIVE else "dim")
        return Branch(line, self._below(node, now, room < DETAIL_WIDTH), _rank(status), status)

    def _line(self, status: str, now: float, words: str, style: str = "") -> Text:
        line = Text(no_wrap=True, overflow="crop")
        line.append(self.signs.of(status, now), style=STYLES[status])
        return line.append(f" {words}", style=style or ("dim" if status == NodeStatus.IDLE else ""))

    def _name_width(self, width: int) -> int:
        longest = max((cell_len(name) for name in self.names.values()), default=0)
        details = DETAIL_WIDTH + GAP if width >= WIDTH_FOR_DETAILS else 0
        room = width - GUIDE_WIDTH - SIGN_WIDTH - GAP - DURATION_WIDTH - details
        return max(4, min(longest, WIDEST_NAME, room))

    def _duration(self, node: Data, now: float) -> str:
        if node["status"] == NodeStatus.RUNNING:
            return _since(node["startedAt"], now)
        if node["status"] == NodeStatus.SKIPPED:
            return "skipped"
        return format_duration(node["durationMs"])

    def _detail(self, node: Data, room: int) -> str:
        parts = []
        progress = node["progress"]
        if progress and progress["fraction"] is not None:
            bar = self.signs.bar(progress["fraction"], min(BAR_WIDTH, room - PERCENTAGE_WIDTH - 1))
            parts.append(f"{bar} {percentage(progress['fraction']):>{PERCENTAGE_WIDTH}}")
        if node["attempt"] > 1:
            parts.append(f"attempt {node['attempt']}")
        if counts := items_words(node["itemCounts"]):
            parts.append(counts)
        return "  ".join(parts)

    def _below(self, node: Data, now: float, narrow: bool) -> list[Text]:
        lines = []
        if node["error"]:
            lines.append(self._small(error_words(node["error"]), STYLES["error"]))
        if node["willRetryAt"]:
            wait = max(0.0, -_milliseconds_since(node["willRetryAt"], now))
            lines.append(self._small(f"attempt {node['attempt'] + 1} in {growing(wait)}", STYLES["waiting"]))
        elif node["status"] == NodeStatus.WAITING:
            lines.append(self._small(f"waiting {format_wait(node['waitUntil'])}", STYLES["waiting"]))
        if progress := node["progress"]:
            stated = one_line(progress["message"])
            if narrow and progress["fraction"] is not None:
                stated = f"{percentage(progress['fraction'])} {stated}"
            newest = last_line(progress["text"])
            lines += [self._small(words, "dim") for words in (stated, newest) if words]
        return lines

    def _small(self, words: str, style: str) -> Text:
        # What went wrong stays on the screen in full; while the tree is redrawn each line has one row.
        return Text(words, style=style) if self.whole else Text(words, style=style, no_wrap=True, overflow="ellipsis")


def fitting(branches: list[Branch], rows: int) -> list[Branch]:
    """The branches that fit into `rows`, in their order: first what is at work, then what failed, then what
    is nearest to that.

    A row is kept for saying what is left out, if anything is.
    """
    if _rows(branches) <= rows:
        return branches
    centre = next((place for place, branch in enumerate(branches) if branch.rank == 0), _first_open(branches))
    order = sorted(range(len(branches)), key=lambda place: (branches[place].rank, abs(place - centre), place))
    chosen, left = set(), rows - 1
    for place in order:
        left -= 1 + len(branches[place].below)
        if left < 0:
            break
        chosen.add(place)
    return [branch for place, branch in enumerate(branches) if place in chosen]


def _rows(branches: list[Branch]) -> int:
    return sum(1 + len(branch.below) for branch in branches)


def _first_open(branches: list[Branch]) -> int:
    return next(
        (place for place, branch in enumerate(branches) if branch.status not in NODE_SETTLED), max(0, len(branches) - 1)
    )


def _rank(status: str) -> int:
    if status in ACTIVE:
        return 0
    return 1 if status == NodeStatus.ERROR else 2


def _hidden_words(branches: list[Branch], shown: list[Branch]) -> str:
    ids = {id(branch) for branch in shown}
    counts: dict[str, int] = {}
    for branch in branches:
        if id(branch) not in ids:
            counts[branch.status] = counts.get(branch.status, 0) + 1
    listed = ", ".join(f"{number} {status}" for status, number in counts.items())
    return f"{sum(counts.values())} more: {listed}"


def _fit(text: str, width: int, signs: Signs) -> str:
    """Exactly `width` cells."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    return set_cell_size(set_cell_size(text, width - 1).rstrip() + signs.ellipsis, width)


def _since(moment: str | None, now: float) -> str:
    return "" if moment is None else growing(_milliseconds_since(moment, now))


def _milliseconds_since(moment: str, now: float) -> float:
    return (now - datetime.fromisoformat(moment).timestamp()) * 1000
