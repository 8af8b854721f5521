"""Who may see, change and delete which flows. What a user may not see is answered as if it were not there."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin
from django.db.models import QuerySet

from flows.models import Flow

Viewer = AbstractBaseUser | AnonymousUser


def visible_flows(user: Viewer) -> QuerySet[Flow]:
    """The user's own flows; all of them for one with the permission `flows.view_flow`."""
    if not user.is_authenticated:
        return Flow.objects.none()
    return Flow.objects.all() if _has_permission(user, "flows.view_flow") else Flow.objects.filter(owner_id=user.pk)


def may_edit(user: Viewer, flow: Flow) -> bool:
    """Its owner, or one with the permission `flows.change_flow`."""
    return _owns(user, flow) or _has_permission(user, "flows.change_flow")


def may_run(user: Viewer, flow: Flow) -> bool:
    """Its owner, or one with the permission `executions.add_execution`: whose request to start a run is not refused."""
    return _owns(user, flow) or _has_permission(user, "executions.add_execution")


def may_control_runs(user: Viewer, flow: Flow) -> bool:
    """Its owner, or one with the permission `executions.change_execution`: who may stop and retry the flow's runs."""
    return _owns(user, flow) or _has_permission(user, "executions.change_execution")


def may_delete(user: Viewer, flow: Flow) -> bool:
    """Its owner, or one with the permission `flows.delete_flow`."""
    return _owns(user, flow) or _has_permission(user, "flows.delete_flow")


def _owns(user: Viewer, flow: Flow) -> bool:
    return user.is_authenticated and flow.owner_id == user.pk


def _has_permission(user: Viewer, permission: str) -> bool:
    return isinstance(user, PermissionsMixin) and user.has_perm(permission)
