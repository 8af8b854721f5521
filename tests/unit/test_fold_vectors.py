"""The server folds events as the page's JavaScript does: both are held to the same vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from executions.events import Event, EventType, fold

VECTORS = json.loads((Path(__file__).resolve().parent.parent / "vectors" / "fold.json").read_text(encoding="utf-8"))


def folded(state: dict[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    for event in events:
        state = fold(state, Event(event["seq"], event["type"], event["data"]))
    return state


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_events_are_folded_as_the_shared_vectors_say(vector: dict[str, Any]) -> None:
    assert folded(vector["state"], vector["events"]) == vector["expected"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_snapshot_at_any_event_and_the_events_behind_it_give_the_whole(vector: dict[str, Any]) -> None:
    events = vector["events"]
    for cut in range(len(events) + 1):
        snapshot = json.loads(json.dumps(folded(vector["state"], events[:cut])))
        assert folded(snapshot, events[cut:]) == vector["expected"]
        assert folded(snapshot, events) == vector["expected"]


def test_the_vectors_hold_every_type_of_event() -> None:
    assert {event["type"] for vector in VECTORS for event in vector["events"]} == set(EventType)
