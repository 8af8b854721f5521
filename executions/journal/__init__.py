"""The journal: what a run has emitted, durably and in order; the one writer of a process, and reading it back."""
