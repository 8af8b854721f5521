"""What JSON's types are called in messages. Pure."""

from __future__ import annotations


def type_name(value: object) -> str:
    """The type of a JSON value in words: "text", "a number", "true or false", "a list", "an object" or "null"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list | tuple):
        return "a list"
    return "an object" if isinstance(value, dict) else f"a value of the type {type(value).__name__}"


def shown(value: object, longest: int = 60) -> str:
    """A value as messages quote it, cut to `longest` characters."""
    text = repr(value)
    return text if len(text) <= longest else text[:longest] + "..."
