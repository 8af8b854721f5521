"""Flows and their immutable versions."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse

from flows.fields import JSONTextField


def check_printable(name: str) -> None:
    """Raises ValidationError for a name with characters that would turn around, hide or break what stands beside it."""
    if not name.isprintable():
        raise ValidationError("A flow's name has printable characters only, in one line.", code="not_printable")


class Flow(models.Model):
    """What people draw. `head` is the number of its newest version.

    `max_concurrent_runs` holds over all workers. A run that is paused or waits holds no worker, and does not count.
    """

    class WhenFull(models.TextChoices):
        """What becomes of a run that is started while the flow has as many as it may have."""

        QUEUE = "queue", "Queue it"
        REFUSE = "refuse", "Refuse it"

    name = models.CharField(max_length=200, validators=[check_printable])
    slug = models.SlugField(max_length=200, unique=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="flows")
    active = models.BooleanField(default=True, help_text="An inactive flow starts no new run.")
    max_concurrent_runs = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Runs of this flow that are executed at once; empty for no limit.",
    )
    when_full = models.CharField(max_length=10, choices=WhenFull.choices, default=WhenFull.QUEUE)
    priority = models.SmallIntegerField(
        default=0,
        validators=[MinValueValidator(-100), MaxValueValidator(100)],
        help_text="Of the runs that wait for a worker, those of a higher priority (-100 to 100) are executed first.",
    )
    head = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("flow-edit", args=[self.pk])


class FlowVersion(models.Model):
    """One saved graph of a flow; never changed once it is there."""

    flow = models.ForeignKey(Flow, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    graph = JSONTextField()
    checksum = models.CharField(max_length=64, help_text="SHA-256 of the canonical JSON of the graph.")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    note = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("flow", "-number")
        constraints = [models.UniqueConstraint(fields=["flow", "number"], name="flow_version_number_once")]

    def __str__(self) -> str:
        return f"{self.flow} v{self.number}"
