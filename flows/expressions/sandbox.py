"""Runs Python of users in a pool of `monty` worker processes, within limits of time, memory, depth and output.

The pool's own I/O threads do the waiting, so the event loop is free meanwhile; a task that is cancelled takes its
worker with it. The workers are separate processes: one that is killed or crashes is replaced, and they end with this
one.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import threading
import time
from dataclasses import dataclass
from typing import Any

import pydantic_monty as monty

from flows import conf

GRACE = 0.3
"""Seconds beyond its time limit after which a worker that does not stop by itself is killed."""

DEAD_BEFORE = 0.2
"""Seconds within which the end of a worker says that it was dead before it was given anything."""

RECURSION_DEPTH = 200
PRINTED_BYTES = 64 * 1024
SESSIONS_PER_WORKER = 1000
FEWEST_WORKERS = 4
"""However few processors there are: a run that uses up its time must not keep all others waiting."""


@dataclass(eq=False)
class SandboxError(Exception):
    """Code that failed in the sandbox.

    `kind` is the name of Python's exception, `line` where it was raised (from 1; None when unknown), `raised_by` the
    source from there to the end of its line, and `place` what the `place` expression of the call gave.
    """

    kind: str
    reason: str
    line: int | None = None
    raised_by: str = ""
    place: Any = None


class SandboxForkedError(RuntimeError):
    """The sandbox was used before this process was forked from another; its I/O threads did not come along.

    Fork first, and evaluate expressions in the children only.
    """


async def run(code: str, inputs: dict[str, str], *, now: str = "", place: str = "None") -> Any:
    """The value of the last expression of `code`, with `inputs` as its globals and its clock standing still at `now`.

    `place` is evaluated after a failure and says where it happened. Raises SandboxError.
    """
    pool = await _open_pool()
    dead_workers = 0
    while True:
        began = time.monotonic()
        try:
            return await _run_once(pool, code, inputs, now, place)
        except monty.MontyCrashedError as error:
            if error.timed_out:
                raise SandboxError("TimeoutError", _over_time()) from None
            # The pool notices that an idle worker was killed only when it is used; each may have been.
            dead_workers += 1
            if dead_workers > _most_workers() or time.monotonic() - began > DEAD_BEFORE:
                raise SandboxError("MemoryError", f"the sandbox ended while evaluating it ({error})") from None


async def _run_once(pool: monty.AsyncMonty, code: str, inputs: dict[str, str], now: str, place: str) -> Any:
    session = pool.checkout(limits=_limits(), os_policy=_policy(now), assert_message_annotations=False)
    printed = monty.CollectString(PRINTED_BYTES)
    async with session as worker:
        try:
            return await worker.feed_run(code, inputs=dict(inputs), print_callback=printed)
        except (monty.MontyRuntimeError, monty.MontySyntaxError) as error:
            raise await _explained(error, worker, place) from None


async def _explained(
    error: monty.MontyRuntimeError | monty.MontySyntaxError, worker: monty.AsyncMontySession, place: str
) -> SandboxError:
    cause = error.exception()
    kind, said = type(cause).__name__, str(cause)
    explained = SandboxError(kind, _limit_words(kind, said) or (f"{kind}: {said}" if said else kind))
    if kind == "KeyError":
        explained.reason = f"there is no key {said}"
    if frames := error.traceback():
        explained.line = frames[-1].line
        explained.raised_by = (frames[-1].source_line or "")[frames[-1].column - 1 :]
    try:
        explained.place = await worker.feed_run(place)
    except (monty.MontyError, RuntimeError):
        # After a limit the session may be beyond use, and a worker that asked for too much at once is gone.
        explained.place = None
    return explained


def _limit_words(kind: str, said: str) -> str:
    if kind == "TimeoutError":
        return _over_time()
    if kind == "MemoryError":
        return f"it needs more than the {conf.expression_megabytes()} MB of memory it may use"
    if kind == "RecursionError" or "recursion limit" in said:
        return f"it calls itself, or nests its data, deeper than {RECURSION_DEPTH} levels"
    return ""


def _most_workers() -> int:
    return max(FEWEST_WORKERS, os.cpu_count() or 1)


def _over_time() -> str:
    return f"it was still computing after {conf.expression_seconds():g} s"


def _limits() -> monty.ResourceLimits:
    return {
        "max_feed_duration_secs": conf.expression_seconds(),
        "max_memory": conf.expression_megabytes() * 1024 * 1024,
        "max_recursion_depth": RECURSION_DEPTH,
        "max_suspensions": 1,
    }


def _policy(now: str) -> monty.OSPolicy:
    # A sleep would be outside the time limit: it is a host call, and the clock of the limits stands still in those.
    policy: monty.OSPolicy = {"sleep": "zero", "random_start": {"seed": now}}
    if now:
        policy["datetime"] = dt.datetime.fromisoformat(now)
    return policy


_pool: monty.AsyncMonty | None = None
_pool_process = 0
_opening = threading.Lock()


async def _open_pool() -> monty.AsyncMonty:
    """The pool of this process, made when it is first needed: it does not survive a fork. Raises SandboxForkedError."""
    if _pool is None or _pool_process != os.getpid():
        await asyncio.to_thread(_make_pool)
    assert _pool is not None
    return _pool


def _make_pool() -> None:
    global _pool, _pool_process
    with _opening:
        if _pool is not None and _pool_process == os.getpid():
            return
        if _pool is not None:
            raise SandboxForkedError(SandboxForkedError.__doc__)
        pool = monty.AsyncMonty(
            min_processes=1,
            max_processes=_most_workers(),
            max_checkouts_per_worker=SESSIONS_PER_WORKER,
            feed_duration_limit_grace=GRACE,
        )
        asyncio.run(_enter(pool))  # the pool belongs to the process and to no event loop
        _pool, _pool_process = pool, os.getpid()


async def _enter(pool: monty.AsyncMonty) -> None:
    await pool.__aenter__()
