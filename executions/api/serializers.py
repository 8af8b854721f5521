"""Runs and their nodes as the API shows them, and what is posted to start and retry runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from executions.api.fields import (
    CountsField,
    DurationField,
    ErrorField,
    InputField,
    ItemsField,
    MomentField,
    ObjectField,
    OutputField,
    ProgressField,
    RunErrorField,
    StateField,
)
from executions.models import Execution, NodeExecution
from executions.statuses import NodeStatus, RunStatus
from flows.whole_numbers import WholeNumberField

RUN_STATUSES = [(status.value, status.value) for status in RunStatus]
NODE_STATUSES = [(status.value, status.value) for status in NodeStatus]


class ExecutionSummarySerializer(serializers.ModelSerializer[Execution]):
    """A run in a list: without its input and output, which may be large."""

    flow_id = serializers.IntegerField(read_only=True)
    flow_name = serializers.CharField(source="flow.name", read_only=True)
    flow_version = serializers.IntegerField(source="flow_version.number", read_only=True)
    error = RunErrorField()
    requester = serializers.CharField(
        source="requester.get_username", read_only=True, default=None, allow_null=True, help_text="A user name."
    )
    retry_of = serializers.UUIDField(source="retry_of_id", read_only=True, allow_null=True)
    created_at = MomentField(read_only=True)
    started_at = MomentField(read_only=True, allow_null=True)
    finished_at = MomentField(read_only=True, allow_null=True)
    duration_ms = DurationField()

    class Meta:
        model = Execution
        fields: Sequence[str] = (
            "id",
            "flow_id",
            "flow_name",
            "flow_version",
            "status",
            "mode",
            "error",
            "requester",
            "retry_of",
            "created_at",
            "started_at",
            "finished_at",
            "duration_ms",
            "last_seq",
        )
        read_only_fields = fields


class ExecutionSerializer(ExecutionSummarySerializer):
    """A run."""

    input = ObjectField()
    output = OutputField(help_text="By node id, the items of each port; of the nodes that nothing hangs on.")

    class Meta(ExecutionSummarySerializer.Meta):
        fields = (*ExecutionSummarySerializer.Meta.fields, "input", "output")
        read_only_fields = fields


class ExecutionDetailSerializer(ExecutionSerializer):
    """A run with its state."""

    state = StateField()

    class Meta(ExecutionSerializer.Meta):
        fields = (*ExecutionSerializer.Meta.fields, "state")
        read_only_fields = fields


class ExecutionStatusSerializer(serializers.ModelSerializer[Execution]):
    """What is answered to a command: where the run stood when it was taken. The run obeys behind that."""

    class Meta:
        model = Execution
        fields = ("id", "status")
        read_only_fields = fields


class StartSerializer(serializers.Serializer[Any]):
    """What starts a run."""

    flow_id = WholeNumberField()
    input_data = InputField(default=dict, allow_null=True, help_text="Left out: an empty object.")


class RetrySerializer(serializers.Serializer[Any]):
    """How to retry a run."""

    version = serializers.ChoiceField(
        ["same", "newest"], default="same", help_text="The version of the flow: the run's own, or the newest."
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # `from` is a word of Python's and cannot be the name of an attribute.
        origin = serializers.ChoiceField(
            ["start", "failed"],
            source="origin",
            default="start",
            help_text="`failed`: take over what succeeded in the run and has not changed since.",
        )
        return {"from": origin, **super().get_fields()}


class ResumeNodeSerializer(serializers.Serializer[Any]):
    """What a node that waits is resumed with."""

    # The class keeps no attribute of a declared field, so `Serializer.data` is there all the same.
    data = InputField(  # type: ignore[assignment]
        default=dict, allow_null=True, help_text="Left out: an empty object."
    )


class AttemptSerializer(serializers.ModelSerializer[NodeExecution]):
    """One attempt at a node, in full."""

    started_at = MomentField(read_only=True, allow_null=True)
    finished_at = MomentField(read_only=True, allow_null=True)
    duration_ms = DurationField()
    item_counts = CountsField()
    error = ErrorField()
    will_retry_at = MomentField(source="retry_at", read_only=True, allow_null=True)
    wait_until = MomentField(read_only=True, allow_null=True)
    progress = ProgressField()
    input = ItemsField(help_text="Items by input port.")
    output = ItemsField(help_text="Items by output port.")

    class Meta:
        model = NodeExecution
        fields = (
            "attempt",
            "status",
            "started_at",
            "finished_at",
            "duration_ms",
            "item_counts",
            "error",
            "will_retry_at",
            "wait_until",
            "progress",
            "input",
            "output",
        )
        read_only_fields = fields


class NodeSerializer(serializers.Serializer[Any]):
    """A NodeReport: a node of a run, as its newest attempt left it."""

    node_id = serializers.CharField()
    name = serializers.CharField()
    type = serializers.CharField()
    status = serializers.ChoiceField(NODE_STATUSES)
    attempts = serializers.IntegerField(source="newest.attempt", help_text="How many there were.")
    started_at = MomentField(source="newest.started_at", allow_null=True)
    finished_at = MomentField(source="newest.finished_at", allow_null=True)
    duration_ms = DurationField(source="newest")
    item_counts = CountsField(source="newest.item_counts")
    error = ErrorField(source="newest.error")


class NodeDetailSerializer(NodeSerializer):
    """A node of a run with its data, and all attempts at it."""

    input = ItemsField(source="newest.input", help_text="Items by input port.")
    output = ItemsField(source="newest.output", help_text="Items by output port.")
    attempts = AttemptSerializer(many=True)  # type: ignore[assignment]  # in the list of nodes it is their number
    resume_url = serializers.URLField(
        source="resume_link", allow_null=True, help_text="Of a node that waits for it; for who may control the run."
    )
