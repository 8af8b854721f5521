"""The settings of the streaming wrapper, typed, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, kw_only=True)
class StreamingSettings:
    write_timeout: float
    """`WATAOMI_WRITE_TIMEOUT`, seconds: a client that takes no byte of its response for so long is dropped."""
    shutdown_timeout: float
    """`WATAOMI_SHUTDOWN_TIMEOUT`, seconds: what requests, streams and callbacks get to end when the process ends."""
    request_threads: int
    """`WATAOMI_REQUEST_THREADS`: the most threads that the sync code of requests runs in; further requests wait."""


def streaming_settings() -> StreamingSettings:
    return StreamingSettings(
        write_timeout=getattr(settings, "WATAOMI_WRITE_TIMEOUT", 60),
        shutdown_timeout=getattr(settings, "WATAOMI_SHUTDOWN_TIMEOUT", 2),
        request_threads=getattr(settings, "WATAOMI_REQUEST_THREADS", 32),
    )
