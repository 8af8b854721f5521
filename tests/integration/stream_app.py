"""The ASGI application of the small project that the tests of the streaming wrapper serve, and its callbacks."""

import asyncio
import logging
import os
import time

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from wataomi.streaming.application import StreamingApplication  # noqa: E402 -- Django is set up first
from wataomi.streaming.shutdown import on_shutdown  # noqa: E402

logger = logging.getLogger(__name__)
application = StreamingApplication(django_application)


@on_shutdown
async def async_callback() -> None:
    await asyncio.sleep(0.05)
    logger.info("async callback ended")


@on_shutdown
def sync_callback() -> None:
    time.sleep(0.05)
    logger.info("sync callback ended")


if os.environ.get("STREAM_CALLBACKS") == "bad":

    @on_shutdown
    def hanging_callback() -> None:
        time.sleep(60)

    @on_shutdown
    async def failing_callback() -> None:
        raise RuntimeError("the callback broke")
