"""An app with the node types that the benchmarks run."""
