"""Saving flows: each save is a new version, made only if nobody else has saved since the author began."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from flows.graph import GraphError, canonical_checksum, dump_graph, parse_graph
from flows.models import Flow, FlowVersion
from flows.node_types import registry
from flows.validation import Problem, has_errors, validate

SLUG_ROOM = 180
"""Of the 200 characters of a slug; the rest is for the number that makes it unique."""


class FlowRefused(Exception):
    """A flow was not saved; the tree of reasons is StaleBase and InvalidGraph."""


class StaleBase(FlowRefused):
    """Another version was saved since; `current` is the number of the newest."""

    def __init__(self, current: int) -> None:
        super().__init__(f"The flow was changed since: its newest version is {current}. Load it, then save again.")
        self.current = current


class InvalidGraph(FlowRefused):
    """The graph has errors; `problems` holds these and the warnings."""

    def __init__(self, problems: list[Problem]) -> None:
        errors = [problem for problem in problems if problem.severity == "error"]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"The graph is not valid: {errors[0].message}{more}")
        self.problems = problems


def check_graph(graph_json: object) -> list[Problem]:
    """All problems of a graph; one that is not even of a graph's shape has this one problem, with code `shape`."""
    try:
        return validate(parse_graph(graph_json), registry)
    except GraphError as error:
        return [_shape_problem(error)]


def newest_version(flow: Flow) -> FlowVersion:
    """The version a run started now would take. Raises FlowVersion.DoesNotExist for a flow that was never saved."""
    return flow.versions.latest("number")


def save_version(
    flow: Flow, graph_json: object, *, base: int, author: AbstractBaseUser | None, note: str = ""
) -> FlowVersion:
    """Save a graph drawn on the version `base` (0: there is none yet); return the version that holds it.

    A graph that is the newest version's already makes no new one: a save sent twice is done once. Raises InvalidGraph
    and StaleBase; nothing is written then.
    """
    return _save(flow, checked_graph(graph_json), base=base, author=author, note=note)


def create_flow(
    *, owner: AbstractBaseUser, name: str, graph_json: object, slug: str = "", active: bool = True, note: str = ""
) -> Flow:
    """A new flow with its first version; without a `slug` one is made of its name. Raises InvalidGraph."""
    graph = checked_graph(graph_json)
    with transaction.atomic():
        flow = Flow.objects.create(owner_id=owner.pk, name=name, slug=slug or free_slug(name), active=active)
        _save(flow, graph, base=0, author=owner, note=note)
    return flow


def checked_graph(graph_json: object) -> dict[str, Any]:
    """The graph's JSON as it is stored. Raises InvalidGraph."""
    try:
        graph = parse_graph(graph_json)
    except GraphError as error:
        raise InvalidGraph([_shape_problem(error)]) from error
    problems = validate(graph, registry)
    if has_errors(problems):
        raise InvalidGraph(problems)
    return dump_graph(graph)


def free_slug(name: str) -> str:
    """A slug no flow has yet. Never digits only: where a flow is named by id or slug, that would be an id."""
    start = slugify(name)[:SLUG_ROOM].strip("-_")
    if not re.search(r"[a-z_-]", start):
        start = f"flow-{start}".strip("-")
    taken = set(Flow.objects.filter(slug__startswith=start).values_list("slug", flat=True))
    return next(slug for slug in _numbered(start) if slug not in taken)


def _numbered(start: str) -> Iterator[str]:
    yield start
    for number in count(2):
        yield f"{start}-{number}"


def _save(flow: Flow, graph: dict[str, Any], *, base: int, author: AbstractBaseUser | None, note: str) -> FlowVersion:
    checksum = canonical_checksum(graph)
    with transaction.atomic():
        if same := _newest_if(flow, checksum):
            return same
        # The condition and the write are one statement: of two who save on the same base one finds no row.
        if not Flow.objects.filter(pk=flow.pk, head=base).update(head=base + 1, updated_at=timezone.now()):
            if same := _newest_if(flow, checksum):
                return same
            raise StaleBase(flow.head)
        flow.refresh_from_db(fields=["head", "updated_at"])
        return FlowVersion.objects.create(
            flow=flow,
            number=flow.head,
            graph=graph,
            checksum=checksum,
            author_id=author.pk if author else None,
            note=note,
        )


def _newest_if(flow: Flow, checksum: str) -> FlowVersion | None:
    """The newest version if it has this checksum; `flow` is brought up to date. Raises Flow.DoesNotExist."""
    flow.refresh_from_db(fields=["head", "updated_at"])
    return flow.versions.filter(number=flow.head, checksum=checksum).first()


def _shape_problem(error: GraphError) -> Problem:
    where = f"graph.{error}" if error.path else f"graph: {error}"
    return Problem(None, "shape", where, field=error.path or None)
