"""How durations are written for people; the same as the pages' scripts write them. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


def format_duration(milliseconds: float | None) -> str:
    """A duration: `350 ms`, `2.0 s`, `1 m 05 s`, `2 h 07 m`; empty for none."""
    if milliseconds is None:
        return ""
    whole = max(0, _rounded(milliseconds))
    if whole < SECOND:
        return f"{whole} ms"
    # Rounded before the unit is chosen: 59.96 s is `1 m 00 s`, never `60.0 s`.
    tenths = _rounded(whole / 100)
    if tenths < 600:
        return f"{tenths / 10:.1f} s"
    seconds = _rounded(whole / SECOND)
    if seconds < 3600:
        return f"{seconds // 60} m {seconds % 60:02d} s"
    minutes = _rounded(whole / MINUTE)
    return f"{minutes // 60} h {minutes % 60:02d} m"


def format_offset(milliseconds: int) -> str:
    """A place on a time axis, as short as can be said: `0`, `250 ms`, `1.5 s`, `2 m`, `1 m 30 s`, `3 h`, `2 d 12 h`."""
    if milliseconds == 0:
        return "0"
    if milliseconds < SECOND:
        return f"{milliseconds} ms"
    if milliseconds < MINUTE:
        return f"{milliseconds / SECOND:g} s"
    seconds = milliseconds // SECOND
    parts = ((seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value)


def format_moment(moment: datetime | str) -> str:
    """A moment, or its ISO 8601 text: `2026-11-25 16:00:05 UTC`."""
    known = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{known.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def format_wait(until: datetime | str | None) -> str:
    """How long something waits: `until 2026-11-25 16:00:05 UTC`, or `until it is resumed`."""
    return f"until {format_moment(until)}" if until else "until it is resumed"


def _rounded(value: float) -> int:
    """To the nearest whole number, halves up, as JavaScript's `Math.round` does."""
    return int(value + 0.5)
