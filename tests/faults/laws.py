"""What must be true of a database when all its runs have ended, whatever was done to the processes and services."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from executions.events import LAST_EVENTS, Event, empty_state, fold
from executions.models import Command, Execution, ExecutionEvent
from executions.plans import node_names
from executions.snapshot import snapshot
from executions.statuses import RUN_ENDED
from tests.faults.clients import Reader

SLACK = 0.001
"""Seconds by which two looks at one clock, in two processes, may seem to be in the other order."""


@dataclass(frozen=True)
class Effect:
    """One time that a node with an effect has begun."""

    node_id: str
    attempt: int
    idempotency_key: str
    pid: int
    begun_at: float
    finished_at: float | None


@dataclass(frozen=True)
class Record:
    """All that the database says of one run; `state` is the row, and `data` of an event its decoded JSON."""

    run: Execution
    events: list[tuple[Event, datetime]]
    effects: list[Effect]
    writers: list[tuple[int, int, str]]
    """Seq, epoch and process of each event."""

    def say(self, what: str) -> str:
        return f"run {self.run.id} ({self.run.flow.name}, epoch {self.run.epoch}): {what}"


def broken_laws(connection: psycopg.Connection[Any], readers: Iterable[Reader]) -> list[str]:
    """Each law that does not hold, and where. Django's default connection must be to the same database."""
    records = load(connection)
    broken: list[str] = []
    for record in records.values():
        for law in (one_last_event, contiguous, fold_law, one_writer_an_epoch, effects_once, nothing_held):
            broken += [f"{law.__name__}: {record.say(what)}" for what in law(record)]
    broken += [f"every_reader: {what}" for what in every_reader(records, readers)]
    broken += [f"same_end: {what}" for what in same_end(records.values())]
    return broken


def load(connection: psycopg.Connection[Any]) -> dict[str, Record]:
    events: dict[UUID, list[tuple[Event, datetime]]] = defaultdict(list)
    for row in ExecutionEvent.objects.order_by("execution_id", "seq"):
        events[row.execution_id].append((Event(row.seq, row.type, json.loads(row.data)), row.created_at))
    effects: dict[UUID, list[Effect]] = defaultdict(list)
    columns = "execution_id, node_id, attempt, idempotency_key, pid, begun_at, finished_at"
    for execution_id, *values in connection.execute(f"SELECT {columns} FROM effects ORDER BY begun_at"):
        effects[execution_id].append(Effect(*values))
    writers: dict[UUID, list[tuple[int, int, str]]] = defaultdict(list)
    for execution_id, *values in connection.execute("SELECT * FROM writers ORDER BY execution_id, seq"):
        writers[execution_id].append((values[0], values[1], values[2]))
    runs = Execution.objects.select_related("flow", "flow_version").order_by("id")
    return {str(run.id): Record(run, events[run.id], effects[run.id], writers[run.id]) for run in runs}


def one_last_event(record: Record) -> Iterator[str]:
    if record.run.status not in RUN_ENDED:
        yield f"it has not ended: {record.run.status}"
    last = [event.seq for event, _ in record.events if event.type in LAST_EVENTS]
    if last != [len(record.events)]:
        yield f"last events at {last}, of {len(record.events)} events"


def contiguous(record: Record) -> Iterator[str]:
    seqs = [event.seq for event, _ in record.events]
    if seqs != list(range(1, len(seqs) + 1)):
        yield f"its events are {seqs}"
    if record.run.last_seq != len(seqs):
        yield f"last_seq is {record.run.last_seq}, and there are {len(seqs)} events"


def fold_law(record: Record) -> Iterator[str]:
    state = empty_state(str(record.run.id), node_names(record.run.flow_version.graph))
    if record.run.retry_of_id is not None:
        # What the retry took over from the other run is in its rows, and not in its events.
        return
    for event, _ in record.events:
        state = fold(state, event)
    stored = snapshot(record.run.id)
    if state != stored:
        yield f"folded, its events are\n{state}\nand the database has\n{stored}"


def one_writer_an_epoch(record: Record) -> Iterator[str]:
    """A worker that lost the run has written nothing since: at each epoch, only who took it then has."""
    by_epoch: dict[int, set[str]] = defaultdict(set)
    newest = 0
    for seq, epoch, process in record.writers:
        by_epoch[epoch].add(process)
        if epoch < newest:
            yield f"event {seq} is of epoch {epoch}, behind one of {newest}"
        newest = max(newest, epoch)
    for epoch, processes in by_epoch.items():
        if len(processes) != 1:
            yield f"at epoch {epoch} it was written by {sorted(processes)}"
    if len(record.writers) != len(record.events):
        yield f"{len(record.writers)} events were inserted, and {len(record.events)} are there"


def effects_once(record: Record) -> Iterator[str]:
    """A node runs at least once, each time with the same key; and never again once it is known to have succeeded."""
    settled: dict[str, float] = {}
    succeeded: dict[str, int] = {}
    for event, at in record.events:
        if event.type == "nodeExecutionAfter" and event.data["willRetryAt"] is None:
            settled[event.data["nodeId"]] = at.timestamp()
            if event.data["status"] == "success":
                succeeded[event.data["nodeId"]] = event.data["attempt"]
    ended_at = record.events[-1][1].timestamp() if record.events else 0.0
    finished = {(effect.node_id, effect.attempt) for effect in record.effects if effect.finished_at is not None}
    types = {node["id"]: node["type"] for node in record.run.flow_version.graph["nodes"]}
    for node_id, attempt in succeeded.items():
        if types[node_id] == "faults.effect" and (node_id, attempt) not in finished:
            yield f"node {node_id} succeeded at attempt {attempt} without having had its effect"
    begun: dict[tuple[str, int], int] = defaultdict(int)
    for effect in record.effects:
        begun[effect.node_id, effect.attempt] += 1
        if effect.idempotency_key != f"{record.run.id}:{effect.node_id}":
            yield f"node {effect.node_id} had the key {effect.idempotency_key}"
        end = settled.get(effect.node_id, ended_at)
        if effect.begun_at > end + SLACK:
            yield (
                f"node {effect.node_id}, attempt {effect.attempt}, began in process {effect.pid} "
                f"{effect.begun_at - end:.3f} s after it had settled"
            )
    for (node_id, attempt), times in begun.items():
        if times > record.run.epoch:
            yield f"attempt {attempt} of node {node_id} began {times} times, and the run was taken {record.run.epoch}"


def nothing_held(record: Record) -> Iterator[str]:
    if record.run.lease_owner or record.run.lease_until is not None:
        yield f"it is still held by {record.run.lease_owner!r} until {record.run.lease_until}"
    pending = Command.objects.filter(execution=record.run, taken_at=None).count()
    if pending:
        yield f"{pending} commands are not taken"


def every_reader(records: dict[str, Record], readers: Iterable[Reader]) -> Iterator[str]:
    """Each reader got what the journal has: all of it, in its order, and once."""
    for reader in readers:
        record = records.get(str(reader.run))
        if record is None:
            yield f"a reader followed run {reader.run}, which is not there"
            continue
        stored = [(event.seq, event.type, event.data) for event, _ in record.events]
        got = [(frame.seq, frame.type, frame.data) for frame in reader.frames.frames]
        if got != stored:
            at = next((i for i, pair in enumerate(zip(got, stored, strict=False)) if pair[0] != pair[1]), len(got))
            yield record.say(
                f"a reader got {len(got)} of {len(stored)} events; they differ at {at}: {got[at : at + 1]}"
            )


def same_end(records: Iterable[Record]) -> Iterator[str]:
    """All runs of a flow that were not cancelled end alike, however often they were interrupted."""
    by_flow: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.run.status != "canceled":
            end = json.dumps([record.run.status, record.run.output], sort_keys=True)
            by_flow[record.run.flow.name][end].append(str(record.run.id))
            if (record.run.status == "error") != record.run.flow.name.startswith("failing"):
                yield record.say(f"it ended with {record.run.status}: {record.run.error}")
    for flow, ends in by_flow.items():
        if len(ends) > 1:
            yield f"the runs of {flow} ended in {len(ends)} ways: { {end: runs[:3] for end, runs in ends.items()} }"
