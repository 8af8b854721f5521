"""Figures for tests: an installation in which all is well, and what differs from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from executions.status.figures import (
    DatabaseFigures,
    Figures,
    LayerFigures,
    ProcessFigures,
    ProcessState,
    QueueFigures,
)

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

WEB = ProcessFigures(name="a:1:x", role="web", host="a", pid=1, executes=False, readers=3, seen_seconds=2)
WORKER = ProcessFigures(
    name="b:2:y",
    role="worker",
    host="b",
    pid=2,
    capacity=100,
    held=40,
    commits=7,
    commit_p50_ms=2.25,
    commit_p99_ms=30,
    backlog=12,
)


def late(process: ProcessFigures, seconds: float) -> ProcessFigures:
    return replace(process, state=ProcessState.LATE, seen_seconds=seconds)


def figures(**different: Any) -> Figures:
    """`queue` takes the fields of QueueFigures that differ."""
    values: dict[str, Any] = {
        "at": AT,
        "executor": "procrastinate",
        "lease_seconds": 10.0,
        "processes": (WEB, WORKER),
        "runs": {"queued": 2, "running": 40, "pausing": 0, "paused": 0, "waiting": 3},
        "ended": {1: {"success": 60}, 5: {"success": 100, "error": 2}, 15: {"success": 150, "error": 3}},
        "database": DatabaseFigures(vendor="PostgreSQL", bytes=1_500_000_000),
        "layer": LayerFigures(name="RedisPubSubChannelLayer", joins_processes=True),
        "jobs": {"todo": 2, "doing": 40},
        **different,
    }
    values["queue"] = QueueFigures(**{"depth": 2, "oldest_seconds": 1.0, **different.get("queue", {})})
    return Figures(**values)
