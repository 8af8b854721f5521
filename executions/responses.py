"""The HTTP response that carries an event stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from django.http import StreamingHttpResponse

from executions import sse


class EventStreamResponse(StreamingHttpResponse):
    """Streams server-sent events; `frames` is closed, so that its `finally` blocks run, as soon as the response ends.

    Django closes only its own iterator around the one it was given. When a client goes away, the response lives on in
    the traceback of its own `RequestAborted` until the garbage collector comes by, and with it what the stream holds.
    """

    _iterator: AsyncGenerator[bytes, None]  # Django's, and what a middleware may have put in its place

    def __init__(self, frames: AsyncGenerator[bytes, None]) -> None:
        headers = {
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx passes each part on as it comes
        }
        super().__init__(frames, content_type=sse.MEDIA_TYPE, headers=headers)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with aclosing(self._iterator) as frames:
            async for chunk in frames:
                yield self.make_bytes(chunk)
