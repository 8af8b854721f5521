"""A small Django project for the tests of the streaming wrapper: settings, views and ASGI application in one module.

Started as `daphne tests.integration.stream_app:application`. What its streams do is written to the log, for the
tests to wait for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

FRAME = 150
CHUNK = 64 * 1024

settings.configure(
    DEBUG=False,
    SECRET_KEY="only for tests, and long enough",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "daphne",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("STREAM_APP_DATABASE")}},
    WATAOMI_WRITE_TIMEOUT=float(os.environ.get("WATAOMI_WRITE_TIMEOUT", "60")),
    WATAOMI_SHUTDOWN_TIMEOUT=float(os.environ.get("WATAOMI_SHUTDOWN_TIMEOUT", "2")),
    WATAOMI_REQUEST_THREADS=int(os.environ.get("WATAOMI_REQUEST_THREADS", "8")),
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"level": "INFO", "handlers": ["console"]},
    },
)

logger = logging.getLogger("stream_app")


def event_stream(content: AsyncIterator[bytes], media_type: str = "text/event-stream") -> StreamingHttpResponse:
    return StreamingHttpResponse(content, content_type=media_type)


async def numbered(total: int, pulled: list[int]) -> AsyncIterator[bytes]:
    """Yield `total` bytes in frames that are numbered, some hundreds a chunk, as fast as they are taken."""
    lines = CHUNK // FRAME
    number = 0
    while number * FRAME < total:
        chunk = b"".join(b"%0*d\n" % (FRAME - 1, n) for n in range(number, number + lines))
        number += lines
        pulled[0] = number
        yield chunk


async def flood(request: HttpRequest) -> StreamingHttpResponse:
    """Many bytes at once; how many frames were pulled is logged at the end."""
    pulled = [0]

    async def content() -> AsyncIterator[bytes]:
        try:
            async for chunk in numbered(int(request.GET["bytes"]), pulled):
                yield chunk
            logger.info("flood complete: %d frames", pulled[0])
        finally:
            logger.info("flood ended: %d frames", pulled[0])

    return event_stream(content(), request.GET.get("type", "text/event-stream"))


async def spaced(request: HttpRequest) -> StreamingHttpResponse:
    """Five frames, 0.2 s apart."""

    async def content() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"data: %d\n\n" % number
            await asyncio.sleep(0.2)

    return event_stream(content())


async def breaks(request: HttpRequest) -> StreamingHttpResponse:
    """Some bytes, then an exception in mid-stream."""

    async def content() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n" * int(request.GET.get("frames", "1"))
        await asyncio.sleep(0.05)
        raise RuntimeError("the stream broke")

    return event_stream(content())


async def waits(request: HttpRequest) -> StreamingHttpResponse:
    """A frame, then nothing for ever; with a session's user when there is one."""
    user = await request.auser() if hasattr(request, "auser") else None
    name = request.GET.get("name", "stream")

    async def content() -> AsyncIterator[bytes]:
        try:
            yield b"data: %s\n\n" % str(user).encode()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            logger.info("finally of %s", name)

    return event_stream(content())


async def queries(request: HttpRequest) -> StreamingHttpResponse:
    """A frame each 0.1 s, with a query before each: as a stream that looks at the journal."""
    from django.contrib.auth.models import User

    async def content() -> AsyncIterator[bytes]:
        while True:
            yield b"data: %d\n\n" % await User.objects.acount()
            await asyncio.sleep(0.1)

    return event_stream(content())


async def from_inside(request: HttpRequest) -> StreamingHttpResponse:
    """Never waits for anything but the client."""

    async def content() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"data: x\n\n"
        finally:
            logger.info("endless ended")

    return event_stream(content())


def slow(request: HttpRequest) -> HttpResponse:
    """A sync view that takes its time."""
    time.sleep(float(request.GET["seconds"]))
    return HttpResponse("slow")


async def quick(request: HttpRequest) -> HttpResponse:
    return HttpResponse("quick")


def sync_quick(request: HttpRequest) -> HttpResponse:
    return HttpResponse(threading.current_thread().name)


async def state(request: HttpRequest) -> JsonResponse:
    """What the process has open, as seen from inside."""
    from django.db import connection

    connections = [c for c in _daphne_connections() if "disconnected" not in c]
    return JsonResponse({"requests": len(connections), "database": connection.vendor})


def _daphne_connections() -> list[dict[str, object]]:
    import gc

    from daphne.server import Server

    (server,) = [found for found in gc.get_objects() if type(found) is Server]
    return list(server.connections.values())


urlpatterns = [
    path("flood", flood),
    path("spaced", spaced),
    path("breaks", breaks),
    path("waits", waits),
    path("queries", queries),
    path("endless", from_inside),
    path("slow", slow),
    path("quick", quick),
    path("sync-quick", sync_quick),
    path("state", state),
]

from django.core.asgi import get_asgi_application  # noqa: E402 -- the settings come first

django_application = get_asgi_application()

from wataomi.streaming.application import StreamingApplication  # noqa: E402
from wataomi.streaming.shutdown import on_shutdown  # noqa: E402

application = StreamingApplication(django_application)


@on_shutdown
async def async_callback() -> None:
    await asyncio.sleep(0.05)
    logger.info("async callback ended")


@on_shutdown
def sync_callback() -> None:
    time.sleep(0.05)
    logger.info("sync callback ended")


if os.environ.get("STREAM_APP") == "hanging":

    @on_shutdown
    def hanging_callback() -> None:
        time.sleep(60)

    @on_shutdown
    async def failing_callback() -> None:
        raise RuntimeError("the callback broke")
