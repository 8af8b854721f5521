"""Positions for a graph that has none: a layered drawing, left to right, with few crossings. Pure."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

COLUMN = 280.0
"""From the left side of one layer to that of the next."""
ROW = 120.0
"""From the top of one card to that of the next in its layer."""

SWEEPS = 6
LONGEST_ROUTED = 12
"""Edges over more layers than this get no place of their own between the cards, so that a dense graph stays cheap."""

Key = Hashable
Pairs = Iterable[tuple[str, str]]


def arrange(names: Sequence[str], edges: Pairs) -> dict[str, tuple[float, float]]:
    """The top left corner of each node's card. Edges that close a cycle do not count; unknown ends are ignored.

    The method is Sugiyama's (1981): layers by longest path, places of their own for long edges, order within a layer by
    the mean of the neighbours' places, and last the heights, each as near to its neighbours' as its layer admits.
    """
    known = set(names)
    forward = _without_cycles(names, [(s, t) for s, t in edges if s in known and t in known and s != t])
    layer_of = _longest_paths(names, forward)
    layers, before, after = _with_routes(names, forward, layer_of)
    for sweep in range(SWEEPS):
        _reorder(layers, before if sweep % 2 == 0 else after, downwards=sweep % 2 == 0)
    heights = _heights(layers, before, after)
    return {name: (layer_of[name] * COLUMN, round(heights[name])) for name in names}


def _without_cycles(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    targets: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        targets[edge[0]].append(edge[1])
    on_path, done, closing = set[str](), set[str](), set[tuple[str, str]]()
    for root in names:
        stack = [(root, iter(targets[root]))] if root not in done else []
        on_path.add(root)
        while stack:
            name, rest = stack[-1]
            target = next(rest, None)
            if target is None:
                on_path.discard(name)
                done.add(name)
                stack.pop()
            elif target in on_path:
                closing.add((name, target))
            elif target not in done:
                on_path.add(target)
                stack.append((target, iter(targets[target])))
        on_path.discard(root)
    return [edge for edge in dict.fromkeys(edges) if edge not in closing]


def _longest_paths(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    targets: dict[str, list[str]] = defaultdict(list)
    open_inputs = dict.fromkeys(names, 0)
    for source, target in edges:
        targets[source].append(target)
        open_inputs[target] += 1
    layer_of = dict.fromkeys(names, 0)
    ready = [name for name in names if open_inputs[name] == 0]
    for name in ready:  # grows while it is walked
        for target in targets[name]:
            layer_of[target] = max(layer_of[target], layer_of[name] + 1)
            open_inputs[target] -= 1
            if open_inputs[target] == 0:
                ready.append(target)
    return layer_of


def _with_routes(
    names: Sequence[str], edges: Sequence[tuple[str, str]], layer_of: Mapping[str, int]
) -> tuple[list[list[Key]], dict[Key, list[Key]], dict[Key, list[Key]]]:
    """The layers, with a place for each layer that a long edge passes, and who is joined to whom."""
    layers: list[list[Key]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    before: dict[Key, list[Key]] = defaultdict(list)
    after: dict[Key, list[Key]] = defaultdict(list)
    for name in names:
        layers[layer_of[name]].append(name)
    for source, target in edges:
        passed = range(layer_of[source] + 1, layer_of[target])
        route: list[Key] = [(source, target, layer) for layer in passed] if len(passed) <= LONGEST_ROUTED else []
        for layer, place in zip(passed, route, strict=False):
            layers[layer].append(place)
        stops: list[Key] = [source, *route, target]
        for left, right in itertools.pairwise(stops):
            after[left].append(right)
            before[right].append(left)
    return layers, before, after


def _reorder(layers: list[list[Key]], neighbours: Mapping[Key, list[Key]], *, downwards: bool) -> None:
    rank = {key: float(index) for layer in layers for index, key in enumerate(layer)}
    for layer in layers if downwards else reversed(layers):
        layer.sort(key=lambda key: _mean([rank[other] for other in neighbours.get(key, ())], rank[key]))
        rank.update((key, float(index)) for index, key in enumerate(layer))


def _heights(
    layers: list[list[Key]], before: Mapping[Key, list[Key]], after: Mapping[Key, list[Key]]
) -> dict[Key, float]:
    height = {key: (index - (len(layer) - 1) / 2) * ROW for layer in layers for index, key in enumerate(layer)}
    for sweep in range(SWEEPS):
        neighbours = before if sweep % 2 == 0 else after
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted = [_mean([height[other] for other in neighbours.get(key, ())], height[key]) for key in layer]
            height.update(zip(layer, _apart(wanted), strict=True))
    top = min(height.values(), default=0.0)
    return {key: value - top for key, value in height.items()}


def _apart(wanted: Sequence[float]) -> list[float]:
    """The heights nearest to the wanted ones, in the same order, a row apart.

    Least squares by pooling: heights that would come too near to each other move as one block to the mean of what its
    members want.
    """
    blocks: list[tuple[float, int]] = []  # sum of (wanted - place within the block), number of members
    for value in wanted:
        total, count = value, 1
        while blocks and blocks[-1][0] / blocks[-1][1] + blocks[-1][1] * ROW > total / count:
            previous_total, previous_count = blocks.pop()
            total, count = previous_total + total - count * previous_count * ROW, previous_count + count
        blocks.append((total, count))
    return [total / count + index * ROW for total, count in blocks for index in range(count)]


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
