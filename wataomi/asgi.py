"""The ASGI entry point."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wataomi.settings")
django_application = get_asgi_application()  # first: it sets Django up, and what is imported below needs that

from wataomi.static_files import StaticFiles  # noqa: E402
from wataomi.streaming.application import StreamingApplication  # noqa: E402

application = StreamingApplication(StaticFiles(django_application))
