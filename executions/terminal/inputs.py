"""The input of a run as it is given on a command line: JSON, a file, or standard input."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import orjson

from flows.json_integers import integer_beyond_64_bits, shown_path

STANDARD_INPUT = "-"
FILE = "@"


class InputUnreadable(Exception):
    """The input is not there or is not JSON; the message says which and why."""


def read_input(given: str | None, standard_input: BinaryIO) -> object:
    """What `--input` stands for: JSON itself, `@file`, or `-` for standard input; `{}` when it is not given.

    Raises InputUnreadable.
    """
    if given is None:
        return {}
    if given == STANDARD_INPUT:
        return _parse(standard_input.read(), "Standard input")
    if given.startswith(FILE):
        return _parse(_read(Path(given[1:])), f"The file {given[1:]!r}")
    return _parse(given.encode("utf-8", "surrogateescape"), "--input")


def _read(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise InputUnreadable(f"The file {str(path)!r} cannot be read: {error.strerror}.") from error


def _parse(text: bytes, source: str) -> object:
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # The parser's message ends with the place: "line 1 column 2 (char 1)".
        raise InputUnreadable(f"{source} is not JSON: {error}.") from error
    path = integer_beyond_64_bits(text)
    if path is not None:
        place = f" at {shown_path(path)}" if path else ""
        raise InputUnreadable(f"{source} holds an integer{place} that does not fit in 64 bits; write it as text.")
    return value
