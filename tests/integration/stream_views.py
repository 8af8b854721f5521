"""The views of the small project that the tests of the streaming wrapper serve.

What the streams do is written to the log, for the tests to wait for.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import AsyncGenerator

from daphne.server import Server
from django.contrib.auth import alogin
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from uvicorn.server import ServerState

from executions import sse
from executions.responses import EventStreamResponse

logger = logging.getLogger(__name__)

LINE = 150
LINES_IN_A_CHUNK = 400

pulled = {"lines": 0}
"""How far the newest flood has been asked for."""


async def flood(request: HttpRequest) -> StreamingHttpResponse:
    """Numbered lines of 150 bytes, `lines` of them, as fast as they are taken."""
    total = int(request.GET["lines"])

    async def content() -> AsyncGenerator[bytes, None]:
        try:
            for first in range(0, total, LINES_IN_A_CHUNK):
                numbers = range(first, min(total, first + LINES_IN_A_CHUNK))
                pulled["lines"] = numbers.stop
                yield b"".join(b"%0*d\n" % (LINE - 1, number) for number in numbers)
        finally:
            logger.info("flood ended")

    if request.GET.get("type") == "file":
        return StreamingHttpResponse(content(), content_type="application/octet-stream")
    return EventStreamResponse(content())


async def frames(request: HttpRequest) -> StreamingHttpResponse:
    """Three events among all that a stream may contain, each part in a chunk of its own."""

    async def content() -> AsyncGenerator[bytes, None]:
        yield sse.RETRY
        yield sse.KEEP_ALIVE
        yield sse.encode(1, "first", b'{"text":"\xc3\xa4"}')
        yield sse.KEEP_ALIVE
        yield sse.KEEP_ALIVE
        yield sse.encode(2, "second", b"{}") + sse.encode(3, "third", b"{}")
        yield sse.KEEP_ALIVE

    return EventStreamResponse(content())


async def spaced(request: HttpRequest) -> StreamingHttpResponse:
    """Five frames, 0.2 s apart."""

    async def content() -> AsyncGenerator[bytes, None]:
        for number in range(1, 6):
            yield sse.encode(number, "tick", b"{}")
            await asyncio.sleep(0.2)

    return EventStreamResponse(content())


async def breaks(request: HttpRequest) -> StreamingHttpResponse:
    """A frame, then an exception in mid-stream."""

    async def content() -> AsyncGenerator[bytes, None]:
        yield b"data: 1\n\n"
        raise RuntimeError("the stream broke")

    return EventStreamResponse(content())


async def breaks_before(request: HttpRequest) -> StreamingHttpResponse:
    raise RuntimeError("the view broke")


async def waits(request: HttpRequest) -> StreamingHttpResponse:
    """A frame with the user's name, then nothing for ever."""
    user = await request.auser()
    name = request.GET.get("name", "stream")

    async def content() -> AsyncGenerator[bytes, None]:
        try:
            yield b"data: %s\n\n" % user.get_username().encode()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            await User.objects.acount()
            logger.info("finally of %s", name)

    return EventStreamResponse(content())


async def queries(request: HttpRequest) -> StreamingHttpResponse:
    """Looks into the database again and again: as a stream that is behind."""

    async def content() -> AsyncGenerator[bytes, None]:
        while True:
            yield b"data: %d\n\n" % await User.objects.acount()
            await asyncio.sleep(0.05)

    return EventStreamResponse(content())


async def trickle(request: HttpRequest) -> StreamingHttpResponse:
    """Goes on at a pace that fills a client's buffers, but for some seconds not the server's socket."""

    async def content() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x" * 8192
                await asyncio.sleep(0.02)
        finally:
            logger.info("trickle ended")

    return EventStreamResponse(content())


async def late(request: HttpRequest) -> StreamingHttpResponse:
    """Two parts, after a while, and with a while between them."""

    async def content() -> AsyncGenerator[bytes, None]:
        await asyncio.sleep(float(request.GET["seconds"]))
        yield b"data: 1\n\n"
        await asyncio.sleep(float(request.GET["seconds"]))
        yield b"data: 2\n\n"

    return EventStreamResponse(content())


async def endless(request: HttpRequest) -> StreamingHttpResponse:
    """Never waits for anything but its client."""

    async def content() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"data: x\n\n"
        finally:
            logger.info("endless ended")

    return EventStreamResponse(content())


def slow(request: HttpRequest) -> HttpResponse:
    logger.info("slow began")
    time.sleep(float(request.GET["seconds"]))
    return HttpResponse("slow")


async def hangs(request: HttpRequest) -> HttpResponse:
    logger.info("hangs began")
    try:
        await asyncio.sleep(60)
    finally:
        logger.info("hangs ended")
    return HttpResponse("never")


def quick(request: HttpRequest) -> HttpResponse:
    return HttpResponse(threading.current_thread().name)


async def login(request: HttpRequest) -> HttpResponse:
    user, _ = await User.objects.aget_or_create(username="someone")
    await alogin(request, user, "django.contrib.auth.backends.ModelBackend")
    return HttpResponse("welcome")


async def state(request: HttpRequest) -> JsonResponse:
    """How many requests the server believes to be open, this one among them, and how far the flood is."""
    open_requests = [
        len(found.connections if type(found) is Server else found.tasks)
        for found in gc.get_objects()
        if type(found) in (Server, ServerState)
    ]
    return JsonResponse({"open": sum(open_requests), "pulled": pulled["lines"]})


urlpatterns = [
    path("flood", flood),
    path("frames", frames),
    path("spaced", spaced),
    path("breaks", breaks),
    path("breaks-before", breaks_before),
    path("waits", waits),
    path("queries", queries),
    path("trickle", trickle),
    path("late", late),
    path("endless", endless),
    path("slow", slow),
    path("hangs", hangs),
    path("quick", quick),
    path("login", login),
    path("state", state),
]
