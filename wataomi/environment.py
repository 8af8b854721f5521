"""Reads the process environment for the settings: each value is typed, and a wrong one is refused by its name."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import environ
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")


def read_file(path: Path) -> None:
    """Take what `path` says for what the process environment leaves open. A file that is not there says nothing."""
    if path.is_file():
        environ.Env.read_env(path, overwrite=False)


def string(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def string_or_nothing(name: str, default: str) -> str:
    """As `string`, but a variable that is set to nothing means nothing, and not the default."""
    return os.environ.get(name, default).strip()


def strings(name: str, default: list[str] | None = None) -> list[str]:
    """Values separated by commas; blanks around them do not count."""
    values = [value.strip() for value in os.environ.get(name, "").split(",") if value.strip()]
    return values or default or []


def choice(name: str, default: str, values: Sequence[str]) -> str:
    """One of `values`, which are written in any case."""

    def cast(text: str) -> str:
        return {value.lower(): value for value in values}[text.lower()]

    return _read(name, default, cast, f"one of {', '.join(values)}")


def boolean(name: str, *, default: bool) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}

    def cast(text: str) -> bool:
        return words[text.lower()]

    return _read(name, default, cast, "1 or 0")


def integer(name: str, default: int, *, least: int = 0) -> int:
    def cast(text: str) -> int:
        number = int(text)
        if number < least:
            raise ValueError(text)
        return number

    return _read(name, default, cast, f"a whole number, {least} or more")


def seconds(name: str, default: float, *, least: float = 0) -> float:
    def cast(text: str) -> float:
        number = float(text)
        if not least <= number < math.inf:
            raise ValueError(text)
        return number

    return _read(name, default, cast, f"a number of seconds, {least:g} or more")


def url(name: str, default: str = "", *, schemes: Sequence[str]) -> str:
    """The URL as it is written; it must begin with one of the schemes."""

    def cast(text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(text)
        return text

    return _read(name, default, cast, f"a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")


def database(name: str, default: str) -> dict[str, Any]:
    """Django's settings for the database of that URL. Raises ImproperlyConfigured for one that cannot be understood."""
    given = string(name) or default
    if not given.startswith(("sqlite:", "postgres:", "postgresql:")):
        raise ImproperlyConfigured(
            f"{name} must begin with sqlite:/// or postgres://, "
            "for example postgres://user:password@localhost:5432/wataomi."
        )
    try:
        found = dict(environ.Env.db_url_config(given))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is not the URL of a database: {error}.") from error
    if not found["NAME"]:
        raise ImproperlyConfigured(f"{name} is not the URL of a database: its name is missing, behind the last slash.")
    return found


def _read(name: str, default: T, cast: Callable[[str], T], expected: str) -> T:
    text = string(name)
    if not text:
        return default
    try:
        return cast(text)
    except (KeyError, ValueError) as error:
        raise ImproperlyConfigured(f"{name} is {text!r}; it must be {expected}.") from error
