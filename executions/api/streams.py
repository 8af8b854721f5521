"""The event streams of runs: of one that there is already, and of one that the same request starts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import wraps
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from executions import sse, stream
from executions.api.errors import BAD_REQUEST, CONFLICT, FORBIDDEN, NOT_FOUND, AnswersFaults
from executions.api.serializers import StartSerializer
from executions.api.start import start_run, was_started
from executions.api.views import IDEMPOTENCY_KEY, get_execution
from executions.models import Execution
from executions.responses import EventStreamResponse
from executions.statuses import RUN_ENDED

RESUME_HEADER = "Last-Event-ID"
RESUME_PARAMETER = "after"

RESUME = [
    OpenApiParameter(
        RESUME_HEADER,
        int,
        OpenApiParameter.HEADER,
        description="Send the events behind this one. It wins over `after`.",
    ),
    OpenApiParameter(RESUME_PARAMETER, int, description="The same, for a client that cannot set headers."),
]
EVENTS = OpenApiResponse(
    OpenApiTypes.STR, description="Server-sent events; each is `{type, data}`, and its id is its number in the run."
)
NOTHING_MORE = OpenApiResponse(description="The run has ended, and the client has seen its last event.")


class StreamView(AnswersFaults):
    """A view whose answer may be an event stream.

    Everything up to the stream's start is ordinary, synchronous and done in one visit to a thread: authentication,
    parsing, access, starting. The stream itself needs no thread, and holds no connection to the database.
    """

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        answer = super().as_view(**initkwargs)

        @wraps(answer)
        async def stream_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            # Whatever middleware would compress the stream asks what the client accepts.
            request.META["HTTP_ACCEPT_ENCODING"] = "identity"
            return await sync_to_async(_answer_and_disconnect)(answer, request, *args, **kwargs)

        return stream_view

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        # A browser's EventSource accepts text/event-stream and nothing else; errors are JSON for it too.
        return super().perform_content_negotiation(request, force=True)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer["Cache-Control"] = "no-store"
        return answer


def _answer_and_disconnect(answer: Callable[..., HttpResponseBase], *args: Any, **kwargs: Any) -> HttpResponseBase:
    """Call a view, and let go of this thread's connections: a stream may last for hours, and would keep them."""
    try:
        return answer(*args, **kwargs)
    finally:
        for connection in connections.all(initialized_only=True):
            if not connection.in_atomic_block:
                connection.close()


class ExecutionStreamView(StreamView):
    @extend_schema(
        parameters=RESUME,
        responses={(200, sse.MEDIA_TYPE): EVENTS, 204: NOTHING_MORE, 400: BAD_REQUEST, 404: NOT_FOUND},
    )
    def get(self, request: Request, execution_id: UUID) -> HttpResponseBase:
        """The run's events: those that were, then each as it happens, up to the last one."""
        return _events_behind(get_execution(request, execution_id), *_last_event_id(request))

    @extend_schema(exclude=True)
    def head(self, request: Request, execution_id: UUID) -> HttpResponseBase:
        """What `get` would answer, without the stream."""
        answer = self.get(request, execution_id)
        return EventStreamResponse(_nothing()) if answer.streaming else answer


class StartStreamView(StreamView):
    @extend_schema(
        request=StartSerializer,
        parameters=[IDEMPOTENCY_KEY, *RESUME],
        responses={
            (200, sse.MEDIA_TYPE): EVENTS,
            204: NOTHING_MORE,
            400: BAD_REQUEST,
            403: FORBIDDEN,
            404: NOT_FOUND,
            409: CONFLICT,
        },
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Start a run and follow it. `Location` says where to resume; whatever becomes of this request, it goes on."""
        after, named = _last_event_id(request)
        if after and not was_started(request):
            raise ValidationError({named: [STARTS_ANEW]})
        execution = start_run(request)
        answer = _events_behind(execution, after, named)
        answer["Location"] = reverse("api-execution-stream", args=[execution.pk])
        return answer


STARTS_ANEW = (
    "This request would start a new run, which has no events yet. To go on with the run that was started before, send "
    "GET to the Location that was answered, or repeat the Idempotency-Key."
)


def _last_event_id(request: Request) -> tuple[int, str]:
    """The event that the client has seen last, and what it said so with. Raises ValidationError."""
    # Empty: none (HTML, 9.2.4), by either way.
    header = request.headers.get(RESUME_HEADER, "").strip()
    parameter = request.query_params.get(RESUME_PARAMETER, "").strip()
    named, text = (RESUME_HEADER, header) if header else (RESUME_PARAMETER, parameter or "0")
    try:
        return sse.parse_last_event_id(text), named
    except ValueError as error:
        raise ValidationError({named: [str(error)]}) from error


def _events_behind(execution: Execution, after: int, named: str) -> HttpResponseBase:
    """The stream, or 204 when there will be nothing on it. Raises ValidationError."""
    if after > execution.last_seq:
        message = f"The run has no event {after}: its newest is {execution.last_seq}. Is this the id of another run?"
        raise ValidationError({named: [message]})
    if execution.status in RUN_ENDED and after == execution.last_seq:
        return Response(status=status.HTTP_204_NO_CONTENT)
    return EventStreamResponse(stream.frames(execution.pk, after))


async def _nothing() -> AsyncGenerator[bytes, None]:
    for frame in tuple[bytes, ...]():
        yield frame
