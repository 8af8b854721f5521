"""Keeps log records away from what a command shows: they are in the log file, and on the console only when grave."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

SHOWN_ANYWAY = ("executions.runs", "executions.stream")
"""Loggers whose errors the command itself shows to the person: a run that failed, a stream that broke off."""


class _Grave(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR and record.name not in SHOWN_ANYWAY


@contextmanager
def quiet_console() -> Iterator[None]:
    """Let handlers that write to standard output or error pass errors only; those of files are left alone."""
    grave = _Grave()
    handlers = _console_handlers((sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__))
    for handler in handlers:
        handler.addFilter(grave)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(grave)


@contextmanager
def console_through(stream: TextIO) -> Iterator[None]:
    """Let the handlers that write to the terminal write to `stream` instead, for as long as the terminal is redrawn."""
    moved = [
        (handler, handler.stream)
        for handler in _console_handlers((sys.__stdout__, sys.__stderr__))
        if handler.stream.isatty()
    ]
    for handler, _ in moved:
        handler.setStream(stream)
    try:
        yield
    finally:
        for handler, before in moved:
            handler.setStream(before)


def _console_handlers(streams: tuple[TextIO | None, ...]) -> list[logging.StreamHandler[TextIO]]:
    loggers = [logging.getLogger(), *(found for found in logging.root.manager.loggerDict.values())]
    handlers = [handler for logger in loggers if isinstance(logger, logging.Logger) for handler in logger.handlers]
    return [
        handler
        for handler in handlers
        if isinstance(handler, logging.StreamHandler)
        # The stream of a file that is not opened yet is None, as a standard stream is that was closed.
        and handler.stream is not None
        and any(handler.stream is stream for stream in streams)
    ]
