"""The timeline (Gantt) of a run: a row for each node, a bar for each attempt and each wait between two. Pure geometry.

Times are milliseconds from the run's start. Across, everything is in percent of the axis, so that a page can draw it as
wide as it is; downwards, it is in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise

from executions.durations import HOUR, MINUTE, SECOND, format_duration, format_offset, format_wait
from executions.statuses import NODE_SETTLED, NodeStatus

AXIS_HEIGHT = 26.0
ROW_HEIGHT = 30.0
BAR_HEIGHT = 14.0
NARROWEST_BAR = 0.5
"""Percent: what took no time is still seen."""

MOST_TICKS = 7
HEADROOM = 1.25
"""The axis of a run that goes on ends this much behind the present, so that bars have room to grow into."""
SHORTEST_OPEN_SPAN = 4 * SECOND

_STEPS = (
    *(factor * power for power in (1, 10, 100) for factor in (1, 2, 5)),
    *(factor * SECOND for factor in (1, 2, 5, 10, 15, 30)),
    *(factor * MINUTE for factor in (1, 2, 5, 10, 15, 30)),
    *(factor * HOUR for factor in (1, 2, 3, 6, 12, 24)),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One attempt at a node, as it is stored; `retry_at` is when the next one starts, if there is one, `wait_until` is
    when one that waits goes on by itself."""

    node_id: str
    number: int
    status: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    retry_at: datetime | None = None
    wait_until: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """What a node did for a while. `open`: it still does, so the bar grows with the clock from `start`."""

    x: float
    width: float
    status: str
    start: int
    label: str
    open: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """The duration of a row's last bar: behind it (`anchor`, SVG's text-anchor, is `start`), before it, or inside."""

    x: float
    text: str
    anchor: str = "start"
    inside: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A node's line. `label` says it in words; `reused` is a node taken over from the run that this one retries."""

    node_id: str
    name: str
    status: str
    y: float
    label: str
    bars: Sequence[Bar] = ()
    caption: Caption | None = None
    reused: bool = False

    @property
    def middle(self) -> float:
        return self.y + ROW_HEIGHT / 2

    @property
    def bar_y(self) -> float:
        return self.y + (ROW_HEIGHT - BAR_HEIGHT) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    x: float
    label: str
    anchor: str = "middle"


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """`span` is the length of the axis, `now` the present on it, None when the run is over."""

    rows: Sequence[Row]
    ticks: Sequence[Tick]
    span: int
    now: int | None
    summary: str

    @property
    def height(self) -> float:
        return AXIS_HEIGHT + ROW_HEIGHT * len(self.rows)

    @property
    def now_x(self) -> float | None:
        return None if self.now is None else _percent(self.now, self.span)


@dataclass(frozen=True, slots=True)
class _Axis:
    """`edge` is how far the run has come: its end, or the present."""

    start: datetime
    edge: int
    span: int
    over: bool

    def offset(self, moment: datetime) -> int:
        return round((moment - self.start).total_seconds() * 1000)

    def bar(self, status: str, start: int, end: int | None, what: str) -> Bar:
        """The part of it that lies on the axis; `end` None for what still goes on."""
        still = end is None and not self.over
        start = min(max(start, 0), self.span)
        stop = max(start, min(self.edge if end is None else end, self.span))
        width = max(_percent(stop - start, self.span), NARROWEST_BAR)
        x = min(_percent(start, self.span), 100.0 - width)
        lasting = "until now" if still else f"for {format_duration(stop - start)}"
        label = f"{what} from {format_offset(start)} {lasting}"
        return Bar(x=round(x, 3), width=round(width, 3), status=status, start=start, label=label, open=still)


def make_timeline(
    nodes: Sequence[tuple[str, str]],
    attempts: Iterable[Attempt],
    *,
    started_at: datetime | None,
    finished_at: datetime | None,
    now: datetime,
) -> Timeline:
    """The timeline of a run; `nodes` are ids and names, in the order of the rows.

    A run that has not started has rows without bars, and one that is not over ends at `now`, with room behind it.
    Attempts at nodes that are not listed are left out.
    """
    start = started_at or now
    over = finished_at is not None
    edge = max(0, round(((finished_at or now) - start).total_seconds() * 1000))
    known = sorted(attempts, key=lambda attempt: (attempt.node_id, attempt.number))
    axis = _Axis(start, edge, edge or 1, over) if over else _Axis(start, edge, _open_span(known, start, edge), over)
    by_node = {node_id: list(group) for node_id, group in groupby(known, key=lambda attempt: attempt.node_id)}
    rows = [
        _row(node_id, name, AXIS_HEIGHT + ROW_HEIGHT * index, by_node.get(node_id, []), axis)
        for index, (node_id, name) in enumerate(nodes)
    ]
    lasting = format_duration(edge) if started_at else "not started"
    summary = f"Timeline of {len(rows)} node{'' if len(rows) == 1 else 's'}, {lasting}{'' if over else ' so far'}"
    present = None if over or started_at is None else edge
    return Timeline(rows=rows, ticks=make_ticks(axis.span), span=axis.span, now=present, summary=summary)


def make_ticks(span: int) -> list[Tick]:
    """Round times along an axis of `span` milliseconds, at most seven of them."""
    step = next((step for step in _STEPS if span / step < MOST_TICKS), 0)
    if not step:
        day = 24 * HOUR
        step = day * -(-span // (day * (MOST_TICKS - 1)))
    ticks = [Tick(x=_percent(time, span), label=format_offset(time)) for time in range(0, span + 1, step)]
    return [Tick(x=tick.x, label=tick.label, anchor=_tick_anchor(tick.x)) for tick in ticks]


def _open_span(attempts: Sequence[Attempt], start: datetime, edge: int) -> int:
    """Where the axis of a run that goes on ends: behind the present and behind the next retry, at a round time."""
    retries = [round((attempt.retry_at - start).total_seconds() * 1000) for attempt in attempts if attempt.retry_at]
    wanted = max(SHORTEST_OPEN_SPAN, round(edge * HEADROOM), *retries, 0)
    step = next((step for step in _STEPS if wanted / step < MOST_TICKS), 24 * HOUR)
    return -(-wanted // step) * step


def _row(node_id: str, name: str, y: float, attempts: Sequence[Attempt], axis: _Axis) -> Row:
    status = _status(attempts)
    # What was taken over from an earlier run ended before this one began.
    reused = bool(attempts) and all(a.finished_at is not None and axis.offset(a.finished_at) < 0 for a in attempts)
    bars = [] if reused else _bars(attempts, axis)
    words = "taken over from the run that this one retries" if reused else "; ".join(bar.label for bar in bars)
    label = f"{name}: {status}" + (f", {words}" if words else "")
    caption = _caption(attempts, bars)
    # Drawn in this order: an attempt that took no time lies on the wait behind it.
    drawn = sorted(bars, key=lambda bar: bar.status != NodeStatus.WAITING)
    return Row(node_id=node_id, name=name, status=status, y=y, label=label, bars=drawn, caption=caption, reused=reused)


def _status(attempts: Sequence[Attempt]) -> str:
    if not attempts:
        return NodeStatus.IDLE.value
    newest = attempts[-1]
    return NodeStatus.WAITING.value if newest.retry_at else str(newest.status)


def _bars(attempts: Sequence[Attempt], axis: _Axis) -> list[Bar]:
    """In the order of time."""
    bars = []
    for attempt, following in pairwise([*attempts, None]):
        if attempt is None or attempt.started_at is None:
            continue
        start = axis.offset(attempt.started_at)
        end = None if attempt.finished_at is None else axis.offset(attempt.finished_at)
        if end is None and attempt.status in NODE_SETTLED:
            end = start
        waits = f" {format_wait(attempt.wait_until)}," if attempt.status == NodeStatus.WAITING else ""
        bars.append(axis.bar(str(attempt.status), start, end, f"attempt {attempt.number} {attempt.status}{waits}"))
        if attempt.retry_at is not None and end is not None:
            began = following.started_at if following is not None else None
            until = None if began is None else axis.offset(began)
            bars.append(axis.bar(NodeStatus.WAITING.value, end, until, f"waiting for attempt {attempt.number + 1}"))
    return bars


def _caption(attempts: Sequence[Attempt], bars: Sequence[Bar]) -> Caption | None:
    """Beside the last bar when it is finished, on the side that has room."""
    if not bars or bars[-1].open:
        return None
    newest = attempts[-1]
    if newest.started_at is None or newest.finished_at is None:
        return None
    text = format_duration((newest.finished_at - newest.started_at).total_seconds() * 1000)
    if newest.status == NodeStatus.SKIPPED:
        text = NodeStatus.SKIPPED.value
    end = bars[-1].x + bars[-1].width
    if end <= 80.0:
        return Caption(x=round(end, 3), text=text)
    if bars[0].x >= 20.0:
        return Caption(x=bars[0].x, text=text, anchor="end")
    return Caption(x=round(end, 3), text=text, anchor="end", inside=True) if bars[-1].width >= 30.0 else None


def _tick_anchor(x: float) -> str:
    if x < 3.0:
        return "start"
    return "end" if x > 97.0 else "middle"


def _percent(part: int, whole: int) -> float:
    return round(100.0 * part / whole, 3)
