"""`make bench`: measures a scratch installation on this machine and prints a table. See README.md for the method."""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
from pathlib import Path


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    arguments.add_argument("parts", nargs="*", help="throughput, readers, startup; all of them without a word")
    arguments.add_argument("--repeats", type=int, default=7, help="of each throughput figure; the median is printed")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="wataomi-bench-") as folder:
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "wataomi.settings",
            "DATABASE_URL": f"sqlite:///{Path(folder) / 'bench.sqlite3'}",
            "DEBUG": "0",
            "HTTPS": "0",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "ALLOWED_HOSTS": "127.0.0.1",
            "WATAOMI_LOG_FILE": "",
            "WATAOMI_LOG_LEVEL": "WARNING",
            "WATAOMI_EXTRA_APPS": "benchmarks.nodes_app",
        }
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        from benchmarks import readers, startup, throughput

        parts = {
            "throughput": lambda: throughput.measure(given.repeats),
            "readers": readers.measure,
            "startup": startup.measure,
        }
        for name, measure in parts.items():
            if not given.parts or name in given.parts:
                measure()


if __name__ == "__main__":
    main()
