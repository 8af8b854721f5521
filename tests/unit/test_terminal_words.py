"""How a terminal says what a run did."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions.terminal.words import (
    error_words,
    growing,
    items_words,
    last_line,
    one_line,
    percentage,
    progress_words,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\r\nand\ta tab", "two lines and a tab"),
        ("\x1b[31mred\x1b]0;title\x07", "[31mred ]0;title"),
        ("\x9b2Jclear", "2Jclear"),
        ("Écrivain ✓ 流", "Écrivain ✓ 流"),
        ("left \u202eto right", "left to right"),
        ("", ""),
    ],
)
def test_a_terminal_gets_nothing_that_it_would_obey(text: str, shown: str) -> None:
    assert one_line(text) == shown


@given(st.text())
def test_whatever_the_text_it_is_one_printable_line(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable() and one_line(shown) == shown


@pytest.mark.parametrize(
    ("text", "line"),
    [("one\ntwo", "two"), ("one\ntwo\n", "two"), ("one\n \n\n", "one"), ("", ""), ("begun", "begun")],
)
def test_of_streamed_text_the_last_line_with_something_on_it_is_shown(text: str, line: str) -> None:
    assert last_line(text) == line


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (None, ""),
        ({}, ""),
        ({"main": 1}, "1 item"),
        ({"main": 0}, "0 items"),
        ({"main": 12000}, "12,000 items"),
        ({"true": 2, "false": 1}, "true 2 items, false 1 item"),
    ],
)
def test_items_are_counted_by_port_where_there_are_several(counts: dict[str, int] | None, words: str) -> None:
    assert items_words(counts) == words


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [(0, "0 %"), (0.29, "29 %"), (0.999, "99 %"), (1, "100 %"), (1.5, "100 %"), (-1, "0 %")],
)
def test_a_hundred_percent_is_said_of_nothing_that_is_not_complete(fraction: float, shown: str) -> None:
    assert percentage(fraction) == shown


def test_an_error_is_said_with_its_type_its_message_and_what_to_do_next() -> None:
    assert error_words({"type": "T", "message": "It\nbroke.", "hint": "Mend it."}) == "T: It broke. Hint: Mend it."
    assert error_words({"type": "ValueError", "message": "", "hint": ""}) == "ValueError"


@pytest.mark.parametrize(
    ("fraction", "message", "text", "words"),
    [
        (0.4, "", "", "40 %"),
        (0.4, "half", "and more", "40 %, half: and more"),
        (None, "half", "", "half"),
        (None, "", "text", "text"),
        (None, "", "", ""),
    ],
)
def test_progress_is_said_as_far_as_it_is_known(fraction: float | None, message: str, text: str, words: str) -> None:
    assert progress_words({"fraction": fraction, "message": message, "text": text}) == words


@pytest.mark.parametrize(
    ("milliseconds", "shown"), [(-5, "0.0 s"), (0, "0.0 s"), (940, "0.9 s"), (2500, "2.5 s"), (65_000, "1 m 05 s")]
)
def test_the_unit_of_a_growing_duration_does_not_jump(milliseconds: float, shown: str) -> None:
    assert growing(milliseconds) == shown
