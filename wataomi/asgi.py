"""The ASGI entry point, and what runs beside the requests of a server: the executor."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wataomi.settings")
django_application = get_asgi_application()  # first: it sets Django up, and what is imported below needs that

from executions import runtime  # noqa: E402
from wataomi.static_files import StaticFiles  # noqa: E402
from wataomi.streaming.application import StreamingApplication  # noqa: E402
from wataomi.streaming.shutdown import on_shutdown  # noqa: E402

# A server also takes up the runs that a worker before it left behind, so its executor does not wait for a first run.
runtime.executor(recover=True)
on_shutdown(runtime.shutdown)

application = StreamingApplication(StaticFiles(django_application))
