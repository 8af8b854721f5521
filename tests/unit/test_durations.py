"""How durations are written for people."""

from __future__ import annotations

import pytest

from executions.durations import format_duration, format_offset


@pytest.mark.parametrize(
    ("milliseconds", "written"),
    [
        (None, ""),
        (-5, "0 ms"),
        (0, "0 ms"),
        (999.4, "999 ms"),
        (999.5, "1.0 s"),
        (2000, "2.0 s"),
        (2049, "2.0 s"),
        (2050, "2.1 s"),
        (59_940, "59.9 s"),
        (59_960, "1 m 00 s"),
        (65_000, "1 m 05 s"),
        (3_599_600, "1 h 00 m"),
        (7_620_000, "2 h 07 m"),
    ],
)
def test_a_duration_has_the_unit_that_fits_it(milliseconds: float | None, written: str) -> None:
    assert format_duration(milliseconds) == written


@pytest.mark.parametrize(
    ("milliseconds", "written"),
    [
        (0, "0"),
        (250, "250 ms"),
        (1500, "1.5 s"),
        (30_000, "30 s"),
        (60_000, "1 m"),
        (90_000, "1 m 30 s"),
        (3 * 3_600_000, "3 h"),
        (60 * 3_600_000, "2 d 12 h"),
    ],
)
def test_a_place_on_an_axis_is_written_as_short_as_can_be(milliseconds: int, written: str) -> None:
    assert format_offset(milliseconds) == written
