"""How the figures are said. Pure."""

from __future__ import annotations

SIZES = ("bytes", "KB", "MB", "GB", "TB")

NOTHING = "–"


def span_words(seconds: float | None) -> str:
    """A time as a person would say it: `20 s`, `2 min`, `3 h`, `2 days`; a dash for none."""
    if seconds is None:
        return NOTHING
    whole = max(0, int(seconds))
    if whole < 90:
        return f"{whole} s"
    if whole < 90 * 60:
        return f"{whole // 60} min"
    if whole < 48 * 3600:
        return f"{whole // 3600} h"
    return f"{whole // 86400} days"


def counted(count: int, one: str, many: str) -> str:
    """`1 run waits`, `2,000 runs wait`."""
    return f"{count:,} {one if count == 1 else many}"


def size_words(size: int) -> str:
    """`900 bytes`, `1.5 GB` (of 1000 MB each)."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(SIZES) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {SIZES[unit]}" if unit and value < 9.95 else f"{value:.0f} {SIZES[unit]}"


def rate_words(value: float) -> str:
    """`0`, `0.4`, `12`, `1,200`: one decimal as long as that says something."""
    return f"{value:,.0f}" if value >= 9.95 or value == int(value) else f"{value:.1f}"


def milliseconds_words(value: float | None) -> str:
    """`0.8 ms`, `12 ms`; a dash for none."""
    if value is None:
        return NOTHING
    return f"{value:.1f} ms" if value < 9.95 else f"{value:,.0f} ms"
