"""The values that runs are shown with, and how the schema describes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from executions.events import duration_ms, iso
from executions.statuses import NodeStatus, RunStatus

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}


def _object(properties: Schema, **more: Any) -> Schema:
    return {"type": "object", "properties": properties, **more}


def _by_name(value: Schema, **more: Any) -> Schema:
    return {"type": "object", "additionalProperties": value, **more}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "nullable": True}


ANY_OBJECT: Schema = {"type": "object", "additionalProperties": True}
ITEMS_BY_PORT = _by_name({"type": "array", "items": ANY_OBJECT}, nullable=True)
OUTPUT = _by_name(_by_name({"type": "array", "items": ANY_OBJECT}), nullable=True)
COUNTS_BY_PORT = _by_name(WHOLE, nullable=True)
ERROR = _object({"type": TEXT, "message": TEXT, "hint": TEXT}, nullable=True)
RUN_ERROR = _object({"nodeId": _or_null(TEXT), "type": TEXT, "message": TEXT, "hint": TEXT}, nullable=True)
PROGRESS = _object({"fraction": {"type": "number", "nullable": True}, "message": TEXT, "text": TEXT}, nullable=True)
MOMENT: Schema = {"type": "string", "format": "date-time", "nullable": True}
DURATION = _or_null(WHOLE)
NODE_STATE = _object(
    {
        "status": {"type": "string", "enum": [status.value for status in NodeStatus]},
        "attempt": WHOLE,
        "startedAt": MOMENT,
        "finishedAt": MOMENT,
        "durationMs": DURATION,
        "itemCounts": COUNTS_BY_PORT,
        "error": ERROR,
        "willRetryAt": MOMENT,
        "waitUntil": MOMENT,
        "progress": PROGRESS,
    }
)
STATE = _object(
    {
        "executionId": {"type": "string", "format": "uuid"},
        "seq": WHOLE,
        "status": {"type": "string", "enum": [status.value for status in RunStatus]},
        "startedAt": MOMENT,
        "finishedAt": MOMENT,
        "durationMs": DURATION,
        "error": RUN_ERROR,
        "progress": _object({"done": WHOLE, "total": WHOLE}),
        "nodes": _by_name(NODE_STATE),
    },
    description="What the run's events up to `seq` amount to: follow its stream behind `seq`, and nothing is missed.",
)


@extend_schema_field(OpenApiTypes.DATETIME)
class MomentField(serializers.Field[Any, Any, str, Any]):
    """A moment as events write it too: UTC, with microseconds."""

    def to_representation(self, value: datetime) -> str:
        return iso(value)


@extend_schema_field(DURATION)
class DurationField(serializers.Field[Any, Any, "int | None", Any]):
    """Whole milliseconds from `started_at` to `finished_at` of a row; null before its end."""

    def __init__(self, source: str = "*") -> None:
        super().__init__(source=source, read_only=True)

    def to_representation(self, value: Any) -> int | None:
        if value.started_at is None or value.finished_at is None:
            return None
        return duration_ms(value.started_at, value.finished_at)


class StoredJSONField(serializers.Field[Any, Any, Any, Any]):
    """A JSON value, shown as it is stored."""

    def __init__(self, **options: Any) -> None:
        super().__init__(read_only=True, **options)

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field(ANY_OBJECT)
class ObjectField(StoredJSONField):
    """The input of a run."""


@extend_schema_field(OUTPUT)
class OutputField(StoredJSONField):
    """The output of a run: by node id, the items of each port."""


@extend_schema_field(ITEMS_BY_PORT)
class ItemsField(StoredJSONField):
    """The items of each port of a node."""


@extend_schema_field(COUNTS_BY_PORT)
class CountsField(StoredJSONField):
    """Numbers of items by output port."""


@extend_schema_field(ERROR)
class ErrorField(StoredJSONField):
    """What went wrong in a node."""


@extend_schema_field(RUN_ERROR)
class RunErrorField(StoredJSONField):
    """What a run failed with."""


@extend_schema_field(PROGRESS)
class ProgressField(StoredJSONField):
    """What a running node last said of itself."""


@extend_schema_field(STATE)
class StateField(StoredJSONField):
    """The state of a run and its nodes."""


@extend_schema_field(ANY_OBJECT)
class InputField(serializers.Field[Any, Any, Any, Any]):
    """Whatever is posted as a run's input; the run says whether it can start with it."""

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value
