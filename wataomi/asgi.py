"""The ASGI entry point, and what runs beside the requests of a server: the executor."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wataomi.settings")
django.setup(set_prefix=False)  # first: what is imported below needs it

from executions import processes, runtime  # noqa: E402
from executions.models import Process  # noqa: E402
from wataomi.bodies import BodyLengthHandler, leave_forms_to_django  # noqa: E402
from wataomi.log_secrets import hide_secrets_from_servers  # noqa: E402
from wataomi.static_files import StaticFiles  # noqa: E402
from wataomi.streaming.application import StreamingApplication  # noqa: E402
from wataomi.streaming.shutdown import on_shutdown  # noqa: E402

leave_forms_to_django()
hide_secrets_from_servers()

# A server also takes up the runs that a worker before it left behind, so its executor does not wait for a first run.
runtime.executor(recover=True)
processes.begin(Process.Role.WEB, runtime.figures)
on_shutdown(runtime.shutdown)

application = StreamingApplication(StaticFiles(BodyLengthHandler()))
