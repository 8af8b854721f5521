"""How runs, nodes and what they did are said in a terminal, in one line each. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from executions.durations import format_duration
from flows.graph import MAIN

Data = Mapping[str, Any]


def one_line(text: str) -> str:
    """The text without line breaks, and without what a terminal would obey instead of showing it (ECMA-48, 5)."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())


def last_line(text: str) -> str:
    """The last line of streamed text that has something on it."""
    return next((line for part in reversed(text.splitlines()) if (line := one_line(part))), "")


def counted(number: int, noun: str) -> str:
    """`1 item`, `1,200 items`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def items_words(item_counts: Mapping[str, int] | None) -> str:
    """What a node delivered: `3 items`, or by port when there are several: `true 2 items, false 1 item`."""
    if not item_counts:
        return ""
    if set(item_counts) == {MAIN}:
        return counted(item_counts[MAIN], "item")
    return ", ".join(f"{one_line(port)} {counted(number, 'item')}" for port, number in item_counts.items())


def error_words(error: Data) -> str:
    """`HttpError: The server answered 500. Hint: Try again.`"""
    message, hint = one_line(error["message"]), one_line(error["hint"])
    said = f"{one_line(error['type'])}: {message}" if message else one_line(error["type"])
    return f"{said} Hint: {hint}" if hint else said


def progress_words(progress: Data) -> str:
    """`40 %, halfway: the text that came`; empty when nothing is known."""
    share = "" if progress["fraction"] is None else percentage(progress["fraction"])
    stated = ", ".join(part for part in (share, one_line(progress["message"])) if part)
    return ": ".join(part for part in (stated, one_line(progress["text"])) if part)


def percentage(fraction: float) -> str:
    """Whole percents, and 100 only for what is complete."""
    # The binary fraction of 0.29 is a little less than 0.29.
    return f"{math.floor(min(max(fraction, 0.0), 1.0) * 100 + 1e-9)} %"


def growing(milliseconds: float) -> str:
    """A duration that is still growing: in seconds from its start, so that the unit does not jump."""
    return f"{max(0.0, milliseconds) / 1000:.1f} s" if milliseconds < 1000 else format_duration(milliseconds)


def milliseconds_between(begin: str, end: str) -> float:
    """From one ISO 8601 time to the other."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds() * 1000
