"""Saving flows: versions, stale bases, two who save at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from flows.models import Flow, FlowVersion
from flows.versions import (
    InvalidGraph,
    StaleBase,
    check_graph,
    create_flow,
    free_slug,
    newest_version,
    save_version,
)
from tests.integration.flow_data import cyclic_graph, graph_of, make_user

pytestmark = pytest.mark.django_db


def new_flow(name: str = "Flow") -> Flow:
    return create_flow(owner=make_user(name), name=name, graph_json=graph_of(1))


def test_a_new_flow_has_a_first_version() -> None:
    flow = new_flow("Größe & Co")
    version = newest_version(flow)
    assert (flow.head, flow.slug, version.number, version.author) == (1, "groe-co", 1, flow.owner)
    assert [node["id"] for node in version.graph["nodes"]] == ["start", "wait0"]
    assert version.graph["nodes"][1]["position"] == [0, 0] and len(version.checksum) == 64


def test_each_save_is_a_version_and_the_older_ones_stay() -> None:
    flow = new_flow()
    second = save_version(flow, graph_of(2), base=1, author=flow.owner, note="Longer.")
    assert (second.number, second.note, flow.head) == (2, "Longer.", 2)
    assert Flow.objects.get().head == 2
    first, newest = flow.versions.order_by("number")
    assert newest == newest_version(flow) == second
    assert first.graph["nodes"][1]["params"] == {"seconds": 1}


@pytest.mark.parametrize("base", [0, 1, 3, -1, 10**30])
def test_a_save_on_another_base_than_the_head_is_refused(base: int) -> None:
    flow = new_flow()
    save_version(flow, graph_of(2), base=1, author=flow.owner)
    with pytest.raises(StaleBase) as caught:
        save_version(flow, graph_of(3), base=base, author=flow.owner)
    assert caught.value.current == 2
    assert flow.versions.count() == 2 and Flow.objects.get().head == 2


@pytest.mark.parametrize("base", [1, 2])
def test_a_graph_that_is_the_newest_already_makes_no_version(base: int) -> None:
    """Also on the base it was first sent with: whoever did not hear the answer sends it again."""
    flow = new_flow()
    saved = save_version(flow, graph_of(2), base=1, author=flow.owner)
    reordered = {"edges": graph_of(2)["edges"], "nodes": graph_of(2)["nodes"]}
    assert save_version(flow, reordered, base=base, author=flow.owner) == saved
    assert flow.versions.count() == 2


def test_a_graph_that_was_an_older_version_makes_a_new_one() -> None:
    flow = new_flow()
    save_version(flow, graph_of(2), base=1, author=flow.owner)
    assert save_version(flow, graph_of(1), base=2, author=flow.owner).number == 3


def test_an_invalid_graph_is_refused_with_all_its_problems_and_nothing_is_written() -> None:
    flow = new_flow()
    graph = cyclic_graph()
    graph["nodes"][1]["params"] = {"seconds": "soon"}
    with pytest.raises(InvalidGraph, match="and 1 more") as caught:
        save_version(flow, graph, base=1, author=flow.owner)
    assert [problem.code for problem in caught.value.problems] == ["bad_params", "cycle"]
    with pytest.raises(InvalidGraph):
        create_flow(owner=flow.owner, name="Other", graph_json=graph)
    assert Flow.objects.count() == FlowVersion.objects.count() == 1


def test_warnings_do_not_keep_a_graph_from_being_saved() -> None:
    flow = new_flow()
    graph = graph_of(1, 2)
    graph["edges"].pop()
    assert [problem.severity for problem in check_graph(graph)] == ["warning"]
    assert save_version(flow, graph, base=1, author=None).author is None


def test_what_is_no_graph_at_all_is_one_problem_with_its_place() -> None:
    (problem,) = check_graph({"nodes": [{"id": 1, "type": "manual"}]})
    assert (problem.code, problem.field) == ("shape", "nodes[0].id")
    assert problem.message == "graph.nodes[0].id: must be text, not a number"
    assert check_graph(None)[0].message == "graph: must be an object, not null"


def test_a_version_of_a_deleted_flow_cannot_be_saved() -> None:
    flow = new_flow()
    gone = Flow.objects.get()
    flow.delete()
    with pytest.raises(Flow.DoesNotExist):
        save_version(gone, graph_of(2), base=1, author=None)
    assert not FlowVersion.objects.exists()


@pytest.mark.parametrize(
    ("name", "slug"), [("Sales report", "sales-report"), ("123", "flow-123"), ("東京", "flow"), ("x" * 200, "x" * 180)]
)
def test_a_slug_is_made_of_the_name_and_is_never_an_id(name: str, slug: str) -> None:
    assert free_slug(name) == slug
    owner = make_user("owner")
    slugs = [create_flow(owner=owner, name=name, graph_json=graph_of()).slug for _ in range(3)]
    assert slugs == [slug, f"{slug}-2", f"{slug}-3"]


@pytest.mark.django_db(transaction=True)
def test_of_those_who_save_at_once_on_one_base_one_wins() -> None:
    flow = new_flow()
    together = threading.Barrier(6, timeout=30)

    def save(seconds: int) -> str:
        mine = Flow.objects.get(pk=flow.pk)
        together.wait()
        try:
            return f"saved as {save_version(mine, graph_of(seconds), base=1, author=None).number}"
        except StaleBase as error:
            return f"refused for {error.current}"
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(save, range(10, 16)))
    assert sorted(answers) == [*["refused for 2"] * 5, "saved as 2"]
    assert flow.versions.count() == 2 and newest_version(flow).number == Flow.objects.get().head == 2
