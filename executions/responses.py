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

    def __init__(self, frames: AsyncGenerator[bytes, None]) -> None:
        headers = {
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx passes each part on as it comes
        }
        super().__init__(frames, content_type=sse.MEDIA_TYPE, headers=headers)
        self._frames = frames

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # Not what is iterated: a middleware may have wrapped that, and its wrapper would close no frames.
        async with aclosing(self._frames):
            async for chunk in self.streaming_content:  # type: ignore[union-attr]  # they are asynchronous
                yield chunk
