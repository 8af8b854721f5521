"""Runs, what their nodes did, their events, and the commands sent to them."""

from __future__ import annotations

import uuid

import uuid_utils.compat
from django.conf import settings
from django.db import models
from django.urls import reverse

from executions.statuses import NodeStatus, RunStatus
from flows.fields import JSONTextField
from flows.models import Flow, FlowVersion


def new_execution_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562, 5.7): ids sort by the time they were made."""
    return uuid_utils.compat.uuid7()


class Mode(models.TextChoices):
    """What started a run."""

    MANUAL = "manual", "Manual"
    API = "api", "API"
    CLI = "cli", "Command line"
    RETRY = "retry", "Retry"


class Execution(models.Model):
    """One run of one version of a flow.

    `epoch` counts who took the run: each write of a run checks it, so a worker that lost its lease writes nothing.
    `last_seq` is the seq of its newest event, 0 before the first. `wake_at` is when a run that waits goes on by itself.
    `takeovers` counts the workers that the run has lost since `takeover_mark` of its nodes had settled.
    """

    id = models.UUIDField(primary_key=True, default=new_execution_id, editable=False)
    # Without an index of its own: SQLite would choose it over `execution_by_flow`, and sort.
    flow = models.ForeignKey(Flow, on_delete=models.CASCADE, related_name="executions", db_index=False)
    flow_version = models.ForeignKey(FlowVersion, on_delete=models.CASCADE, related_name="executions")
    status = models.CharField(
        max_length=10, choices=[(s.value, s.value) for s in RunStatus], default=RunStatus.QUEUED.value
    )
    mode = models.CharField(max_length=10, choices=Mode.choices)
    input = JSONTextField(default=dict)
    output = JSONTextField(null=True, blank=True, help_text="Items by node id, of the nodes nothing hangs on.")
    error = JSONTextField(null=True, blank=True, help_text="nodeId, type, message, hint.")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    requester = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="executions"
    )
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")
    retry_of = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="retries")
    idempotency_key = models.CharField(max_length=200, null=True, blank=True)
    last_seq = models.PositiveIntegerField(default=0)
    epoch = models.PositiveIntegerField(default=0)
    lease_owner = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    wake_at = models.DateTimeField(null=True, blank=True)
    priority = models.SmallIntegerField(default=0)
    takeovers = models.PositiveIntegerField(default=0)
    takeover_mark = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("-id",)
        indexes = [
            # A page of a list is found in one of these alone; the flow says who may see a run. Rows are wide: to read
            # 100,000 of them from a disk, in order to find a page, took 2 to 10 s.
            models.Index(fields=["flow", "-id"], name="execution_by_flow"),
            models.Index(fields=["status", "-id", "flow"], name="execution_by_status"),
            models.Index(fields=["mode", "-id", "flow"], name="execution_by_mode"),
            models.Index(fields=["-id", "flow", "created_at"], name="execution_by_time"),
            # What workers look for all the time is found among the unfinished runs, however many have ended.
            models.Index(
                fields=["flow", "status", "id"],
                name="execution_unfinished",
                condition=models.Q(status__in=["queued", "running", "pausing", "paused", "waiting"]),
            ),
            models.Index(
                fields=["lease_until", "id"],
                name="execution_by_lease",
                condition=models.Q(status__in=["queued", "running", "pausing"]),
            ),
            models.Index(fields=["wake_at"], name="execution_by_wake", condition=models.Q(wake_at__isnull=False)),
            models.Index(fields=["lease_owner"], name="execution_by_owner", condition=~models.Q(lease_owner="")),
            # How many have ended lately, and which ones are old.
            models.Index(
                fields=["finished_at", "status"],
                name="execution_by_end",
                condition=models.Q(finished_at__isnull=False),
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["requester", "idempotency_key"], name="execution_idempotency_key_once")
        ]

    def __str__(self) -> str:
        return str(self.id)

    def get_absolute_url(self) -> str:
        return reverse("admin:executions_execution_change", args=[self.pk])


class NodeExecution(models.Model):
    """One attempt at one node of a run. A node with no row is idle."""

    # The constraint below has an index that starts with it. What writes such a row holds its run's row locked: the
    # database's own check, row by row, was a third of the journal's work on PostgreSQL.
    execution = models.ForeignKey(
        Execution, on_delete=models.CASCADE, related_name="node_executions", db_index=False, db_constraint=False
    )
    node_id = models.CharField(max_length=100)
    attempt = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=10, choices=[(s.value, s.value) for s in NodeStatus])
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    input = JSONTextField(null=True, blank=True, help_text="Items by input port.")
    output = JSONTextField(null=True, blank=True, help_text="Items by output port.")
    item_counts = JSONTextField(null=True, blank=True, help_text="Number of items by output port.")
    error = JSONTextField(null=True, blank=True, help_text="type, message, hint.")
    retry_at = models.DateTimeField(null=True, blank=True, help_text="When the next attempt starts, if there is one.")
    wait_until = models.DateTimeField(null=True, blank=True, help_text="When a node that waits stops waiting.")
    progress = JSONTextField(null=True, blank=True, help_text="fraction, message, text of a running node.")

    class Meta:
        ordering = ("id",)
        indexes = [models.Index(fields=["status", "-id"], name="node_execution_by_status")]
        constraints = [
            models.UniqueConstraint(fields=["execution", "node_id", "attempt"], name="node_execution_attempt_once")
        ]

    def __str__(self) -> str:
        return f"{self.node_id} #{self.attempt}"


class ExecutionEvent(models.Model):
    """One event of a run; append-only, `seq` contiguous from 1. `data` is the JSON text that streams send."""

    pk = models.CompositePrimaryKey("execution_id", "seq")
    execution = models.ForeignKey(
        Execution, on_delete=models.CASCADE, related_name="events", db_index=False, db_constraint=False
    )  # as in NodeExecution
    seq = models.PositiveIntegerField()
    type = models.CharField(max_length=30)
    data = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("execution_id", "seq")

    def __str__(self) -> str:
        return f"{self.execution_id} #{self.seq} {self.type}"


class Command(models.Model):
    """What someone asked of a run; the engine that holds the run obeys and sets `taken_at`.

    A signal is for the node `node_id`, which waits for it, and brings `data`.
    """

    class Kind(models.TextChoices):
        PAUSE = "pause", "Pause"
        RESUME = "resume", "Resume"
        CANCEL = "cancel", "Cancel"
        SIGNAL = "signal", "Signal"

    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="commands")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    taken_at = models.DateTimeField(null=True, blank=True)
    node_id = models.CharField(max_length=100, blank=True)
    data = JSONTextField(null=True, blank=True)

    class Meta:
        ordering = ("id",)
        indexes = [models.Index(fields=["id"], name="command_pending", condition=models.Q(taken_at__isnull=True))]

    def __str__(self) -> str:
        return f"{self.kind} {self.execution_id}"


class Process(models.Model):
    """A process of the installation, as it said last: each one renews its row every few seconds, for the operator.

    `name` is that of a worker's leases. Commit times are those of the last minute, in milliseconds.
    """

    class Role(models.TextChoices):
        WEB = "web", "Web"
        WORKER = "worker", "Worker"

    name = models.CharField(max_length=100, primary_key=True)
    role = models.CharField(max_length=10, choices=Role.choices)
    host = models.CharField(max_length=100)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)
    executes = models.BooleanField(default=False, help_text="Whether it executes runs.")
    capacity = models.PositiveIntegerField(default=0, help_text="Runs that it executes at once, at most.")
    held = models.PositiveIntegerField(default=0, help_text="Runs that it executes.")
    readers = models.PositiveIntegerField(default=0, help_text="Open streams.")
    backlog = models.PositiveIntegerField(default=0, help_text="Journal entries that wait to be written.")
    commits = models.PositiveBigIntegerField(default=0)
    commit_p50_ms = models.FloatField(null=True, blank=True)
    commit_p99_ms = models.FloatField(null=True, blank=True)

    class Meta:
        ordering = ("role", "started_at")
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return self.name
