"""Serves the apps' static files under ASGI, in development and in production, with no step that collects them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from servestatic import ServeStaticASGI


class StaticFiles:
    """Answers what is under `STATIC_URL` from the files Django's finders know, and hands everything else on.

    A browser asks again each time and mostly gets 304: page scripts import each other by name, and a page must never
    mix the modules of two releases.
    """

    def __init__(self, application: Any) -> None:
        self.application = application
        self.files = ServeStaticASGI(None, autorefresh=settings.DEBUG, max_age=0)
        for directory in reversed(_directories()):  # the first finder that has a file wins, here the last one added
            self.files.add_files(directory, settings.STATIC_URL)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith(settings.STATIC_URL):
            await self.files(scope, receive, send)
        else:
            await self.application(scope, receive, send)


def _directories() -> list[str]:
    storages = [storage for finder in finders.get_finders() for storage in getattr(finder, "storages", {}).values()]
    return [storage.location for storage in storages]
