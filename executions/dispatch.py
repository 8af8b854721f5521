"""Starting runs: a new one, or one that retries another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from django.contrib.auth.models import User
from django.db import IntegrityError

from executions import limits, runtime
from executions.conf import execution_settings
from executions.engine.values import encode_json
from executions.errors import FlowBusy, FlowInactive, FlowInvalid, IdempotencyConflict, InputInvalid, RetryRefused
from executions.journal.transactions import write_transaction
from executions.models import Execution, Mode, NodeExecution
from executions.plans import plan_of
from executions.reuse import reusable_nodes
from executions.statuses import RUN_ENDED, NodeStatus
from flows.graph import parse_graph
from flows.models import Flow, FlowVersion
from flows.versions import newest_version

MAX_INPUT_DEPTH = 64
"""Objects and lists within one another."""

KEY_CHARACTERS = 200


def start_execution(
    flow: Flow, *, input_data: object, requester: User | None, mode: Mode, idempotency_key: str | None = None
) -> Execution:
    """Create a run of the flow's newest version and bring it to a worker when the transaction is committed.

    With an `idempotency_key` that the requester has used before, the run made then is returned. Raises InputInvalid,
    FlowInactive, FlowBusy, FlowInvalid, IdempotencyConflict.
    """
    given = check_input(input_data)
    if idempotency_key is not None:
        idempotency_key = _check_key(idempotency_key, requester)
        if earlier := _same_request(flow, given, requester, idempotency_key):
            return earlier
    _check_active(flow)
    version = _newest_version(flow)
    plan_of(version)
    execution = Execution(
        flow=flow,
        flow_version=version,
        mode=mode.value,
        input=given,
        requester=requester,
        idempotency_key=idempotency_key,
        priority=flow.priority,
    )
    try:
        with write_transaction():
            _check_room(flow)
            execution.save(force_insert=True)
            runtime.executor().enqueue(execution.id, execution.priority)
    except IntegrityError:
        # Two requests with the same key at once: the other one was first.
        repeated = _same_request(flow, given, requester, idempotency_key) if idempotency_key else None
        if repeated is None:
            raise
        return repeated
    return execution


def _newest_version(flow: Flow) -> FlowVersion:
    try:
        return newest_version(flow)
    except FlowVersion.DoesNotExist as error:
        raise FlowInvalid(f"The flow {flow.name!r} has no version yet.", []) from error


def check_input(input_data: object, *, what: str = "input", field: str = "input_data") -> dict[str, Any]:
    """The input as a run can start with it, or be resumed with it. Raises InputInvalid."""
    if not isinstance(input_data, Mapping):
        hint = f'For no {what} send {{}}, for a list {{"items": [...]}}.'
        raise InputInvalid(f"The {what} must be a JSON object.", field=field, hint=hint)
    if _depth(input_data) > MAX_INPUT_DEPTH:
        raise InputInvalid(f"The {what} is nested deeper than {MAX_INPUT_DEPTH} levels.", field=field)
    try:
        size = len(encode_json(input_data))
    except (TypeError, ValueError) as error:
        raise InputInvalid(f"The {what} is not JSON: {error}.", field=field) from error
    limit = execution_settings().max_input_bytes
    if size > limit:
        raise InputInvalid(f"The {what} is {size:,} bytes of JSON; at most {limit:,} are allowed.", field=field)
    return dict(input_data)


def _depth(value: object) -> int:
    """Levels of nesting, counted without recursion, and no further than is needed to refuse it."""
    level, depth = [value], 0
    while level and depth <= MAX_INPUT_DEPTH:
        depth += 1
        level = [
            inner
            for outer in level
            for inner in (
                outer.values() if isinstance(outer, Mapping) else outer if isinstance(outer, list | tuple) else ()
            )
            if isinstance(inner, Mapping | list | tuple)
        ]
    return depth


def _check_key(key: str, requester: User | None) -> str:
    if not key or len(key) > KEY_CHARACTERS or not key.isprintable():
        raise InputInvalid(
            f"An idempotency key has 1 to {KEY_CHARACTERS} printable characters.", field="Idempotency-Key"
        )
    if requester is None:
        raise InputInvalid("An idempotency key needs a requester.", field="Idempotency-Key")
    return key


def _same_request(flow: Flow, given: dict[str, Any], requester: User | None, key: str) -> Execution | None:
    earlier = Execution.objects.filter(requester=requester, idempotency_key=key).first()
    if earlier is not None and (earlier.flow_id != flow.pk or earlier.input != given):
        raise IdempotencyConflict(
            f"The idempotency key {key!r} was used for another request, which made run {earlier.id}.",
            hint="Use a new key for each request, and the same one only to repeat it unchanged.",
        )
    return earlier


def _check_active(flow: Flow) -> None:
    if not flow.active:
        raise FlowInactive(f"The flow {flow.name!r} is not active.", hint="Activate it, then run it again.")


def _check_room(flow: Flow) -> None:
    """Raises FlowBusy where the flow refuses more runs than it may execute at once. In the transaction that makes the
    run."""
    if flow.max_concurrent_runs is None or flow.when_full != Flow.WhenFull.REFUSE:
        return
    for locked in limits.lock([flow.pk]):
        if limits.is_full(locked):
            runs = "run" if locked.max_concurrent_runs == 1 else "runs"
            raise FlowBusy(
                f"The flow {flow.name!r} executes {locked.max_concurrent_runs} {runs} at once and no more.",
                hint="Try again when one has ended, or let the flow queue its runs.",
            )


def retry_execution(
    execution: Execution,
    *,
    requester: User | None,
    origin: Literal["start", "failed"] = "start",
    version: Literal["same", "newest"] = "same",
) -> Execution:
    """A new run with the input of one that has ended.

    From "failed", what succeeded in that run and has not changed is taken over instead of being run again. Raises
    RetryRefused, FlowInactive, FlowBusy, FlowInvalid.
    """
    if execution.status not in RUN_ENDED:
        raise RetryRefused(f"The run is {execution.status}; only a run that has ended can be retried.")
    if origin == "failed" and execution.status == "success":
        raise RetryRefused("The run succeeded: there is no failed node to retry from.", hint="Retry from the start.")
    _check_active(execution.flow)
    target = execution.flow_version if version == "same" else _newest_version(execution.flow)
    plan_of(target)
    retry = Execution(
        flow=execution.flow,
        flow_version=target,
        mode=Mode.RETRY.value,
        input=execution.input,
        requester=requester,
        retry_of=execution,
        priority=execution.flow.priority,
    )
    try:
        with write_transaction():
            _check_room(execution.flow)
            retry.save(force_insert=True)
            if origin == "failed":
                _take_over(execution, retry)
            runtime.executor().enqueue(retry.id, retry.priority)
    except IntegrityError as error:
        raise RetryRefused(f"The run {execution.id} was deleted meanwhile.") from error
    return retry


def _take_over(source: Execution, retry: Execution) -> None:
    """Copy what the retry need not run again."""
    rows = list(NodeExecution.objects.filter(execution=source).order_by("node_id", "attempt"))
    newest = {row.node_id: row for row in rows}
    kept = {NodeStatus.SUCCESS.value, NodeStatus.SKIPPED.value}
    settled = {node_id for node_id, row in newest.items() if row.status in kept}
    before, after = parse_graph(source.flow_version.graph), parse_graph(retry.flow_version.graph)
    copies = [newest[node_id] for node_id in reusable_nodes(before, after, settled)]
    for copy in copies:
        copy.pk = None
        copy.execution = retry
    NodeExecution.objects.bulk_create(copies)
