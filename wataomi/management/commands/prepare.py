"""`manage.py prepare`: what has to be there before the server starts, and where to look when it has."""

from __future__ import annotations

import socket
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from wataomi.backing_services import ServiceMissing, require_database, require_redis


class Command(BaseCommand):
    help = (
        "See that the services are there, migrate the database, and print the addresses. "
        "With DEBUG on, also create the database of PostgreSQL and the demo's data. Safe to repeat."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument(
            "--again", default="make run", metavar="COMMAND", help="how it is started with another PORT"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        refuse_port_in_use(host, port, options["again"])
        try:
            require_database(create=settings.DEBUG)
            require_redis()
        except ServiceMissing as missing:
            raise CommandError(str(missing)) from missing
        call_command("migrate", verbosity=0)
        if settings.DEBUG:
            call_command("create_demo", verbosity=0)
        self.stdout.write(self.addresses(f"http://{host}:{port}"))

    def addresses(self, base: str) -> str:
        lines = [
            ("Flows", f"{base}/"),
            ("Admin", f"{base}/admin/"),
            ("API", f"{base}/api/v1/docs"),
        ]
        if settings.DEBUG:
            lines = [
                ("First flow", f"{base}/flows/1/edit"),
                *lines,
                ("Log in as", "demo / demo (only while DEBUG is on)"),
            ]
        lines.append(("Stop with", "Ctrl-C"))
        return "\n" + "\n".join(f"  {self.style.SUCCESS(f'{name:<10}')} {value}" for name, value in lines) + "\n"


def refuse_port_in_use(host: str, port: int, again: str = "make run") -> None:
    """Raises CommandError where something listens already: the server would say so only after all else is done."""
    if not 0 < port < 65536:
        raise CommandError(f"PORT is {port}; it must be from 1 to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the server does: an address whose last connections are still being closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(
                f"Nothing can listen on {host}:{port} ({error.strerror}). Choose another port: {again} PORT={port + 1}"
            ) from error
