"""Others that execute steps in a row, on the same runs as WataOmi, each in a virtual environment of its own."""

from __future__ import annotations


def measure(repeats: int) -> None:
    # Imported late: the peers' programs are in this package too, and their environments have no Django.
    from benchmarks.peers import comparison

    comparison.compare(repeats)
