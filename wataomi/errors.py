"""How the API says what went wrong: always JSON, `{"detail", "code", "hint"}` or messages by field."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.template.loader import render_to_string
from django.views import defaults
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.views import exception_handler

logger = logging.getLogger(__name__)

API_PREFIX = "/api/"

RETRY_AFTER = {"Retry-After": "3"}

DATABASE_AWAY = {
    "detail": "The database does not answer at the moment.",
    "code": "database_away",
    "hint": "Ask again in some seconds. Runs wait for it and go on; a repeated Idempotency-Key starts no second one.",
}


def is_database_away(error: BaseException | None) -> bool:
    """Whether the database cannot be reached or is too busy, so that the same may succeed in a moment."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    # SQLite has one class for all: the file that is locked, and the table that is not there.
    return connection.vendor != "sqlite" or not str(error).startswith("no such")


def api_exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Django REST framework's answer, with the machine-readable `code` beside each `detail`."""
    if is_database_away(error):
        request = context["request"]
        logger.error("%s %s: the database does not answer (%s)", request.method, request.path, error)
        return Response(DATABASE_AWAY, status=503, headers=RETRY_AFTER)
    response = exception_handler(error, context)
    if response is None:
        return None
    if isinstance(response.data, list):
        response.data = {"non_field_errors": response.data}
    if set(response.data) == {"detail"}:
        codes = error.get_codes() if isinstance(error, APIException) else "not_found"
        response.data["code"] = codes if isinstance(codes, str) else "error"
    return response


@csrf_exempt  # as the rest of the API is: a write to nowhere gets this answer, and no page about a cookie
def api_not_found(request: HttpRequest, **kwargs: object) -> JsonResponse:
    """Whatever is asked for under /api and is not there."""
    return JsonResponse(
        {
            "detail": f"There is nothing at {request.path}.",
            "code": "not_found",
            "hint": "The API is described at /api/v1/docs.",
        },
        status=404,
    )


def _json_for_api(
    page: Callable[..., HttpResponseBase], status: int, detail: str, code: str
) -> Callable[..., HttpResponseBase]:
    """An error view that answers the API in JSON, and everybody else with Django's page."""

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.path.startswith(API_PREFIX):
            return JsonResponse({"detail": detail, "code": code}, status=status)
        return page(request, *args, **kwargs)

    return view


bad_request = _json_for_api(defaults.bad_request, 400, "The request could not be read.", "bad_request")
permission_denied = _json_for_api(defaults.permission_denied, 403, "This is not allowed.", "permission_denied")
page_not_found = _json_for_api(defaults.page_not_found, 404, "There is nothing here.", "not_found")
_server_error = _json_for_api(
    defaults.server_error, 500, "The server failed on this request; its log says why.", "server_error"
)


def server_error(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
    """What Django answers when a view has raised: 503 while the database is away, else 500."""
    if not is_database_away(sys.exc_info()[1]):
        return _server_error(request, *args, **kwargs)
    if request.path.startswith(API_PREFIX):
        return JsonResponse(DATABASE_AWAY, status=503, headers=RETRY_AFTER)
    # Without the request: its user and messages are in the database.
    return HttpResponse(render_to_string("503.html"), status=503, headers=RETRY_AFTER)
