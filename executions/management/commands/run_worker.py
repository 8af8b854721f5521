"""`manage.py run_worker`: executes runs that web processes, commands and other workers put into the queue."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from executions.conf import execution_settings


class Command(BaseCommand):
    help = "Execute runs from the queue until SIGTERM or Ctrl-C; what is held then is handed over to other workers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--concurrency",
            type=int,
            default=execution_settings().worker_concurrency,
            metavar="N",
            help="runs that are executed at once (default: WATAOMI_WORKER_CONCURRENCY, %(default)s)",
        )

    def handle(self, *, concurrency: int, **options: Any) -> None:
        if execution_settings().executor != "procrastinate":
            raise CommandError(
                f"Workers take runs from the queue of Procrastinate, and WATAOMI_EXECUTOR is "
                f"{execution_settings().executor}: runs are executed in the web process. Set "
                "WATAOMI_EXECUTOR=procrastinate for the web processes and the workers alike.",
                returncode=2,
            )
        if concurrency < 1:
            raise CommandError("--concurrency must be 1 or more.", returncode=2)
        from executions.worker_process import WorkerProcess  # Procrastinate's tables are there only when it is used

        asyncio.run(WorkerProcess(concurrency).run())
