"""Resume links: addresses that end the wait of one node of one run. Each bears its own secret, so whoever has the link
may use it, without an account."""

from __future__ import annotations

from uuid import UUID

from django.core import signing
from django.urls import reverse

from executions.conf import execution_settings
from executions.engine.plan import Plan
from executions.models import NodeExecution
from executions.statuses import NodeStatus
from flows.node_types import registry

_SALT = "wataomi.executions.resume"


class BadToken(ValueError):
    """Not a token of this installation, or not one any more."""


def resume_token(execution_id: UUID, node_id: str) -> str:
    """The same each time, and of no use for any other node or run."""
    return signing.Signer(salt=_SALT).sign_object([execution_id.hex, node_id])


def read_token(token: str) -> tuple[UUID, str]:
    """The run and the node. Raises BadToken."""
    try:
        execution_id, node_id = signing.Signer(salt=_SALT).unsign_object(token)
        return UUID(hex=execution_id), str(node_id)
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise BadToken("This is not a resume link of this server.") from error


def resume_url(execution_id: UUID, node_id: str) -> str:
    """The whole address, as it can be sent in a mail."""
    path = reverse("resume", args=[resume_token(execution_id, node_id)])
    return execution_settings().base_url.rstrip("/") + path


def awaits_resumption(type_name: str, attempt: NodeExecution) -> bool:
    """Whether the node waits, and its link ends that."""
    node_type = registry.get(type_name)
    return attempt.status == NodeStatus.WAITING and node_type is not None and node_type.resumable


def resume_urls(execution_id: UUID, plan: Plan) -> dict[str, str]:
    """The address of each node that can be resumed from outside, by the node's name."""
    nodes = [planned.node for planned in plan.nodes if planned.behaviour.resumable]
    return {node.name: resume_url(execution_id, node.id) for node in nodes}
