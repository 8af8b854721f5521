"""Who may see a run, and who may control it."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db.models import Exists, OuterRef, QuerySet

from executions.models import Execution, NodeExecution
from flows.access import may_control_runs
from flows.models import Flow

AnyUser = User | AnonymousUser | AbstractBaseUser


def visible_executions(user: AnyUser) -> QuerySet[Execution]:
    """The runs of one's own flows; all of them with the permission `executions.view_execution`."""
    if not user.is_authenticated:
        return Execution.objects.none()
    if _has_perm(user, "executions.view_execution"):
        return Execution.objects.all()
    # Looked at run by run, along whatever index a list is read: as a join it would come first in SQLite's plan, and all
    # runs of the user would be fetched and sorted for each page.
    return Execution.objects.filter(Exists(Flow.objects.filter(pk=OuterRef("flow_id"), owner_id=user.pk)))


def visible_node_executions(user: AnyUser) -> QuerySet[NodeExecution]:
    """What the nodes did in the runs that the user may see."""
    if not user.is_authenticated:
        return NodeExecution.objects.none()
    if _has_perm(user, "executions.view_execution"):
        return NodeExecution.objects.all()
    runs = Execution.objects.filter(pk=OuterRef("execution_id"), flow__owner_id=user.pk)
    return NodeExecution.objects.filter(Exists(runs))


def may_control(user: AnyUser, execution: Execution) -> bool:
    """Whether the user may command and retry the run: the flow's owner, or with `executions.change_execution`."""
    return may_control_runs(user, execution.flow)


def may_control_any(user: AnyUser) -> bool:
    """Whether there can be a run that the user may command: of an own flow, or with `executions.change_execution`."""
    return _has_perm(user, "executions.change_execution") or Flow.objects.filter(owner_id=user.pk).exists()


def _has_perm(user: AnyUser, permission: str) -> bool:
    return isinstance(user, User) and user.has_perm(permission)
