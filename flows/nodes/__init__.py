"""The node types that come with flows."""

from flows.nodes import control, data, http, merge, wait

__all__ = ["control", "data", "http", "merge", "wait"]
