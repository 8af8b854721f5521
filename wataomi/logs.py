"""Where log records go: the console, and one rotating file that all processes of the project share."""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
MAX_BYTES = 10 * 1024 * 1024
BACKUPS = 5


class SharedRotatingFileHandler(RotatingFileHandler):
    """A rotating file that notices when another process has rotated it.

    The standard handler would go on writing to the file that has become `app.log.1`.
    """

    def __init__(self, filename: str, **options: Any) -> None:
        Path(filename).parent.mkdir(parents=True, exist_ok=True)
        super().__init__(
            filename,
            maxBytes=MAX_BYTES,
            backupCount=BACKUPS,
            encoding="utf-8",
            errors="backslashreplace",
            delay=True,
            **options,
        )

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 -- the name is the base class's
        if self.stream is not None and self._was_moved(self.stream.fileno()):
            self.stream.close()
            self.stream = self._open()
        return bool(super().shouldRollover(record))

    def _was_moved(self, descriptor: int) -> bool:
        try:
            there = Path(self.baseFilename).stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(there, os.fstat(descriptor))


def logging_configuration(level: str, filename: str) -> dict[str, Any]:
    """The `LOGGING` setting. A `level` that does not exist counts as INFO, and is an error of `manage.py check`.

    An empty `filename` leaves the file out.
    """
    handlers: dict[str, dict[str, Any]] = {"console": {"class": "logging.StreamHandler", "formatter": "line"}}
    if filename:
        handlers["file"] = {
            "()": "wataomi.logs.SharedRotatingFileHandler",
            "filename": filename,
            "formatter": "line",
        }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": "wataomi.log_secrets.LineFormatter",
                "format": "%(asctime)s %(levelname)-7s %(name)s %(message)s",
            }
        },
        "handlers": handlers,
        "root": {"handlers": list(handlers), "level": level if level in LEVELS else "INFO"},
        "loggers": {
            # Django's own handlers would write each record a second time.
            "django": {"handlers": [], "level": "INFO", "propagate": True},
            "django.server": {"handlers": [], "level": "INFO", "propagate": True},
            "daphne": {"level": "WARNING"},
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
            "asyncio": {"level": "WARNING"},
            # A warning for each try to connect; who needs the connection says what is the matter.
            "psycopg.pool": {"level": "ERROR"},
            # A traceback each second while Redis is away; the announcer says it once (executions/announcer.py).
            "channels_redis.pubsub": {"level": "CRITICAL"},
            "procrastinate": {"level": "WARNING"},
        },
    }
