"""Runs that lose their workers: how many in a row, and when it is enough.

A node that ends its worker (it uses up the memory, it crashes the interpreter) would end each worker that takes its run
over. It counts as progress when a node has ended since the last loss, so a run of many days may lose many workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from executions.conf import execution_settings
from executions.engine.run import Restored
from executions.models import Execution, NodeExecution
from executions.plans import node_names
from executions.statuses import NODE_SETTLED, NodeStatus


def note_lost_workers(runs: Sequence[Execution]) -> None:
    """Count one more lost worker for each of the runs, in the transaction that takes them."""
    for run in runs:
        settled = NodeExecution.objects.filter(execution=run, status__in=NODE_SETTLED).count()
        run.takeovers = run.takeovers + 1 if run.takeovers and settled <= run.takeover_mark else 1
        run.takeover_mark = settled
        run.save(update_fields=["takeovers", "takeover_mark"])


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
