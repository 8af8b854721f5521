"""Random graphs for tests: of the right shape, with and without cycles."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from flows.graph import Edge, Graph, Node, NodeSettings, OnError, Retry

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53) + 1, 2**53 - 1).map(float)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
retries = st.builds(Retry, max_attempts=st.integers(1, 100), backoff=numbers, max_delay=numbers)
settings = st.builds(
    NodeSettings,
    disabled=st.booleans(),
    notes=texts,
    retry=retries,
    timeout=st.none() | numbers,
    on_error=st.sampled_from(OnError),
)
nodes = st.builds(
    Node,
    id=texts,
    type=texts,
    name=texts,
    params=st.dictionaries(texts, json_values, max_size=3),
    position=st.tuples(numbers, numbers),
    settings=settings,
)
edges = st.builds(Edge, source=texts, source_port=texts, target=texts, target_port=texts)
any_graphs = st.builds(Graph, st.lists(nodes, max_size=4).map(tuple), st.lists(edges, max_size=4).map(tuple))
"""Whatever can be written as JSON, valid or not."""


def plain_graph(count: int, pairs: Sequence[tuple[int, int]]) -> Graph:
    """A graph of `count` nodes n0, n1, ... named "Node 0", "Node 1", ..., and edges by their numbers."""
    return Graph(
        tuple(Node(id=f"n{number}", type="step", name=f"Node {number}") for number in range(count)),
        tuple(Edge(source=f"n{source}", target=f"n{target}") for source, target in pairs),
    )


@st.composite
def directed_graphs(draw: st.DrawFn) -> Graph:
    """Any edges between up to 8 nodes: often with cycles."""
    count = draw(st.integers(1, 8))
    ends = st.integers(0, count - 1)
    return plain_graph(count, draw(st.lists(st.tuples(ends, ends), max_size=16, unique=True)))


@st.composite
def acyclic_graphs(draw: st.DrawFn) -> Graph:
    """Edges that lead only forward in a random order of up to 8 nodes."""
    count = draw(st.integers(1, 8))
    order = draw(st.permutations(range(count)))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] < pair[1])
    drawn = draw(st.lists(pairs, max_size=16, unique=True)) if count > 1 else []
    return plain_graph(count, [(order[source], order[target]) for source, target in drawn])
