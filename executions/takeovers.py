"""Runs that lose their workers: how many in a row, and when it is enough.

A node that ends its worker (it uses up the memory, it crashes the interpreter) would end each worker that takes its run
over. It counts as progress when a node has ended since the last loss, so a run of many days may lose many workers.

It also takes those runs with it that its worker executes beside it, and they count the same losses. So that none of
them is failed for what another one does, a worker executes only one run at a time that must not lose it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from executions.conf import execution_settings
from executions.engine.run import Restored
from executions.models import Execution, NodeExecution
from executions.plans import node_names
from executions.statuses import NODE_SETTLED, NodeStatus


def count_lost_workers(runs: Sequence[Execution]) -> None:
    """Count one more lost worker for each of the runs; what is taken of them is to be saved."""
    for run in runs:
        settled = _settled(run)
        run.takeovers = run.takeovers + 1 if run.takeovers and settled <= run.takeover_mark else 1
        run.takeover_mark = settled


def save_lost_workers(runs: Sequence[Execution]) -> None:
    """In the transaction that takes the runs."""
    for run in runs:
        run.save(update_fields=["takeovers", "takeover_mark"])


def last_chances_apart(runs: Sequence[Execution], owner: str, canceled: Collection[UUID]) -> list[Execution]:
    """The runs without those that are failed if they lose this worker too: of these the first, if the worker holds none
    already. The others are brought to a worker again. Those of `canceled` are only taken to be ended.

    Where a node has ended since, the next loss is the first one again, and the run has many chances."""
    last = execution_settings().max_takeovers - 1
    chosen = {run.id for run in runs}
    held = Execution.objects.filter(lease_owner=owner, takeovers=last).exclude(id__in=chosen)
    taken: list[Execution] = []
    full: bool | None = None
    for run in runs:
        if last > 0 and run.takeovers == last and run.id not in canceled and _is_stuck(run):
            full = any(map(_is_stuck, held)) if full is None else full
            if full:
                continue
            full = True
        taken.append(run)
    return taken


def _is_stuck(run: Execution) -> bool:
    """Whether no node has ended since the run has lost its last worker."""
    return _settled(run) <= run.takeover_mark


def _settled(run: Execution) -> int:
    return NodeExecution.objects.filter(execution=run, status__in=NODE_SETTLED).count()


def too_many_lost(run: Execution, restored: Mapping[str, Restored]) -> dict[str, str] | None:
    """The error that ends a run which has lost more workers than it may; None while it may go on."""
    allowed = execution_settings().max_takeovers
    if run.takeovers < allowed:
        return None
    names = node_names(run.flow_version.graph)
    running = [names.get(node_id, node_id) for node_id, node in restored.items() if node.status == NodeStatus.RUNNING]
    during = f" while {_listed(running)} ran" if running else ""
    return {
        "type": "WorkersLost",
        "message": f"The run has lost {run.takeovers} workers in a row{during}, and no node has ended between.",
        "hint": "Look into the workers' logs (were they killed for want of memory?), mend the node, and retry the run "
        "from the failed node. WATAOMI_MAX_TAKEOVERS says how many workers a run may lose.",
    }


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
