"""Events of a run, for tests of what a terminal shows of it."""

from __future__ import annotations

from typing import Any

from executions.events import Event, EventType

RUN = "01890000-0000-7000-8000-000000000000"


def moment(seconds: float) -> str:
    """So many seconds behind the start of the run; the run starts at 16:00:00."""
    return f"2026-11-22T16:00:{seconds:09.6f}Z"


def error_of(type: str, message: str, hint: str = "") -> dict[str, str]:
    return {"type": type, "message": message, "hint": hint}


class Events:
    """Makes the events of one run; seq counts by itself."""

    def __init__(self, *names: str, statuses: dict[str, str] | None = None) -> None:
        self.seq = 0
        self.names = {f"n{number}": name for number, name in enumerate(names)}
        self.statuses = statuses or {}
        self.done = len(self.statuses)

    def _event(self, type: EventType, **data: Any) -> Event:
        self.seq += 1
        return Event(self.seq, type.value, {"executionId": RUN, **data})

    def started(self) -> Event:
        nodes = [
            {"id": id, "name": name, "type": "noop", "status": self.statuses.get(id, "idle")}
            for id, name in self.names.items()
        ]
        return self._event(
            EventType.EXECUTION_STARTED,
            flowId=1, flowVersion=3, flowName="Flow", mode="cli", startedAt=moment(0), nodes=nodes,
        )  # fmt: skip

    def before(self, node: str, at: float = 0, attempt: int = 1) -> Event:
        return self._event(
            EventType.NODE_BEFORE,
            nodeId=node, nodeName=self.names[node], nodeType="noop", attempt=attempt, startedAt=moment(at),
        )  # fmt: skip

    def progress(self, node: str, fraction: float | None = None, message: str = "", text: str = "") -> Event:
        return self._event(EventType.NODE_PROGRESS, nodeId=node, fraction=fraction, message=message, text=text)

    def after(self, node: str, status: str = "success", begin: float = 0, end: float = 0, **given: Any) -> Event:
        self.done += not given.get("willRetryAt")
        known = {
            "attempt": 1,
            "startedAt": moment(begin),
            "finishedAt": moment(end),
            "durationMs": round((end - begin) * 1000),
            "itemCounts": {"main": 1} if status == "success" else None,
            "output": None,
            "truncated": False,
            "error": None,
            "willRetryAt": None,
        }
        return self._event(
            EventType.NODE_AFTER,
            nodeId=node, nodeName=self.names[node], status=status, **{**known, **given}, progress=self._share(),
        )  # fmt: skip

    def paused(self, status: str) -> Event:
        return self._event(EventType.EXECUTION_PAUSED, reason="command", until=None, status=status)

    def resumed(self) -> Event:
        return self._event(EventType.EXECUTION_RESUMED, reason="command", until=None)

    def waiting(self, node: str | None, until: float | None, reason: str = "", status: str = "waiting") -> Event:
        about = {"nodeId": node, "nodeName": self.names[node] if node else None, "attempt": 1 if node else None}
        end = None if until is None else moment(until)
        return self._event(EventType.EXECUTION_WAITING, **about, reason=reason, until=end, status=status)

    def goes_on(self, node: str | None, reason: str) -> Event:
        about = {"nodeId": node, "nodeName": self.names[node] if node else None, "attempt": 1 if node else None}
        return self._event(EventType.EXECUTION_RESUMED, **about, reason=reason, until=None, status="running")

    def finished(self, status: str = "success", at: float = 6) -> Event:
        end = {"durationMs": round(at * 1000), "finishedAt": moment(at), "progress": self._share()}
        return self._event(EventType.EXECUTION_FINISHED, status=status, **end)

    def failed(self, node: str | None, error: dict[str, str], at: float = 6) -> Event:
        end = {"durationMs": round(at * 1000), "finishedAt": moment(at), "progress": self._share()}
        name = self.names[node] if node else None
        return self._event(EventType.EXECUTION_ERROR, nodeId=node, nodeName=name, error=error, **end)

    def _share(self) -> dict[str, int]:
        return {"done": self.done, "total": len(self.names)}
