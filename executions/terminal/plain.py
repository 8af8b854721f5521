"""A run as plain lines, one for each event: for pipes, files and terminals that cannot redraw."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

from executions.durations import format_duration, format_wait
from executions.events import LAST_EVENTS, Event, EventType
from executions.statuses import NodeStatus, RunStatus
from executions.terminal.view import Heading
from executions.terminal.words import (
    Data,
    counted,
    error_words,
    items_words,
    milliseconds_between,
    one_line,
    progress_words,
)

ELAPSED_WIDTH = 10


class PlainView:
    """Lines on `output`, each flushed at once; what is said beside the events goes to `messages`."""

    def __init__(self, output: TextIO, messages: TextIO) -> None:
        self._output = output
        self._messages = messages
        self._lines = EventLines()

    def begin(self, heading: Heading) -> None:
        self._write(heading_line(heading))

    def show(self, event: Event) -> None:
        self._write(self._lines.line(event))

    def say(self, text: str) -> None:
        print(text, file=self._messages, flush=True)

    def end(self) -> None:
        """There is nothing to put back."""

    def abandon(self) -> None:
        """There is nothing to put back."""

    def _write(self, line: str) -> None:
        self._output.write(line + "\n")
        self._output.flush()


def heading_line(heading: Heading) -> str:
    """`Run 0193...: Three waits (flow 1, version 1) /admin/...`"""
    which = f"(flow {heading.flow_id}, version {heading.flow_version})"
    parts = [f"Run {heading.execution_id}:", one_line(heading.flow_name), which, heading.address or ""]
    return " ".join(part for part in parts if part)


class EventLines:
    """Each event of a run as a line: seconds since the run's start, if the event says its time, and what it is."""

    def __init__(self) -> None:
        self._started_at: str | None = None
        self._names: dict[str, str] = {}

    def line(self, event: Event) -> str:
        """The line for the next event."""
        data = event.data
        if event.type == EventType.EXECUTION_STARTED:
            self._started_at = data["startedAt"]
            self._names = {node["id"]: one_line(node["name"]) for node in data["nodes"]}
        words = _WORDS[EventType(event.type)](data)
        if data.get("nodeId") is not None and event.type not in LAST_EVENTS:
            words = f"{self._names.get(data['nodeId'], data['nodeId'])}: {words}"
        return f"{self._elapsed(data):>{ELAPSED_WIDTH}}  {words}"

    def _elapsed(self, data: Data) -> str:
        moment = data.get("finishedAt") or data.get("startedAt")
        if moment is None or self._started_at is None:
            return ""
        return f"+{max(0.0, milliseconds_between(self._started_at, moment)) / 1000:.3f} s"


def _started(data: Data) -> str:
    nodes = data["nodes"]
    reused = sum(node["status"] != NodeStatus.IDLE for node in nodes)
    taken_over = f", {reused} of them taken over from the run before" if reused else ""
    return f"started: {counted(len(nodes), 'node')}{taken_over}"


def _node_before(data: Data) -> str:
    return "running" if data["attempt"] == 1 else f"running, attempt {data['attempt']}"


def _node_progress(data: Data) -> str:
    return progress_words(data) or "working"


def _node_after(data: Data) -> str:
    status = data["status"]
    took = "" if status == NodeStatus.SKIPPED else format_duration(data["durationMs"])
    parts = [status, took, items_words(data["itemCounts"])]
    if data["attempt"] > 1 or data["willRetryAt"]:
        parts.append(f"attempt {data['attempt']}")
    words = ", ".join(part for part in parts if part) + f" ({_share(data)})"
    if data["error"]:
        words += f": {error_words(data['error'])}"
    if data["willRetryAt"]:
        wait = milliseconds_between(data["finishedAt"], data["willRetryAt"])
        words += f" Next attempt in {format_duration(wait)}."
    return words


def _paused(data: Data) -> str:
    return "pausing: running nodes come to their end" if data["status"] == RunStatus.PAUSING else "paused"


def _resumed(data: Data) -> str:
    return _RESUMED.get(data["reason"], "resumed")


def _waiting(data: Data) -> str:
    reason = one_line(data["reason"])
    return f"waiting {format_wait(data['until'])}" + (f": {reason}" if reason else "")


def _finished(data: Data) -> str:
    return f"finished: {data['status']}, {format_duration(data['durationMs'])} ({_share(data)} nodes)"


def _failed(data: Data) -> str:
    took = format_duration(data["durationMs"] or 0)
    where = f"{one_line(data['nodeName'])}: " if data["nodeName"] else ""
    return f"failed: {took} ({_share(data)} nodes): {where}{error_words(data['error'])}"


def _share(data: Data) -> str:
    return f"{data['progress']['done']} of {data['progress']['total']}"


_RESUMED = {"timeout": "its wait is over", "retry": "its wait for the next attempt is over"}

_WORDS: dict[EventType, Callable[[Data], str]] = {
    EventType.EXECUTION_STARTED: _started,
    EventType.NODE_BEFORE: _node_before,
    EventType.NODE_PROGRESS: _node_progress,
    EventType.NODE_AFTER: _node_after,
    EventType.EXECUTION_PAUSED: _paused,
    EventType.EXECUTION_RESUMED: _resumed,
    EventType.EXECUTION_WAITING: _waiting,
    EventType.EXECUTION_FINISHED: _finished,
    EventType.EXECUTION_ERROR: _failed,
}
