"""How long a failed node waits before its next attempt. Pure."""

from __future__ import annotations

from flows.graph import Retry


def backoff_seconds(retry: Retry, failed_attempts: int) -> float:
    """Seconds before the next attempt: `backoff` doubled with each failure behind the first, `max_delay` at most."""
    doublings = min(failed_attempts - 1, 32)  # behind that every delay is `max_delay`, and the power stays small
    return min(retry.backoff * 2**doublings, retry.max_delay)
