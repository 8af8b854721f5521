"""Resuming a node by its resume link, for programs: a JSON object is posted to the link, without an account."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from executions import control
from executions.api.errors import AnswersFaults
from executions.dispatch import check_input
from executions.models import Execution
from executions.resume_links import BadToken, read_token


def linked(token: str) -> tuple[Execution, str]:
    """The run and the node's id that a link is for. Raises NotFound."""
    try:
        execution_id, node_id = read_token(token)
        return Execution.objects.select_related("flow", "flow_version").get(pk=execution_id), node_id
    except (BadToken, Execution.DoesNotExist) as error:
        raise NotFound("This link is not, or no longer, one of this server's.") from error


class LinkResumeView(AnswersFaults):
    """The link is the permission: no session counts here, so no other site can use one."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(exclude=True)
    def post(self, request: Request, token: str) -> Response:
        execution, node_id = linked(token)
        data = check_input(request.data, what="body", field="non_field_errors")
        control.signal(execution, node_id, data, None)
        execution.refresh_from_db(fields=["status"])
        return Response({"id": str(execution.pk), "status": execution.status}, status=status.HTTP_202_ACCEPTED)
