"""The settings of the running side, typed, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings

EXECUTORS = ("embedded", "procrastinate")
"""Where runs can be executed: `embedded` is in the web process, `procrastinate` in workers (`manage.py run_worker`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionSettings:
    """Each is the Django setting `WATAOMI_<NAME>`; seconds and bytes unless said otherwise."""

    executor: str = "embedded"
    """Where runs are executed."""
    max_concurrent_runs: int = 500
    """Runs that a web process with the embedded executor executes at once; further ones wait their turn."""
    worker_concurrency: int = 100
    """Runs that one worker process executes at once."""
    max_takeovers: int = 5
    """Workers that a run may lose in a row, without a node of it having ended between, before it is failed."""
    park_after: float = 30.0
    """A run that has nothing to do but wait for longer than this leaves its worker."""
    max_input_bytes: int = 1024 * 1024
    """JSON of a run's input."""
    max_output_bytes: int = 64 * 1024 * 1024
    """JSON that one node returns."""
    progress_interval: float = 0.1
    """Between two progress events of one node; 0 sends each."""
    lease: float = 10.0
    """How long a run stays with a worker that does not renew it; it is renewed three times in that time."""
    command_poll: float = 0.2
    """How often a worker looks for commands that another process wrote."""
    stream_poll: float = 0.25
    """How often a process looks for events of runs that another process executes."""
    keep_alive: float = 15.0
    """Between two comments on a stream that has nothing to send."""
    shutdown_grace: float = 1.5
    """What running nodes get to end when the process is told to stop."""
    ring_bytes: int = 256 * 1024
    """Newest frames of a run that are kept for its readers, and 8 KiB for each of them; one that falls behind reads the
    journal."""
    keep_days: int = 0
    """Days after which a run that has ended is deleted; 0 keeps all."""
    keep_runs: int = 0
    """Newest ended runs of a flow that are kept; 0 keeps all."""
    metrics_token: str = ""
    """What a reader of `/metrics` sends that is not logged in; nothing lets in staff only."""
    base_url: str = "http://localhost:8000"
    """Where people reach the pages: what the addresses in resume links begin with."""


def execution_settings() -> ExecutionSettings:
    """The settings as they are now (tests override them)."""
    given: dict[str, Any] = {}
    for field in fields(ExecutionSettings):
        value = getattr(settings, f"WATAOMI_{field.name.upper()}", None)
        if value is not None:
            given[field.name] = value
    return ExecutionSettings(**given)
