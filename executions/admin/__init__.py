"""The admin of what runs: runs and what their nodes did."""

from executions.admin.node_executions import NodeExecutionAdmin
from executions.admin.runs import ExecutionAdmin

__all__ = ["ExecutionAdmin", "NodeExecutionAdmin"]
