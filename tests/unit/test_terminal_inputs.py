"""The input of a run as it is given on a command line."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from executions.terminal.inputs import InputUnreadable, read_input


def read(given: str | None, standard_input: bytes = b"") -> object:
    return read_input(given, io.BytesIO(standard_input))


def test_json_a_file_standard_input_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "input.json"
    path.write_bytes('{"name": "Zoë"}'.encode())
    assert read(None) == {}
    assert read('{"n": 1}') == {"n": 1}
    assert read("-", b'{"n": 2}\n') == {"n": 2}
    assert read(f"@{path}") == {"name": "Zoë"}


def test_what_is_json_but_no_object_is_read_as_it_is() -> None:
    assert read("[1]") == [1] and read("-1") == -1


@pytest.mark.parametrize(
    ("given", "standard_input", "message"),
    [
        ("{", b"", "--input is not JSON: .*line 1 column 2"),
        ("", b"", "--input is not JSON"),
        ("-", b"", "Standard input is not JSON"),
        ("-", b"\xff", "Standard input is not JSON"),
        ("NaN", b"", "--input is not JSON"),
        ('{"a": [18446744073709551616]}', b"", r"--input holds an integer at a\[0\] that does not fit in 64 bits"),
        ('"\udcff"', b"", "--input is not JSON"),
        ("@/nowhere/input.json", b"", r"The file '/nowhere/input\.json' cannot be read: No such file"),
        ("@", b"", "cannot be read: Is a directory"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_source(given: str, standard_input: bytes, message: str) -> None:
    with pytest.raises(InputUnreadable, match=message):
        read(given, standard_input)
