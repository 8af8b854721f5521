"""`make bench`: measures scratch installations on this machine and prints tables. See README.md for the method."""

from __future__ import annotations

import argparse
import importlib
import os
import secrets
import subprocess
import sys
from contextlib import AbstractContextManager

from benchmarks import databases

PARTS = {
    "sqlite": ("throughput", "readers", "startup"),
    "postgres": ("throughput", "queue", "readers", "scale", "peers"),
}
"""What is measured on each database, in this order; each is a module with a function `measure`."""

ONLY_WHEN_NAMED = {"peers"}
"""It installs packages."""


def main() -> int:
    given = _arguments()
    if "WATAOMI_BENCH_ON" in os.environ:
        return _measure(given)
    failed = 0
    for kind, parts in PARTS.items():
        wanted = [part for part in parts if (part in given.parts if given.parts else part not in ONLY_WHEN_NAMED)]
        if wanted and given.on in (None, kind):
            failed |= _measure_on(kind, wanted, given.repeats, given.rows)
    return failed


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = sorted({part for parts in PARTS.values() for part in parts})
    arguments.add_argument(
        "parts", nargs="*", metavar="part", help=f"{', '.join(known)}; without a word all of them but peers"
    )
    arguments.add_argument("--on", choices=PARTS, help="only on this database")
    arguments.add_argument("--repeats", type=int, default=3, help="of each throughput figure; the median is printed")
    arguments.add_argument(
        "--rows", type=int, nargs="+", default=[1_000, 100_000], help="runs in the database for `scale` (%(default)s)"
    )
    given = arguments.parse_args()
    if unknown := [part for part in given.parts if part not in known]:
        arguments.error(f"there is no part {unknown[0]!r}; there are {', '.join(known)}")
    return given


def _measure_on(kind: str, parts: list[str], repeats: int, rows: list[int]) -> int:
    """In a process of its own: Django's settings are read once."""
    scratch: AbstractContextManager[str] = databases.sqlite() if kind == "sqlite" else databases.postgres()
    try:
        with scratch as url:
            command = [sys.executable, "-m", "benchmarks", *parts, "--repeats", str(repeats)]
            command += ["--rows", *map(str, rows)]
            process = subprocess.Popen(command, env=os.environ | _environment(kind, url))
            try:
                return process.wait()
            finally:
                process.wait()  # behind Ctrl-C, which reaches both: it stops what it has started
    except databases.PostgresMissing as error:
        print(f"\nLeft out: {', '.join(parts)} on PostgreSQL. {error} (BENCH_DATABASE_URL names another one.)")
        return 0


def _environment(kind: str, url: str) -> dict[str, str]:
    return {
        "WATAOMI_BENCH_ON": kind,
        "DJANGO_SETTINGS_MODULE": "wataomi.settings",
        "DATABASE_URL": url,
        "REDIS_URL": "",
        "WATAOMI_EXECUTOR": "procrastinate" if kind == "postgres" else "embedded",
        "DEBUG": "0",
        "HTTPS": "0",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "ALLOWED_HOSTS": "127.0.0.1",
        "WATAOMI_LOG_FILE": "",
        "WATAOMI_LOG_LEVEL": "WARNING",
        "WATAOMI_EXTRA_APPS": "benchmarks.nodes_app",
    }


def _measure(given: argparse.Namespace) -> int:
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    options = {"throughput": [given.repeats], "queue": [given.repeats], "scale": [given.rows], "peers": [given.repeats]}
    for part in given.parts:
        importlib.import_module(f"benchmarks.{part}").measure(*options.get(part, []))
    return 0


if __name__ == "__main__":
    sys.exit(main())
