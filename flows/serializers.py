"""Flows and their versions as the API reads and writes them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.validators import UniqueValidator

from flows.models import Flow, FlowVersion
from flows.whole_numbers import WholeNumberField

NEW_GRAPH = {"nodes": [{"id": "start", "type": "manual", "name": "Start"}], "edges": []}
"""What a flow starts as that is posted without a graph."""

GRAPH_SCHEMA = {
    "type": "object",
    "required": ["nodes"],
    "properties": {
        "nodes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "type"],
                "properties": {
                    "id": {"type": "string"},
                    "type": {"type": "string"},
                    "name": {"type": "string"},
                    "params": {"type": "object", "additionalProperties": True},
                    "position": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
                    "settings": {"type": "object", "additionalProperties": True},
                },
            },
        },
        "edges": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["source", "target"],
                "properties": {name: {"type": "string"} for name in ("source", "source_port", "target", "target_port")},
            },
        },
    },
}


@extend_schema_field(GRAPH_SCHEMA)
class GraphField(serializers.Field[Any, Any, Any, Any]):
    """A graph as it stands: what is wrong with it is found where it is saved, and answered as problems."""

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class HeadGraphField(GraphField):
    """The graph of a flow's head, and no newer one: `version` in the same answer must be the number of this graph."""

    def get_attribute(self, instance: Any) -> Any:
        version = instance.versions.filter(number=instance.head).first()
        return version and version.graph


class FlowSerializer(serializers.ModelSerializer[Flow]):
    """A flow with its newest graph. `base` is the version that a graph was drawn on; `note` goes to the new version."""

    slug = serializers.SlugField(
        required=False,
        max_length=200,
        validators=[UniqueValidator(Flow.objects.all(), message="Another flow has this slug.")],
        help_text="Left out: made of the name.",
    )
    version = serializers.IntegerField(source="head", read_only=True, help_text="The number of the newest version.")
    graph = HeadGraphField(required=False, help_text="Left out in a new flow: a Manual start alone.")
    base = WholeNumberField(
        write_only=True,
        required=False,
        min_value=0,
        help_text="With a graph: the number of the version it was drawn on. Not needed for a new flow.",
    )
    note = serializers.CharField(write_only=True, required=False, allow_blank=True, max_length=500)
    owner = serializers.CharField(source="owner.get_username", read_only=True)

    class Meta:
        model = Flow
        fields = (
            "id",
            "name",
            "slug",
            "active",
            "max_concurrent_runs",
            "when_full",
            "priority",
            "version",
            "graph",
            "owner",
            "created_at",
            "updated_at",
            "base",
            "note",
        )
        read_only_fields = ("created_at", "updated_at")

    def validate_slug(self, value: str) -> str:
        if value.isdigit():
            raise serializers.ValidationError("A slug of digits only would be taken for an id.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if self.instance is None:
            return attrs
        if not self.partial and "graph" not in attrs:
            raise serializers.ValidationError({"graph": ["This field is required."]}, code="required")
        if "graph" in attrs and "base" not in attrs:
            message = "Give the number of the version that the graph was drawn on."
            raise serializers.ValidationError({"base": [message]}, code="required")
        return attrs


class FlowSummarySerializer(serializers.ModelSerializer[Flow]):
    """A flow in a list: without its graph, which may be large."""

    version = serializers.IntegerField(source="head", read_only=True)
    owner = serializers.CharField(source="owner.get_username", read_only=True)

    class Meta:
        model = Flow
        fields = ("id", "name", "slug", "active", "version", "owner", "created_at", "updated_at")


class VersionSummarySerializer(serializers.ModelSerializer[FlowVersion]):
    author = serializers.CharField(source="author.get_username", read_only=True, default=None, allow_null=True)

    class Meta:
        model = FlowVersion
        fields = ("number", "author", "note", "checksum", "created_at")


class VersionSerializer(VersionSummarySerializer):
    graph = GraphField(read_only=True)

    class Meta:
        model = FlowVersion
        fields = (*VersionSummarySerializer.Meta.fields, "graph")


class ProblemSerializer(serializers.Serializer[Any]):
    node = serializers.CharField(allow_null=True, help_text="The id of the node.")
    code = serializers.CharField()
    message = serializers.CharField()
    severity = serializers.ChoiceField(["error", "warning"])
    field = serializers.CharField(allow_null=True, help_text="The parameter or setting.")
    path = serializers.ListField(child=serializers.CharField(), help_text="The names along a cycle.")


class GraphToValidateSerializer(serializers.Serializer[Any]):
    graph = GraphField(required=False, help_text="Left out: the flow's newest version.")


class ValidationSerializer(serializers.Serializer[Any]):
    valid = serializers.BooleanField(help_text="Whether the graph could be saved: it has no problem but warnings.")
    problems = ProblemSerializer(many=True)


class NodeFieldSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    kind = serializers.CharField()
    required = serializers.BooleanField()  # type: ignore[assignment]
    initial = serializers.JSONField(allow_null=True)
    help = serializers.CharField()
    choices = serializers.ListField(child=serializers.DictField())


class NodeTypeSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    group = serializers.CharField()
    icon = serializers.CharField()
    inputs = serializers.ListField(child=serializers.CharField())
    outputs = serializers.ListField(child=serializers.CharField())
    trigger = serializers.BooleanField()
    pure = serializers.BooleanField()
    help = serializers.CharField()
    summary = serializers.CharField()
    fields = NodeFieldSerializer(many=True)  # type: ignore[assignment]
