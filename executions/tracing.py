"""OpenTelemetry spans: one for each stretch that a run spends in a worker, and one for each attempt at a node in it.

All stretches of a run are in one trace, whose id is the run's. Only the API of OpenTelemetry is used here: as long as
no SDK is set up (`opentelemetry-instrument`, or a provider of one's own) nothing is made. Spans tell of what is
committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Protocol
from uuid import UUID

import orjson
from opentelemetry import trace
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracerProvider,
    ProxyTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from executions.engine.plan import Plan
from executions.engine.ports import Entry, HeadRow, NodeValues
from executions.engine.run import RunHead
from executions.events import EventType
from executions.statuses import NodeStatus, RunStatus

logger = logging.getLogger(__name__)

NAME = "wataomi"

LOW_BITS = (1 << 64) - 1


class Held(Protocol):
    """What a worker knows of a run that it holds."""

    @property
    def execution_id(self) -> UUID: ...
    @property
    def epoch(self) -> int: ...
    @property
    def head(self) -> RunHead: ...
    @property
    def plan(self) -> Plan: ...


def is_on() -> bool:
    """Whether spans go anywhere."""
    return not isinstance(trace.get_tracer_provider(), ProxyTracerProvider | NoOpTracerProvider)


class Stretch:
    """The span of a run's time in one worker, and what is needed for those of its nodes."""

    def __init__(self, held: Held) -> None:
        head = held.head
        self._tracer = trace.get_tracer(NAME)
        self._names = {planned.node.id: (planned.node.name, planned.node.type) for planned in held.plan.nodes}
        self._common = {"wataomi.execution.id": str(held.execution_id), "wataomi.flow.id": head.flow["id"]}
        attributes = self._common | {
            "wataomi.flow.name": head.flow["name"],
            "wataomi.flow.version": head.flow["version"],
            "wataomi.execution.mode": head.mode,
            "wataomi.execution.epoch": held.epoch,
            "wataomi.execution.continued": head.seq > 0,
        }
        name = f"run {head.flow['name']}"
        self._span = self._tracer.start_span(name, _root(held.execution_id, name), SpanKind.CONSUMER, attributes)
        self._status: RunStatus = head.status
        self._context = trace.set_span_in_context(self._span)

    def observe(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.head is not None:
                self._note(entry.head)
            if entry.type == EventType.NODE_AFTER and entry.node is not None:
                self._node(entry.node)

    def _note(self, head: HeadRow) -> None:
        self._status = head.status
        if head.status == RunStatus.ERROR:
            _fail(self._span, head.error)

    def _node(self, values: NodeValues) -> None:
        node_id, attempt, status, started_at, finished_at = values[:5]
        name, type_name = self._names.get(node_id, (node_id, ""))
        attributes = self._common | {
            "wataomi.node.id": node_id,
            "wataomi.node.name": name,
            "wataomi.node.type": type_name,
            "wataomi.node.attempt": attempt,
            "wataomi.node.status": status.value,
        }
        span = self._tracer.start_span(name, self._context, SpanKind.INTERNAL, attributes, start_time=_ns(started_at))
        if status == NodeStatus.ERROR:
            _fail(span, values[8])
        span.end(_ns(finished_at or started_at))

    def end(self, error: BaseException | None) -> None:
        self._span.set_attribute("wataomi.execution.status", self._status.value)
        if error is not None:
            self._span.record_exception(error)
            self._span.set_status(Status(StatusCode.ERROR, str(error)))
        self._span.end()


_stretches: dict[tuple[UUID, int], Stretch] = {}


@contextmanager
def stretch(held: Held) -> Iterator[None]:
    """The time that a worker drives a run, from its claim to where it leaves."""
    if not is_on():
        yield
        return
    key = (held.execution_id, held.epoch)
    _quietly(lambda: _stretches.__setitem__(key, Stretch(held)))
    error: BaseException | None = None
    try:
        yield
    except asyncio.CancelledError:
        raise  # the worker ends, and gives the run to another one
    except BaseException as raised:
        error = raised
        raise
    finally:
        ending = _stretches.pop(key, None)
        if ending is not None:
            _quietly(lambda: ending.end(error))


def observe(execution_id: UUID, epoch: int, entries: Sequence[Entry]) -> None:
    """Note what was committed of a run. From the journal's thread, before anybody is told that it is durable."""
    if _stretches:
        running = _stretches.get((execution_id, epoch))
        if running is not None:
            _quietly(lambda: running.observe(entries))


def _quietly(action: Callable[[], None]) -> None:
    """Whatever goes wrong in a provider or an exporter, no run knows of it."""
    try:
        action()
    except Exception:
        logger.exception("tracing: a span was lost")


def _root(execution_id: UUID, name: str) -> Any:
    """A context in the run's trace. Its span is one that nobody makes: each stretch is a child of it, whoever makes it.

    Whether the run is sampled is decided here, and each time in the same way. A sampler that goes by a ratio takes an
    id for random, and the first bits of a UUIDv7's lower half are always the same: so it gets a digest.
    """
    trace_id = execution_id.int
    random_id = int.from_bytes(blake2b(execution_id.bytes, digest_size=16).digest())
    sampler = getattr(trace.get_tracer_provider(), "sampler", None)
    sampled = sampler is None or sampler.should_sample(None, random_id, name).decision.is_sampled()
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    root = SpanContext(trace_id=trace_id, span_id=trace_id & LOW_BITS, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(root))


def _fail(span: Span, encoded: bytes | None) -> None:
    error: Mapping[str, Any] = {} if encoded is None else orjson.loads(encoded)
    span.set_attribute("error.type", str(error.get("type", "")))
    span.set_status(Status(StatusCode.ERROR, str(error.get("message", ""))))


def _ns(moment: datetime) -> int:
    """Nanoseconds since 1970, exactly."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
