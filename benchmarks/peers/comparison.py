"""Steps per second of WataOmi and of its peers on the same runs, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from benchmarks import executors
from benchmarks.databases import PostgresMissing
from benchmarks.peers import services
from benchmarks.peers.cases import RUNS, STEPS, Case, timed
from benchmarks.peers.environments import Peer, PeerMissing
from benchmarks.world import chain, heading, row

Service = Callable[[], AbstractContextManager[dict[str, str]]]

THIS_PROCESS = "this process"
WORKER = "1 worker process"

PEERS: tuple[tuple[Peer, Service, str], ...] = (
    (Peer("DBOS", "dbos_steps", "requirements-dbos.txt"), services.database, THIS_PROCESS),
    (Peer("Celery", "celery_chain", "requirements-celery.txt"), services.keys, WORKER),
    (Peer("Prefect", "prefect_flow", "requirements-prefect.txt"), services.prefect_home, THIS_PROCESS),
    (
        Peer("Prefect", "prefect_flow", "requirements-prefect.txt", ", on PostgreSQL"),
        services.prefect_home_and_database,
        THIS_PROCESS,
    ),
)
"""Each with what it runs on, and who executes: the process that starts the runs, or another. So it is with WataOmi's
runs that it is compared with."""

KINDS = {"with an effect": "bench.effect", "pure": "bench.pure"}
"""WataOmi's nodes; a column of ratios for each."""


@dataclass(slots=True)
class Table:
    rates: dict[tuple[str, str, int], float] = field(default_factory=dict)
    """WataOmi's steps per second, by who executes, kind of node and number of runs."""
    left_out: list[str] = field(default_factory=list)

    def add_wataomi(self, way: str, kind: str, cases: Iterable[Case]) -> None:
        for case in cases:
            if self._is_left_out(f"WataOmi {kind}, {way}", case):
                continue
            self.rates[way, kind, case.runs] = case.rate
            row(f"WataOmi, {kind}", way, case.runs, f"{case.rate:,.0f}", "", "")

    def add_peer(self, peer: Peer, way: str, cases: Iterable[Case]) -> None:
        for case in cases:
            if self._is_left_out(peer.label, case):
                continue
            own = (self.rates.get((way, kind, case.runs)) for kind in KINDS)
            ratios = (f"{rate / case.rate:.1f}" if rate else "" for rate in own)
            row(peer.label, way, case.runs, f"{case.rate:,.0f}", *ratios)

    def _is_left_out(self, label: str, case: Case) -> bool:
        if case.left_out:
            self.left_out.append(f"{label}, {case.runs} run{'s' if case.runs > 1 else ''}: {case.left_out}")
        return bool(case.left_out)


def compare(repeats: int) -> None:
    """All is installed before anything is timed."""
    missing = {peer: _why_missing(peer) for peer, _, _ in PEERS}
    heading(
        f"Runs of {STEPS} steps, all started at once, from the first start to the last end (median of up to {repeats})",
        "system", "executed by", "runs", "steps/s", *(f"WataOmi {kind}, times as fast" for kind in KINDS),
    )  # fmt: skip
    table = Table()
    for way, executor in ((THIS_PROCESS, executors.embedded()), (WORKER, executors.workers(1))):
        with executor:
            for kind, node_type in KINDS.items():
                execute = partial(executors.run_at_once, chain(node_type, STEPS))
                table.add_wataomi(way, kind, timed(execute, repeats))
    for peer, service, way in PEERS:
        table.add_peer(peer, way, _cases(peer, service, repeats, missing[peer]))
    for line in table.left_out:
        print(f"\nLeft out: {line}")


def _why_missing(peer: Peer) -> str:
    """Nothing when it is installed."""
    try:
        peer.install()
    except PeerMissing as error:
        return f"it could not be installed. {error}"
    return ""


def _cases(peer: Peer, service: Service, repeats: int, missing: str) -> list[Case]:
    if not missing:
        try:
            with service() as environment:
                return peer.run(repeats, environment)
        except (PeerMissing, PostgresMissing) as error:
            missing = str(error)
    return [Case(runs, left_out=missing) for runs in RUNS]
