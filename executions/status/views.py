"""`/status` for the operator, and `/metrics` for Prometheus."""

from __future__ import annotations

from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from executions.conf import execution_settings
from executions.status.gathering import fresh_figures
from executions.status.metrics import exposition
from executions.status.page import page_of


@require_safe
@never_cache
@staff_member_required
def status_page(request: HttpRequest) -> HttpResponse:
    """The page; with `?fragment=1` only what changes of it."""
    template = "executions/_status.html" if "fragment" in request.GET else "executions/status.html"
    return render(request, template, page_of(fresh_figures()))


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """For staff, and for who has the token of `WATAOMI_METRICS_TOKEN`."""
    if _has_token(request) or _is_staff(request):
        return HttpResponse(exposition(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
    if request.user.is_authenticated:
        return HttpResponse("Only staff may read this.\n", status=403, content_type="text/plain")
    answer = HttpResponse("Send the token of WATAOMI_METRICS_TOKEN.\n", status=401, content_type="text/plain")
    answer["WWW-Authenticate"] = 'Bearer realm="metrics"'
    return answer


def _has_token(request: HttpRequest) -> bool:
    token = execution_settings().metrics_token
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Headers come as Latin-1, whatever their bytes are (PEP 3333).
    sent = given.strip().encode("latin-1", "replace")
    return bool(token) and scheme.lower() == "bearer" and constant_time_compare(sent, token.encode())


def _is_staff(request: HttpRequest) -> bool:
    return request.user.is_active and request.user.is_staff
