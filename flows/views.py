"""The pages of flows: the list, and the editor of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe

from flows.access import may_control_runs, may_edit, may_run, visible_flows
from flows.drawing import drawing_of
from flows.forms import describe_node_type
from flows.layout import Drawing
from flows.models import Flow, FlowVersion
from flows.node_types import registry

FLOWS_ON_A_PAGE = 50

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)
"""The pages load their own scripts and styles and nothing else; no inline one runs."""

View = Callable[..., HttpResponseBase]


def with_content_security_policy(view: View) -> View:
    @wraps(view)
    def guarded(request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponseBase:
        response = view(request, *arguments, **named)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        return response

    return guarded


@method_decorator(with_content_security_policy, name="dispatch")
class Login(LoginView):
    redirect_authenticated_user = True


class Logout(LogoutView):
    pass


@with_content_security_policy
@login_required
@require_safe
def flow_list(request: HttpRequest) -> HttpResponse:
    """The flows the user may see; `?q=` keeps those with it in the name."""
    query = request.GET.get("q", "").strip()
    flows = visible_flows(request.user).select_related("owner").order_by("pk")
    if query:
        flows = flows.filter(name__icontains=query)
    page = Paginator(flows, FLOWS_ON_A_PAGE).get_page(request.GET.get("page"))
    return render(request, "flows/list.html", {"page": page, "query": query})


@with_content_security_policy
@login_required
@require_safe
def flow_edit(request: HttpRequest, flow_id: int) -> HttpResponse:
    """The newest version of a flow, drawn; the page's script makes it live. 404 for a flow the user may not see."""
    flow = get_object_or_404(visible_flows(request.user), pk=flow_id)
    version = flow.versions.order_by("number").last() or _before_the_first(flow)
    drawing = drawing_of(version)
    context = {
        "flow": flow,
        "version": version,
        "drawing": drawing,
        "may_edit": may_edit(request.user, flow),
        "may_run": may_run(request.user, flow),
        "may_control_runs": may_control_runs(request.user, flow),
        "node_types": _types_of(drawing),
        "editor_data": editor_data(flow, version, drawing, editable=may_edit(request.user, flow)),
    }
    return render(request, "flows/edit.html", context)


def editor_data(flow: Flow, version: FlowVersion, drawing: Drawing, *, editable: bool) -> dict[str, Any]:
    """What the page's script starts from: the graph, each node where it is drawn, and its types."""
    places = {card.id: [card.x, card.y] for card in drawing.cards}
    nodes = [{**node, "position": places[node["id"]]} for node in version.graph["nodes"]]
    return {
        "flow": {"id": flow.pk, "name": flow.name, "active": flow.active},
        "version": version.number,
        "editable": editable,
        "graph": {"nodes": nodes, "edges": version.graph.get("edges", [])},
        "types": {node_type["name"]: node_type for node_type in _types_of(drawing)},
    }


def _before_the_first(flow: Flow) -> FlowVersion:
    """What stands for the version of a flow that was never saved: an empty graph, on which the first one is drawn."""
    return FlowVersion(flow=flow, number=0, graph={"nodes": [], "edges": []})


def _types_of(drawing: Drawing) -> list[dict[str, Any]]:
    names = sorted({card.type for card in drawing.cards if card.known})
    return [describe_node_type(registry[name]) for name in names]
