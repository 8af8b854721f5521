"""One run: which node starts when, and what every end of a node leads to. Pure."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson

from executions.engine import messages
from executions.engine.attempt import CANCEL_GRACE, perform
from executions.engine.backoff import backoff_seconds
from executions.engine.plan import Plan, PlanNode
from executions.engine.ports import Clock, Entry, HeadRow, JournalLost, JournalRefused, NodeRow, RunJournal
from executions.engine.progress import ProgressReporter, Report
from executions.engine.timers import Timers
from executions.engine.values import Encoded, decode, encode_json, encode_ports, join_lists, join_object, preview
from executions.events import EventType, iso, merge_progress
from executions.statuses import NODE_SETTLED, NodeStatus, RunStatus
from flows.context import Items, NodeContext, NodeError, Ports, Resumption, Scope, Suspend
from flows.graph import ERROR_PORT, MAIN, OnError

logger = logging.getLogger(__name__)

RunCommand = tuple[str, int] | tuple[str, int, str, Mapping[str, Any] | None]
"""Kind and id; a signal's also says for which node it is, and what it brings."""

_UNDER_WAY = frozenset({NodeStatus.RUNNING, NodeStatus.WAITING, NodeStatus.QUEUED})
"""A node in one of these has begun an attempt and not ended it; `queued` is one whose wait is over."""


class Outcome(StrEnum):
    """Why a run left the engine."""

    ENDED = "ended"
    PAUSED = "paused"
    WAITING = "waiting"
    HANDED_OVER = "handed over"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunHead:
    """The run as it stands when the engine gets it. `seq` is that of its newest event, 0 before the first."""

    execution_id: str
    flow: Mapping[str, Any]  # id, name, version
    mode: str
    input: Mapping[str, Any]
    seq: int = 0
    status: RunStatus = RunStatus.QUEUED
    started_at: datetime | None = None
    resume_urls: Mapping[str, str] = field(default_factory=dict)
    """By the name of each node that can be resumed from outside."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """The newest attempt at a node, as stored; `resumption` is what ended its last wait, if it has waited."""

    status: NodeStatus
    attempt: int
    outputs: Encoded | None = None
    started_at: datetime | None = None
    retry_at: datetime | None = None
    wait_until: datetime | None = None
    resumption: Resumption | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLimits:
    """Bytes of JSON that one node may return, and seconds: between two progress events of a node, and how far away the
    end of a wait must be for the run to leave its worker."""

    output_bytes: int = 64 * 1024 * 1024
    progress_interval: float = 0.1
    park_after: float = 30.0


@dataclass(slots=True)
class _Node:
    """What the run knows of one node."""

    planned: PlanNode
    unsettled_feeds: int
    fed: bool = False
    status: NodeStatus = NodeStatus.IDLE
    attempt: int = 0
    seq: int = 0
    outputs: Encoded = field(default_factory=dict)
    started_at: datetime | None = None
    retry_at: datetime | None = None
    wait_until: datetime | None = None
    resumption: Resumption | None = None

    @property
    def settled(self) -> bool:
        return self.status in NODE_SETTLED and self.retry_at is None

    @property
    def waits(self) -> bool:
        """Whether it goes on when its time comes, or when it is told to."""
        return self.status is NodeStatus.WAITING or self.retry_at is not None

    @property
    def goes_on_at(self) -> datetime | None:
        """Of a node that waits: when it goes on by itself."""
        return self.wait_until if self.retry_at is None else self.retry_at


class Run:
    """Drives one run from where it stands to its end, or to where it pauses, waits or is handed over.

    Everything happens on one event loop. What a step emits is given to the journal as one group, so that a crash finds
    either all of the step or nothing of it.
    """

    def __init__(
        self,
        plan: Plan,
        head: RunHead,
        journal: RunJournal,
        clock: Clock,
        *,
        restored: Mapping[str, Restored] | None = None,
        limits: RunLimits | None = None,
    ) -> None:
        self._head = head
        self._journal = journal
        self._clock = clock
        self._limits = limits or RunLimits()
        self._seq = head.seq
        self._status = head.status
        self._started_at = head.started_at or clock.now()
        self._nodes = [_Node(planned, planned.feeds) for planned in plan.nodes]
        self._restored = restored or {}
        self._done = 0
        self._ready: deque[_Node] = deque()
        self._held: list[_Node] = []
        self._timers = Timers(clock, self._ring, self._fault)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._rows: dict[int, NodeRow] = {}
        self._group: list[Entry] = []
        self._holding = False
        self._handing_over = False
        self._begun = False
        self._ending = False
        self._obeyed: int | None = None
        self.newest_command = 0
        """The id of the newest command that was dealt with here."""
        self.failure: Mapping[str, Any] | None = None
        """nodeId, nodeName, type, message and hint of what ended the run, once it has failed."""
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    # -- from outside -------------------------------------------------------------------------------------------------

    async def drive(self, commands: Sequence[RunCommand] = ()) -> Outcome:
        """Run until the run ends, pauses, waits or is handed over, and all of that is committed.

        `commands` waited for the run to be taken: they are obeyed before a node starts. Raises JournalLost when another
        worker took the run over, JournalRefused when its records cannot be written.
        """
        try:
            self._begin(commands)
            outcome = await self._outcome
            await self._journal.committed(self._seq)
            return outcome
        finally:
            self._ending = True
            self._timers.stop_all()
            for task in self._tasks.values():
                task.cancel()

    def obey(self, kind: str, command: int, node_id: str = "", data: Mapping[str, Any] | None = None) -> bool:
        """Deal with a command; False when the run has left the engine and the next to take it must. `command` is its
        id: the next event of the run says that it is dealt with, so a crash before that leaves it to be obeyed. A
        signal is for the node `node_id`, and brings `data`."""
        if self._outcome.done():
            return False
        # Until it is noted in the database a command is read again and again; an old pause must not undo a new resume.
        if command > self.newest_command:
            self.newest_command = self._obeyed = command
            if kind == "signal":
                self.signal(node_id, data, command)
            else:
                {"pause": self.pause, "resume": self.resume, "cancel": self.cancel}[kind](command)
        return True

    @property
    def status(self) -> RunStatus:
        return self._status

    def abort(self, error: Exception) -> None:
        """Stop at once and write nothing more."""
        self._ending = True
        if not self._outcome.done():
            self._outcome.set_exception(error)

    def pause(self, command: int | None = None) -> None:
        """Let running nodes end, and start no other."""
        if self._ending or self._status not in (RunStatus.RUNNING, RunStatus.QUEUED, RunStatus.WAITING):
            return
        self._obeyed = command
        self._status = RunStatus.PAUSING
        self._hold()
        if self._tasks:
            self._emit(EventType.EXECUTION_PAUSED, messages.paused(RunStatus.PAUSING, "command"), head=self._head_row())
        self._step()

    def resume(self, command: int | None = None) -> None:
        """Go on after a pause."""
        if self._ending or self._status not in (RunStatus.PAUSING, RunStatus.PAUSED):
            return
        self._obeyed = command
        self._holding = self._handing_over
        self._status = RunStatus.RUNNING
        self._emit(EventType.EXECUTION_RESUMED, messages.resumed(self._status, "command"), head=self._head_row())
        held, self._held = self._held, []
        for node in held:
            self._launch(node)
        self._step()

    def signal(self, node_id: str, data: Mapping[str, Any] | None, command: int | None = None) -> None:
        """End the wait of a node; of one that does not wait (any more), nothing is changed."""
        node = next((node for node in self._nodes if node.planned.node.id == node_id), None)
        if self._ending or node is None or node.status is not NodeStatus.WAITING:
            return
        self._obeyed = command
        self._end_wait(node, Resumption(kind="signal", data=data), command)
        if self._timers.stop(node.planned.index):
            self._start(node)
        self._step()

    def cancel(self, command: int | None = None) -> None:
        """End the run now; running nodes are cancelled."""
        if not self._ending:
            self._obeyed = command
            self._stop(None)

    def hand_over(self) -> None:
        """Let running nodes end, start no other, and leave the run for another worker."""
        self._handing_over = True
        self._hold()
        self._step()

    # -- begin --------------------------------------------------------------------------------------------------------

    def _begin(self, commands: Sequence[RunCommand]) -> None:
        self._restore()
        if self._seq == 0:
            self._status = RunStatus.RUNNING
            listed = [(node.planned, node.status) for node in self._nodes]
            data = messages.started(self._head.flow, self._head.mode, self._started_at, listed)
            self._emit(EventType.EXECUTION_STARTED, data, head=self._head_row())
        self._holding = self._holding or self._status in (RunStatus.PAUSING, RunStatus.PAUSED)
        self._flush()
        if self._finish_interrupted_end():
            return
        for command in commands:
            self.obey(*command)
        self._begun = True
        self._ready.extend(node for node in self._nodes if node.unsettled_feeds == 0 and not node.settled)
        self._step()

    def _restore(self) -> None:
        for node in self._nodes:
            known = self._restored.get(node.planned.node.id)
            if known is None:
                continue
            node.status, node.attempt, node.retry_at = known.status, known.attempt, known.retry_at
            node.started_at, node.wait_until, node.resumption = known.started_at, known.wait_until, known.resumption
            node.outputs = known.outputs or {}
            if node.settled:
                self._done += 1
                self._feed(node)
        self._ready.clear()  # _begin() fills it, with what is not settled

    def _finish_interrupted_end(self) -> bool:
        """Whether the run had failed before the worker went away, and is now ended."""
        for node in self._nodes:
            known = self._restored.get(node.planned.node.id)
            if known is None or not node.settled or node.status is not NodeStatus.ERROR or node.outputs:
                continue
            if node.planned.node.settings.on_error is OnError.STOP:
                error = known.error or {"type": "NodeError", "message": "The node failed.", "hint": ""}
                self._stop((node, NodeError(error["message"], hint=error["hint"], type=error["type"])))
                return True
        return False

    # -- scheduling ---------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Start or skip all that is ready, write what was emitted, and see whether the run is over."""
        while self._ready and not self._ending:
            node = self._ready.popleft()
            if self._runs(node):
                self._launch(node)
            else:
                self._skip(node)
        self._flush()
        if self._begun and not self._tasks and not self._ending:
            self._leave()

    def _runs(self, node: _Node) -> bool:
        return node.fed or (node.planned.behaviour.trigger and not node.planned.node.settings.disabled)

    def _leave(self) -> None:
        if self._done == len(self._nodes):
            self._finish()
        elif self._parks():
            if self._status is not RunStatus.WAITING:
                self._status = RunStatus.WAITING
                data = messages.waiting(self._status, "nothing is left but to wait", self._wakes_at(), None)
                self._emit(EventType.EXECUTION_WAITING, data, head=self._head_row())
                self._flush()
            self._settle_outcome(Outcome.WAITING)
        elif self._handing_over:
            self._settle_outcome(Outcome.HANDED_OVER)
        elif self._status in (RunStatus.PAUSING, RunStatus.PAUSED):
            if self._status is RunStatus.PAUSING:
                self._status = RunStatus.PAUSED
                data = messages.paused(RunStatus.PAUSED, "command")
                self._emit(EventType.EXECUTION_PAUSED, data, head=self._head_row())
                self._flush()
            self._settle_outcome(Outcome.PAUSED)

    def _launch(self, node: _Node) -> None:
        if self._holding:
            self._held.append(node)
        elif node.waits:
            self._timers.start(node.planned.index, node.goes_on_at)
        else:
            self._start(node)

    def _start(self, node: _Node) -> None:
        task = asyncio.ensure_future(self._work(node))
        task.add_done_callback(lambda task: self._check(node, task))
        self._tasks[node.planned.index] = task

    def _check(self, node: _Node, task: asyncio.Task[None]) -> None:
        """A node's task that ends in any other way than it should must not leave the run hanging."""
        fault: BaseException | None = None
        if not task.cancelled():
            fault = task.exception()
        elif self._tasks.get(node.planned.index) is task:
            fault = asyncio.CancelledError("The node's task was cancelled from outside of the run.")
        if fault is not None:
            self._fault(node.planned.index, fault)

    def _fault(self, index: int, fault: BaseException) -> None:
        """A fault of the engine itself ends the run with an error."""
        if self._ending:
            return
        node = self._nodes[index]
        logger.error("execution %s: node %s", self._head.execution_id, node.planned.node.name, exc_info=fault)
        hint = "This is a fault of the engine; the log has the traceback."
        self._stop((node, NodeError(str(fault), type=type(fault).__name__, hint=hint)))

    # -- waits --------------------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        """From now on start nothing; what waits is kept until the run goes on, here or elsewhere."""
        self._holding = True
        self._held.extend(self._nodes[index] for index in self._timers.stop_all())

    def _suspend(self, node: _Node, row: NodeRow, wait: Suspend) -> None:
        """The node goes on waiting without a task, and the run, when nothing else is left of it, without a worker."""
        row.status, row.wait_until, row.progress = NodeStatus.WAITING, wait.until, None
        node.status, node.wait_until, node.resumption = NodeStatus.WAITING, wait.until, None
        del self._tasks[node.planned.index], self._rows[node.planned.index]
        self._launch(node)
        head = None
        if self._parks():
            self._status = RunStatus.WAITING
            head = self._head_row()
        data = messages.waiting(self._status, wait.reason, wait.until, node.planned, node.attempt)
        self._emit(EventType.EXECUTION_WAITING, data, row=row, head=head)

    def _ring(self, index: int) -> None:
        """The time of a node that waits has come."""
        node = self._nodes[index]
        if node.status is NodeStatus.WAITING:
            self._end_wait(node, Resumption(kind="timeout"))
        elif self._status is RunStatus.WAITING:
            self._status = RunStatus.RUNNING
            self._emit(EventType.EXECUTION_RESUMED, messages.resumed(self._status, "retry"), head=self._head_row())
        self._start(node)
        self._flush()

    def _end_wait(self, node: _Node, resumption: Resumption, command: int | None = None) -> None:
        """What ended a wait is recorded before the node runs again, so that it is told the same after a crash."""
        head = None
        if self._status is RunStatus.WAITING:
            self._status = RunStatus.RUNNING
            head = self._head_row()
        node.status, node.wait_until, node.resumption = NodeStatus.QUEUED, None, resumption
        data = messages.resumed(self._status, resumption.kind, node.planned, node.attempt, command)
        self._emit(EventType.EXECUTION_RESUMED, data, row=self._row(node), head=head)
        node.seq = self._seq

    def _parks(self) -> bool:
        """Whether nothing is left but to wait, and for so long that no worker should be kept for it."""
        if self._tasks or self._ready or self._status not in (RunStatus.RUNNING, RunStatus.WAITING):
            return False
        if not any(node.waits for node in self._nodes) or not all(node.waits for node in self._held):
            return False
        end = self._wakes_at()
        return end is None or (end - self._clock.now()).total_seconds() > self._limits.park_after

    def _wakes_at(self) -> datetime | None:
        return min((node.goes_on_at for node in self._nodes if node.waits and node.goes_on_at), default=None)

    def _row(self, node: _Node) -> NodeRow:
        """The attempt that is under way at a node, as it is to be stored."""
        row = self._rows.get(node.planned.index)
        if row is not None:
            return row
        inputs = self._inputs(node)
        return NodeRow(
            node_id=node.planned.node.id,
            attempt=node.attempt,
            status=node.status,
            started_at=node.started_at or self._clock.now(),
            input=join_object(inputs.items()),
            wait_until=node.wait_until,
        )

    # -- one node -----------------------------------------------------------------------------------------------------

    async def _work(self, node: _Node) -> None:
        """One attempt at a node, from its barrier to what its end leads to."""
        index = node.planned.index
        try:
            if node.planned.behaviour.pure:
                await self._journal.ready()
            else:
                await self._journal.committed(self._depends_on(node))
                # A worker that was frozen wakes up in the middle of anything, and may have lost the run long ago.
                await self._journal.held()
        except (JournalLost, JournalRefused) as error:
            self.abort(error)
            return
        if self._holding or self._ending:
            self._held.append(node)
            self._end_task(index)
            return
        inputs = self._inputs(node)
        if node.planned.node.settings.disabled:
            self._pass_on(node, inputs)
        else:
            await self._attempt(node, inputs)

    async def _attempt(self, node: _Node, inputs: Encoded) -> None:
        row = self._open(node, inputs)
        reporter = ProgressReporter(
            lambda report: self._progress(node, row, report), self._journal.ready, self._limits.progress_interval
        )
        try:
            result = await perform(node.planned, self._context(node, row, inputs, reporter), lambda: self._ending)
            outputs: Encoded | NodeError | Suspend = encode_ports(result, self._limits.output_bytes)
        except (NodeError, Suspend) as raised:
            result, outputs = {}, raised
        finally:
            reporter.close()
        if self._ending:
            return
        if isinstance(outputs, Suspend):
            self._suspend(node, row, outputs)
            self._step()
            return
        if isinstance(outputs, NodeError):
            self._failed(node, row, outputs)
        else:
            self._succeeded(node, row, result, outputs)
        self._end_task(node.planned.index)

    def _end_task(self, index: int) -> None:
        self._tasks.pop(index, None)
        self._rows.pop(index, None)
        self._step()

    # -- what a node is given -----------------------------------------------------------------------------------------

    def _depends_on(self, node: _Node) -> int:
        """The seq that must be durable before a node with an effect may start."""
        sources = (self._nodes[index].seq for fed in node.planned.inputs.values() for index, _ in fed)
        return max(node.seq, max(sources, default=self._head.seq))

    def _inputs(self, node: _Node) -> Encoded:
        if node.planned.behaviour.trigger:
            return {MAIN: b"[" + encode_json(self._head.input) + b"]"}
        inputs = {}
        for port, sources in node.planned.inputs.items():
            lists = [
                self._nodes[index].outputs[source_port]
                for index, source_port in sources
                if source_port in self._nodes[index].outputs
            ]
            if lists:
                inputs[port] = join_lists(lists)
        return inputs

    def _context(self, node: _Node, row: NodeRow, inputs: Encoded, reporter: ProgressReporter) -> NodeContext:
        return NodeContext(
            node=node.planned.node,
            attempt=node.attempt,
            inputs=decode(inputs),
            scope=self._scope(node),
            idempotency_key=f"{self._head.execution_id}:{node.planned.node.id}",
            progress=reporter,
            started_at=row.started_at,
            resumption=node.resumption,
            params_for=_not_resolved,
        )

    def _scope(self, node: _Node) -> Scope:
        upstream = node.planned.upstream

        def items_of(name: str) -> Items:
            outputs = self._nodes[upstream[name]].outputs
            if not outputs:
                raise KeyError(name)
            items: Items = orjson.loads(next(iter(outputs.values())))
            return items

        execution: dict[str, Any] = {
            "id": self._head.execution_id,
            "mode": self._head.mode,
            "startedAt": iso(self._started_at),
        }
        if self._head.resume_urls:
            execution["resumeUrls"] = self._head.resume_urls
        return Scope(
            flow=self._head.flow,
            execution=execution,
            input=self._head.input,
            nodes=items_of,
            upstream=tuple(upstream),
            now=iso(self._clock.now()),
        )

    # -- what a node did ----------------------------------------------------------------------------------------------

    def _open(self, node: _Node, inputs: Encoded) -> NodeRow:
        # A node that was running when its worker went away is run again as the same attempt, and so is one that waited.
        if node.status not in (NodeStatus.RUNNING, NodeStatus.QUEUED):
            node.attempt += 1
            node.resumption = None
        if node.resumption is None or node.started_at is None:
            node.started_at = self._clock.now()
        node.status, node.retry_at = NodeStatus.RUNNING, None
        row = NodeRow(
            node_id=node.planned.node.id,
            attempt=node.attempt,
            status=NodeStatus.RUNNING,
            started_at=node.started_at,
            input=join_object(inputs.items()),
        )
        self._rows[node.planned.index] = row
        self._emit(EventType.NODE_BEFORE, messages.node_before(node.planned, row), row=row)
        self._flush()
        return row

    def _progress(self, node: _Node, row: NodeRow, report: Report) -> None:
        if self._ending or self._rows.get(node.planned.index) is not row:
            return
        row.progress = orjson.dumps(merge_progress(orjson.loads(row.progress) if row.progress else None, report))
        self._emit(EventType.NODE_PROGRESS, {"nodeId": row.node_id, **report}, row=row)
        self._flush()

    def _succeeded(self, node: _Node, row: NodeRow, result: Ports, outputs: Encoded) -> None:
        row.item_counts = orjson.dumps({port: len(items) for port, items in result.items()})
        row.output = join_object(outputs.items())
        self._settle(node, row, NodeStatus.SUCCESS, outputs, preview(result, outputs))

    def _failed(self, node: _Node, row: NodeRow, error: NodeError) -> None:
        settings = node.planned.node.settings
        row.error = orjson.dumps(messages.error_json(error))
        if node.attempt < settings.retry.max_attempts:
            self._retry(node, row)
            return
        outputs: Encoded = {}
        if settings.on_error is not OnError.STOP:
            port = MAIN if settings.on_error is OnError.CONTINUE else ERROR_PORT
            port = node.planned.behaviour.output if port == MAIN else port
            outputs = {port: b'[{"error":' + row.error + b"}]"}
            row.item_counts = orjson.dumps({port: 1})
            row.output = join_object(outputs.items())
        shown = (row.output, False) if row.output else None
        self._settle(node, row, NodeStatus.ERROR, outputs, shown)
        if settings.on_error is OnError.STOP:
            self._stop((node, error))

    def _retry(self, node: _Node, row: NodeRow) -> None:
        delay = backoff_seconds(node.planned.node.settings.retry, node.attempt)
        row.status, row.finished_at = NodeStatus.ERROR, self._clock.now()
        node.status = NodeStatus.ERROR
        node.retry_at = row.retry_at = row.finished_at + timedelta(seconds=delay)
        self._emit_after(node, row, None)
        self._ready.append(node)

    def _pass_on(self, node: _Node, inputs: Encoded) -> None:
        """A disabled node hands on what comes in, and is shown as skipped."""
        text = join_lists(list(inputs.values()))
        now = self._clock.now()
        row = NodeRow(node_id=node.planned.node.id, attempt=1, status=NodeStatus.SKIPPED, started_at=now)
        row.output = join_object([(node.planned.behaviour.output, text)])
        self._settle(node, row, NodeStatus.SKIPPED, {node.planned.behaviour.output: text}, None)
        self._end_task(node.planned.index)

    def _skip(self, node: _Node) -> None:
        row = NodeRow(node_id=node.planned.node.id, attempt=1, status=NodeStatus.SKIPPED, started_at=self._clock.now())
        self._settle(node, row, NodeStatus.SKIPPED, {}, None)

    def _settle(
        self, node: _Node, row: NodeRow, status: NodeStatus, outputs: Encoded, shown: tuple[bytes, bool] | None
    ) -> None:
        row.status, row.finished_at, row.wait_until, row.progress = status, self._clock.now(), None, None
        node.status, node.attempt, node.outputs = status, row.attempt, outputs
        self._done += 1
        self._emit_after(node, row, shown)
        node.seq = self._seq
        self._feed(node)

    def _feed(self, node: _Node) -> None:
        for port, index in node.planned.outputs:
            target = self._nodes[index]
            target.unsettled_feeds -= 1
            target.fed = target.fed or port in node.outputs
            if target.unsettled_feeds == 0:
                self._ready.append(target)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        self._ending = True
        self._status = RunStatus.SUCCESS
        now = self._clock.now()
        data = {"status": self._status.value, **messages.ended(self._started_at, now, self._done, len(self._nodes))}
        self._emit(EventType.EXECUTION_FINISHED, data, head=self._head_row(now, output=self._output()))
        self._flush()
        self._settle_outcome(Outcome.ENDED)

    def _output(self) -> bytes:
        leaves = (node for node in self._nodes if not node.planned.outputs and node.outputs)
        return join_object((leaf.planned.node.id, join_object(leaf.outputs.items())) for leaf in leaves)

    def _stop(self, failure: tuple[_Node, NodeError] | None) -> None:
        """End the run before all its nodes have ended: it failed, or it was cancelled."""
        self._flush()
        self._ending = True
        self._timers.stop_all()
        for task in self._tasks.values():
            if task is not asyncio.current_task():
                task.cancel()
        closing = asyncio.ensure_future(self._close(failure, [*self._tasks.values()], asyncio.current_task()))
        closing.add_done_callback(self._check_closed)
        self._tasks = {-1: closing}

    def _check_closed(self, closing: asyncio.Task[None]) -> None:
        fault = None if closing.cancelled() else closing.exception()
        if fault is not None and not self._outcome.done():
            self._outcome.set_exception(fault)

    async def _close(
        self,
        failure: tuple[_Node, NodeError] | None,
        tasks: list[asyncio.Task[None]],
        caller: asyncio.Task[Any] | None,
    ) -> None:
        others = {task for task in tasks if task is not caller}
        if others:
            await asyncio.wait(others, timeout=CANCEL_GRACE)
        for node in self._nodes:
            if node.retry_at is not None:
                self._give_up_retry(node, self._clock.now())
            elif node.status in _UNDER_WAY:
                self._settle(node, self._row(node), NodeStatus.CANCELED, {}, None)
        now = self._clock.now()
        end = messages.ended(self._started_at, now, self._done, len(self._nodes))
        if failure is None:
            self._status = RunStatus.CANCELED
            data = {"status": self._status.value, **end}
            self._emit(EventType.EXECUTION_FINISHED, data, head=self._head_row(now))
        else:
            self._status = RunStatus.ERROR
            failed, error = failure
            cause = messages.error_json(error)
            node_id, name = failed.planned.node.id, failed.planned.node.name
            self.failure = {"nodeId": node_id, "nodeName": name, **cause}
            data = {"nodeId": node_id, "nodeName": name, "error": cause, **end}
            stored = orjson.dumps({"nodeId": node_id, **cause})
            self._emit(EventType.EXECUTION_ERROR, data, head=self._head_row(now, error=stored))
        self._flush()
        self._settle_outcome(Outcome.ENDED)

    def _give_up_retry(self, node: _Node, now: datetime) -> None:
        """The attempt that a node still waits for is cancelled before it starts."""
        node.retry_at = None
        row = NodeRow(
            node_id=node.planned.node.id, attempt=node.attempt + 1, status=NodeStatus.CANCELED, started_at=now
        )
        self._settle(node, row, NodeStatus.CANCELED, {}, None)

    def _settle_outcome(self, outcome: Outcome) -> None:
        self._timers.stop_all()  # whose time comes while the last events are written is the next worker's
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    # -- emitting -----------------------------------------------------------------------------------------------------

    def _emit_after(self, node: _Node, row: NodeRow, shown: tuple[bytes, bool] | None) -> None:
        data = messages.node_after(node.planned.node.name, row, shown, self._done, len(self._nodes))
        self._emit(EventType.NODE_AFTER, data, row=row)

    def _emit(
        self, type: EventType, data: dict[str, Any], *, row: NodeRow | None = None, head: HeadRow | None = None
    ) -> None:
        self._seq += 1
        text = orjson.dumps({"executionId": self._head.execution_id, **data})
        values = row.values() if row else None
        self._group.append(Entry(self._seq, type.value, text, self._clock.now(), values, head, self._obeyed))
        self._obeyed = None

    def _flush(self) -> None:
        if self._group:
            group, self._group = self._group, []
            self._journal.append(group)

    def _head_row(
        self, finished_at: datetime | None = None, *, output: bytes | None = None, error: bytes | None = None
    ) -> HeadRow:
        return HeadRow(
            status=self._status,
            started_at=self._started_at,
            finished_at=finished_at,
            output=output,
            error=error,
            wake_at=self._wakes_at() if self._status is RunStatus.WAITING else None,
        )


async def _not_resolved() -> list[dict[str, Any]]:
    raise RuntimeError("The parameters of a node are resolved by the node type before it runs.")
