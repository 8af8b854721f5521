"""Which flow and which run a person means on a command line."""

from __future__ import annotations

from difflib import get_close_matches
from uuid import UUID

from executions.models import Execution
from flows.models import Flow

MOST_DIGITS = 18
"""More than that is no id of a database (2**63 has 19)."""

LISTED = 10
COMPARED = 1000
LONGEST = 40
"""Characters that are shown of a slug; a longer one is recognised by its beginning, and named by its id."""


class UnknownReference(Exception):
    """There is no such flow, or no such run; the message says what there is instead."""


def find_flow(reference: str) -> Flow:
    """The flow with this id or slug. Raises UnknownReference."""
    if reference.isascii() and reference.isdigit() and len(reference) <= MOST_DIGITS:
        flow = Flow.objects.filter(pk=int(reference)).first()
        if flow is not None:
            return flow
    flow = Flow.objects.filter(slug=reference).first()
    if flow is None:
        raise UnknownReference(f"There is no flow {_short(reference)!r}. {_instead(reference)}")
    return flow


def _instead(reference: str) -> str:
    known = dict(Flow.objects.values_list("slug", "pk")[:COMPARED])
    if not known:
        return "There are no flows at all yet."
    close = get_close_matches(reference.lower(), known, n=3)
    if close:
        meant = (slug if len(slug) <= LONGEST else f"{known[slug]} {_short(slug)}" for slug in close)
        return f"Did you mean {' or '.join(meant)}?"
    listed = ", ".join(f"{pk} {_short(slug)}" for slug, pk in list(known.items())[:LISTED])
    return f"Flows: {listed}{', and more' if len(known) > LISTED else ''}."


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def find_run(reference: str) -> Execution:
    """The run with this id. Raises UnknownReference."""
    try:
        execution_id = UUID(reference)
    except ValueError:
        raise UnknownReference(
            f"{reference!r} is not the id of a run; one looks like 01890000-0000-7000-8000-000000000000."
        ) from None
    run = Execution.objects.filter(pk=execution_id).select_related("flow", "flow_version").first()
    if run is None:
        raise UnknownReference(f"There is no run {execution_id}.")
    return run
