"""Spans: what they tell of runs and nodes, that they hang together, and that no run notices them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import uuid_utils.compat
from django.contrib.auth.models import User
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import StatusCode

from executions import control, runtime, tracing
from executions.dispatch import start_execution
from executions.events import iso
from executions.models import Execution, Mode, NodeExecution
from flows.context import NodeContext
from tests.integration.execution_data import make_flow, wait_for_status
from tests.integration.flow_data import make_user
from tests.integration.scripted_nodes import Gate, Scripts, scripted_chain
from tests.servers import wait_until

pytestmark = pytest.mark.usefixtures("executor", "scripts")


def use_provider(monkeypatch: pytest.MonkeyPatch, provider: trace.TracerProvider) -> None:
    # OpenTelemetry lets a process set its provider only once.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch, executor: None) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    use_provider(monkeypatch, provider)
    yield exporter
    runtime.shutdown()
    provider.shutdown()


@pytest.fixture
def author(executor: None) -> User:
    return make_user("author")


def start(author: User, *ids: str, **settings: Any) -> Execution:
    flow = make_flow(author, scripted_chain(*ids, **settings), name="Nightly")
    return start_execution(flow, input_data={}, requester=author, mode=Mode.API)


def spans_of(exporter: InMemorySpanExporter, run: Execution, stretches: int = 1) -> list[ReadableSpan]:
    """All spans, as soon as so many of the run itself are there."""

    def found() -> list[ReadableSpan]:
        return [span for span in exporter.get_finished_spans() if span.context.trace_id == run.pk.int]

    wait_until(lambda: sum(is_run(span) for span in found()) == stretches, 10, lambda: f"spans, not {found()}")
    return sorted(found(), key=lambda span: span.start_time or 0)


def is_run(span: ReadableSpan) -> bool:
    return "wataomi.execution.status" in (span.attributes or {})


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return {name.removeprefix("wataomi."): value for name, value in (span.attributes or {}).items()}


def test_a_run_and_each_of_its_nodes_have_a_span(exporter: InMemorySpanExporter, author: User) -> None:
    run = start(author, "a", "b")
    wait_for_status(run.pk)
    whole, *nodes = spans_of(exporter, run)
    assert whole.name == "run Nightly" and whole.status.status_code is StatusCode.UNSET
    assert attributes_of(whole) == {
        "execution.id": str(run.pk),
        "flow.id": run.flow_id,
        "flow.name": "Nightly",
        "flow.version": 1,
        "execution.mode": "api",
        "execution.epoch": 1,
        "execution.continued": False,
        "execution.status": "success",
    }
    assert [span.name for span in nodes] == ["Start", "A", "B"]
    assert all(span.parent is not None and span.parent.span_id == whole.context.span_id for span in nodes)
    assert attributes_of(nodes[1]) == {
        "execution.id": str(run.pk),
        "flow.id": run.flow_id,
        "node.id": "a",
        "node.name": "A",
        "node.type": "scripted",
        "node.attempt": 1,
        "node.status": "success",
    }


def test_a_node_s_span_has_the_times_of_its_row(exporter: InMemorySpanExporter, author: User) -> None:
    run = start(author, "a")
    wait_for_status(run.pk)
    span = spans_of(exporter, run)[-1]
    row = NodeExecution.objects.get(execution=run, node_id="a")
    assert row.started_at is not None and row.finished_at is not None
    assert span.to_json().count(iso(row.started_at)) == 1 or row.started_at == row.finished_at
    assert (span.start_time, span.end_time) == (tracing._ns(row.started_at), tracing._ns(row.finished_at))


def test_each_attempt_has_a_span_and_a_failed_one_says_why(
    exporter: InMemorySpanExporter, author: User, scripts: Scripts
) -> None:
    async def fail(ctx: NodeContext) -> None:
        raise ValueError("no such file")

    scripts["a"] = fail
    run = start(author, "a", a={"retry": {"max_attempts": 2, "backoff": 0.001}})
    assert wait_for_status(run.pk) == "error"
    whole, _, first, second = spans_of(exporter, run)
    assert [attributes_of(span)["node.attempt"] for span in (first, second)] == [1, 2]
    for span in (whole, first, second):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is not None and "no such file" in span.status.description
        assert attributes_of(span)["error.type"] == "ValueError"
    assert attributes_of(whole)["execution.status"] == "error"


def test_a_run_that_paused_has_two_stretches_in_one_trace(
    exporter: InMemorySpanExporter, author: User, scripts: Scripts
) -> None:
    gate = scripts["a"] = Gate()
    run = start(author, "a", "b")
    gate.wait_entered()
    control.pause(run, requester=author)
    wait_for_status(run.pk, "pausing")
    gate.open()
    wait_for_status(run.pk, "paused")
    spans_of(exporter, run)
    control.resume(run, requester=author)
    wait_for_status(run.pk)
    stretches = [span for span in spans_of(exporter, run, 2) if is_run(span)]
    told = [(attributes_of(span)["execution.status"], attributes_of(span)["execution.continued"]) for span in stretches]
    assert told == [("paused", False), ("success", True)]
    assert len({span.context.trace_id for span in stretches}) == 1
    assert len({span.parent.span_id for span in stretches if span.parent}) == 1
    behind = [span.name for span in spans_of(exporter, run, 2) if span.parent and not is_run(span)]
    assert behind == ["Start", "A", "B"]


def test_a_fault_outside_of_the_nodes_is_on_the_run_s_span(
    exporter: InMemorySpanExporter, author: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from executions.engine.run import Run

    async def broken(*args: Any) -> None:
        raise RuntimeError("a fault of the engine")

    monkeypatch.setattr(Run, "drive", broken)
    run = start(author, "a")
    assert wait_for_status(run.pk) == "error"
    (whole,) = spans_of(exporter, run)
    assert whole.status.status_code is StatusCode.ERROR and whole.events[0].name == "exception"


def test_a_run_that_its_worker_hands_over_has_not_failed(
    exporter: InMemorySpanExporter, author: User, scripts: Scripts
) -> None:
    scripts["a"] = Gate()
    run = start(author, "a")
    wait_until(lambda: NodeExecution.objects.filter(execution=run, node_id="a", status="running").exists())
    runtime.shutdown()
    (stretch,) = filter(is_run, spans_of(exporter, run))
    assert (stretch.status.status_code, len(stretch.events)) == (StatusCode.UNSET, 0)
    assert attributes_of(stretch)["execution.status"] == "running"


class Broken(SpanProcessor):
    def on_start(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the collector is on fire")

    def on_end(self, *args: Any) -> None:
        raise RuntimeError("the collector is on fire")


def test_a_fault_in_tracing_touches_no_run(
    author: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(Broken())
    use_provider(monkeypatch, provider)
    run = start(author, "a")
    assert wait_for_status(run.pk) == "success"
    runtime.shutdown()
    assert "a span was lost" in caplog.text


def test_without_an_sdk_nothing_is_made(author: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*args: Any) -> None:
        raise AssertionError("a span is made")

    assert not tracing.is_on()
    monkeypatch.setattr(tracing, "Stretch", made)
    monkeypatch.setattr(tracing, "_quietly", made)
    run = start(author, "a")
    assert wait_for_status(run.pk) == "success"


def test_nothing_is_kept_of_runs_that_have_left(exporter: InMemorySpanExporter, author: User) -> None:
    run = start(author, "a")
    wait_for_status(run.pk)
    spans_of(exporter, run)
    assert not tracing._stretches


class Held:
    """A run as a worker holds it."""

    def __init__(self) -> None:
        from executions.engine.plan import Plan
        from executions.engine.run import RunHead

        self.execution_id: UUID = uuid_utils.compat.uuid7()
        self.epoch = 1
        flow = {"id": 1, "name": "F", "version": 1}
        self.head = RunHead(execution_id=str(self.execution_id), flow=flow, mode="api", input={})
        self.plan = Plan(())


@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.5, 1.0])
def test_a_sampler_takes_its_share_of_the_runs_and_each_one_always_or_never(
    monkeypatch: pytest.MonkeyPatch, ratio: float
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    use_provider(monkeypatch, provider)
    runs = [Held() for _ in range(1000)]
    for _ in range(2):
        for held in runs:
            with tracing.stretch(held):
                pass
    sampled = [span.context.trace_id for span in exporter.get_finished_spans()]
    assert abs(len(set(sampled)) / len(runs) - ratio) < 0.07
    assert all(sampled.count(found) == 2 for found in set(sampled))


async def test_stretches_of_one_loop_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    use_provider(monkeypatch, provider)

    async def drive(held: Held) -> None:
        with tracing.stretch(held):
            await asyncio.sleep(0.01)

    runs = [Held() for _ in range(5)]
    await asyncio.gather(*(drive(held) for held in runs))
    assert {span.context.trace_id for span in exporter.get_finished_spans()} == {held.execution_id.int for held in runs}
