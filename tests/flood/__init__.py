"""An app of the tests: a node type that emits as many events as it is asked to."""
