"""Creates the demo: a user to log in as, and three flows to run. Safe to repeat: what is there is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from flows.models import Flow
from flows.versions import create_flow

FLOWS = Path(__file__).parents[2] / "flows"
USERNAME = PASSWORD = "demo"  # noqa: S105 - known, therefore made on a developer's own machine only
APPS = ("flows", "executions")


class Command(BaseCommand):
    help = (
        "Create the demo flows, and with DEBUG the user demo with the password demo who owns them. "
        "Without DEBUG no known password is created: name an existing user with --owner."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--owner", help="An existing user who shall own the flows.")

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            owner = existing_user(options["owner"]) if options["owner"] else self.demo_user()
            for path in sorted(FLOWS.glob("*.json")):
                self.create_flow(owner, orjson.loads(path.read_bytes()))

    def demo_user(self) -> Any:
        """The user demo, created where there is none. Raises CommandError without DEBUG."""
        if not settings.DEBUG:
            raise CommandError(
                "DEBUG is off: a user with a known password is not created on a server that others may reach. "
                "Create a user with `manage.py createsuperuser`, then run `manage.py create_demo --owner NAME`."
            )
        users = get_user_model().objects
        user = users.filter(username=USERNAME).first()
        if user is None:
            user = users.create_user(username=USERNAME, password=PASSWORD, is_staff=True)
            self.stdout.write(f"Created the user {USERNAME} with the password {PASSWORD}.")
        user.user_permissions.add(*Permission.objects.filter(content_type__app_label__in=APPS))
        return user

    def create_flow(self, owner: Any, described: dict[str, Any]) -> None:
        if Flow.objects.filter(slug=described["slug"]).exists():
            return
        flow = create_flow(
            owner=owner,
            name=described["name"],
            slug=described["slug"],
            graph_json=described["graph"],
            note="The demo as it ships.",
        )
        self.stdout.write(f"Created flow {flow.pk}: {flow.name}.")


def existing_user(username: str) -> Any:
    """Raises CommandError when there is no such user."""
    users = get_user_model()
    try:
        return users.objects.get_by_natural_key(username)
    except users.DoesNotExist:
        raise CommandError(f"There is no user {username!r}.") from None
