"""Keeps the secrets that addresses bear (those of resume links) out of logs."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

_SIGNED = re.compile(r"(?<![\w.-])(?:[\w.-]{20,}(?::|%3A)[\w-]{43}(?![\w-]))+", re.IGNORECASE)
"""What `django.core.signing` makes, also where it stands in an address in another one. Looked for only where a word
begins: from each character of a long one, a line of 64 KB took 13 s."""


def without_secrets(text: str) -> str:
    """The text with its secrets replaced."""
    return _SIGNED.sub("***", text)


class LineFormatter(logging.Formatter):
    """Formats whole records, with their tracebacks, without secrets: a record may name an address in any of its
    arguments, or in the text of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class WithoutSecrets(logging.Filter):
    """A filter that lets every record pass, without secrets.

    It changes the record's arguments one by one: uvicorn formats its access log from them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str):
            record.msg = without_secrets(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(without_secrets(value) if isinstance(value, str) else value for value in record.args)
        return True


def hide_secrets_from_servers() -> None:
    """From the access logs of uvicorn and Daphne, which Django's LOGGING does not set up: uvicorn's has handlers of its
    own that an entry there would take away, and Daphne writes past `logging`."""
    logging.getLogger("uvicorn.access").addFilter(WithoutSecrets())
    access = sys.modules.get("daphne.access")
    if access is None:
        return
    generator = access.AccessLogGenerator
    write_entry = generator.write_entry

    def write_without_secrets(self: Any, *args: Any, request: str, **details: Any) -> None:
        write_entry(self, *args, request=without_secrets(request), **details)

    generator.write_entry = write_without_secrets
