"""The page behind a resume link: it names what waits, and lets whoever has the link approve or decline.

Looking at it changes nothing: mail programs and chats open links to show a preview of them.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods
from rest_framework.exceptions import NotFound

from executions import control
from executions.api.resume import LinkResumeView, linked
from executions.errors import ControlRefused
from executions.models import Execution, NodeExecution
from executions.plans import node_names

FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})

COMMENT_CHARACTERS = 5000


class AnswerForm(forms.Form):
    """What the page sends."""

    approved = forms.ChoiceField(choices=[("true", "Approve"), ("false", "Decline")])
    comment = forms.CharField(required=False, max_length=COMMENT_CHARACTERS)

    def answer(self) -> dict[str, Any]:
        return {"approved": self.cleaned_data["approved"] == "true", "comment": self.cleaned_data["comment"]}


_by_program = LinkResumeView.as_view()


@csrf_exempt  # a program's request bears the secret itself; what a browser's form sends is checked in `_by_person`
@require_http_methods(["GET", "HEAD", "POST"])
def resume_page(request: HttpRequest, token: str) -> HttpResponseBase:
    """GET shows the page; POST of its form, or of a JSON object, ends the wait."""
    is_form = request.content_type in FORM_TYPES
    response: HttpResponseBase
    if request.method == "POST" and not is_form:
        response = _by_program(request, token=token)
    else:
        response = _by_person(request, token)
    response["Cache-Control"] = "no-store"
    # Not `no-referrer`, with which browsers send `Origin: null` with a form, and Django refuses that. This one tells
    # other sites, and this one's own log, no more than the name of the server.
    response["Referrer-Policy"] = "strict-origin"
    response["X-Robots-Tag"] = "noindex"
    return response


@csrf_protect
def _by_person(request: HttpRequest, token: str) -> HttpResponse:
    try:
        execution, node_id = linked(token)
    except NotFound:
        return render(request, "executions/resume.html", {"gone": True}, status=404)
    context = {"execution": execution, "node_name": node_names(execution.flow_version.graph).get(node_id, node_id)}
    if request.method == "POST":
        return _answered(request, execution, node_id, context)
    try:
        control.check_waits(execution, node_id)
    except ControlRefused as refusal:
        return render(request, "executions/resume.html", {**context, "refusal": refusal}, status=409)
    return render(request, "executions/resume.html", {**context, "until": _until(execution, node_id)})


def _answered(request: HttpRequest, execution: Execution, node_id: str, context: dict[str, Any]) -> HttpResponse:
    form = AnswerForm(request.POST)
    if not form.is_valid():
        return render(request, "executions/resume.html", {**context, "form": form}, status=400)
    try:
        control.signal(execution, node_id, form.answer(), None)
    except ControlRefused as refusal:
        return render(request, "executions/resume.html", {**context, "refusal": refusal}, status=409)
    return render(request, "executions/resume.html", {**context, "answer": form.answer()}, status=202)


def _until(execution: Execution, node_id: str) -> Any:
    newest = NodeExecution.objects.filter(execution=execution, node_id=node_id).order_by("-attempt").first()
    return newest.wait_until if newest else None
