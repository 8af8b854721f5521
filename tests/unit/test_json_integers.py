"""Integers beyond 64 bits are found, where they are, and nothing else is taken for one."""

from __future__ import annotations

import orjson
import pytest

from flows.json_integers import integer_beyond_64_bits, shown_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"a": {"b": [0, 18446744073709551616]}}', "a.b[1]"),
        ('{"a": -9223372036854775809, "b": 99999999999999999999}', "a"),
        ('{"a": [[], {"b": 1' + "0" * 5000 + "}]}", "a[1].b"),
        ("[-" + "9" * 5000 + "]", "[0]"),
        ("18446744073709551616", ""),
    ],
)
def test_an_integer_beyond_64_bits_is_found(text: str, path: str) -> None:
    found = integer_beyond_64_bits(text.encode())
    assert found is not None
    assert shown_path(found) == path


@pytest.mark.parametrize(
    "text",
    [
        "18446744073709551615",
        "-9223372036854775808",
        '{"a": "18446744073709551616", "18446744073709551616": 1}',
        "[18446744073709551616.5, 18446744073709551616e0, 0.18446744073709551616]",
        '[true, null, "\\"18446744073709551616"]',
        "[" * 1000 + '"18446744073709551616"' + "]" * 1000,
    ],
)
def test_what_is_read_unchanged_or_is_no_integer_is_left_alone(text: str) -> None:
    orjson.loads(text)
    assert integer_beyond_64_bits(text.encode()) is None
