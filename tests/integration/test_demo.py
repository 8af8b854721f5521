"""The demo: its user, its node type, and its three flows, which do what they say."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from demo.management.commands.create_demo import FLOWS
from demo.nodes import DATA, ReadCsv, read_rows
from executions.statuses import NodeStatus
from flows.context import NodeError
from flows.graph import Graph, Node, parse_graph
from flows.models import Flow, FlowVersion
from flows.node_types import execute, registry
from flows.parameters import check_params
from flows.versions import check_graph
from tests.unit.engine_world import World

CARD_WIDTH, CARD_HEIGHT = 200, 72

User = get_user_model()


def create_demo(**options: Any) -> str:
    output = io.StringIO()
    call_command("create_demo", stdout=output, **options)
    return output.getvalue()


def demo_flows() -> list[dict[str, Any]]:
    return [orjson.loads(path.read_bytes()) for path in sorted(FLOWS.glob("*.json"))]


# The command


@pytest.mark.django_db(transaction=True, reset_sequences=True)
def test_a_fresh_database_gets_the_user_and_flows_1_to_3(settings: Any) -> None:
    settings.DEBUG = True
    create_demo()
    user = User.objects.get()
    assert user.username == "demo" and user.check_password("demo") and user.is_staff and not user.is_superuser
    for permission in ("flows.change_flow", "flows.view_flowversion", "executions.view_execution"):
        assert user.has_perm(permission)
    assert not user.has_perm("auth.change_user")
    assert [(flow.pk, flow.slug, flow.head) for flow in Flow.objects.order_by("pk")] == [
        (1, "three-waits", 1),
        (2, "order-quote", 1),
        (3, "sales-report", 1),
    ]
    assert {flow.owner for flow in Flow.objects.all()} == {user}


@pytest.mark.django_db
def test_repeated_it_leaves_what_is_there_alone(settings: Any) -> None:
    settings.DEBUG = True
    create_demo()
    user = User.objects.get()
    user.set_password("my own")
    user.save()
    Flow.objects.filter(slug="three-waits").update(name="Mine")
    assert create_demo() == ""
    assert User.objects.get().check_password("my own")
    assert Flow.objects.count() == FlowVersion.objects.count() == 3 and Flow.objects.filter(name="Mine").exists()


@pytest.mark.django_db
def test_without_debug_no_known_password_is_created(settings: Any) -> None:
    settings.DEBUG = False
    with pytest.raises(CommandError, match="DEBUG is off"):
        create_demo()
    assert not User.objects.exists() and not Flow.objects.exists()


@pytest.mark.django_db
def test_without_debug_an_existing_user_may_own_the_flows(settings: Any) -> None:
    settings.DEBUG = False
    owner = User.objects.create_user("someone")
    create_demo(owner="someone")
    assert {flow.owner for flow in Flow.objects.all()} == {owner} and not owner.has_perm("flows.view_flow")
    with pytest.raises(CommandError, match="no user 'nobody'"):
        create_demo(owner="nobody")
    assert User.objects.count() == 1


# The flows


@pytest.mark.parametrize("flow", demo_flows(), ids=lambda flow: str(flow["slug"]))
def test_a_demo_flow_is_valid_and_laid_out_without_overlap(flow: dict[str, Any]) -> None:
    assert check_graph(flow["graph"]) == []
    graph = parse_graph(flow["graph"])
    corners = [node.position for node in graph.nodes]
    for number, (x, y) in enumerate(corners):
        assert x % 280 == 0 and y % 120 == 0
        for other_x, other_y in corners[:number]:
            assert abs(x - other_x) >= CARD_WIDTH or abs(y - other_y) >= CARD_HEIGHT
    for edge in graph.edges:
        assert graph.node(edge.source).position[0] < graph.node(edge.target).position[0]


def test_the_first_flow_waits_2_3_and_1_seconds() -> None:
    graph = parse_graph(demo_flows()[0]["graph"])
    assert [(node.type, node.params.get("seconds")) for node in graph.nodes] == [
        ("manual", None),
        ("delay", 2),
        ("delay", 3),
        ("delay", 1),
    ]
    assert [(edge.source, edge.target) for edge in graph.edges] == [
        (before.id, behind.id) for before, behind in pairwise(graph.nodes)
    ]


def without_delays(graph: Graph) -> Graph:
    nodes = [
        Node(id=node.id, type=node.type, name=node.name, params={"seconds": 0} if node.type == "delay" else node.params)
        for node in graph.nodes
    ]
    return Graph(tuple(nodes), graph.edges)


async def run_demo(number: int, **run_input: Any) -> tuple[dict[str, NodeStatus], dict[str, Any]]:
    """Statuses and output items (of the first port that delivered) by node id."""
    graph = without_delays(parse_graph(demo_flows()[number - 1]["graph"]))
    world = World(
        graph,
        {node.id: partial(execute, registry[node.type]) for node in graph.nodes},
        triggers={node.id for node in graph.nodes if registry[node.type].trigger},
        input=run_input,
    )
    await world.drive()
    outputs = {
        node_id: next(iter(restored.outputs.values()))
        for node_id, restored in world.journal.restored().items()
        if restored.outputs
    }
    return world.statuses(), {node_id: orjson.loads(text) for node_id, text in outputs.items()}


async def test_a_small_order_is_confirmed_and_the_manager_is_skipped() -> None:
    statuses, outputs = await run_demo(2)
    assert {node_id for node_id, status in statuses.items() if status is not NodeStatus.SUCCESS} == {"approve"}
    assert statuses["approve"] is NodeStatus.SKIPPED
    (answer,) = outputs["answer"]
    assert answer["total"] == 3 * 89.90 + 4.90
    assert answer["answer"] == "3 x Keyboard for 274.60 EUR, there in 1 day with Rheinpaket."


@pytest.mark.parametrize(
    "order", [{"sku": "MN-270", "quantity": 2, "country": "CH"}, {"sku": "CM-015", "quantity": "1"}]
)
async def test_a_large_order_or_one_out_of_stock_goes_to_the_manager(order: dict[str, Any]) -> None:
    statuses, outputs = await run_demo(2, **order)
    assert statuses["confirm"] is NodeStatus.SKIPPED and statuses["answer"] is NodeStatus.SUCCESS
    assert outputs["answer"][0]["answer"].startswith("A colleague will call you")


async def test_the_sales_report_adds_up() -> None:
    statuses, outputs = await run_demo(3)
    assert set(statuses.values()) == {NodeStatus.SUCCESS}
    revenue: dict[str, float] = defaultdict(float)
    with (DATA / "sales.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["status"] == "paid":
                revenue[row["region"]] += int(row["quantity"]) * float(row["unit_price"])
    shares = {item["region"]: item for item in outputs["shares"]}
    assert {region: item["revenue"] for region, item in shares.items()} == pytest.approx(revenue)
    assert sum(item["share"] for item in shares.values()) == pytest.approx(100, abs=0.2)
    assert sum(item["revenue"] for item in outputs["best"]) == pytest.approx(sum(revenue.values()))
    assert [item["best"] for item in outputs["best"]].count(True) == 1
    assert {item["status"] for item in outputs["unpaid"]} == {"open", "canceled"}


# Its node type


def test_numbers_are_read_as_numbers_and_all_else_as_text(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text('a,b\n1,-2.50\n007,1e5\n"x, ""y""",\n', encoding="utf-8")
    assert read_rows(path) == [{"a": 1, "b": -2.5}, {"a": "007", "b": "1e5"}, {"a": 'x, "y"', "b": ""}]
    assert read_rows(path, 1) == [{"a": 1, "b": -2.5}]


@pytest.mark.parametrize("row", ["1", "1,2,3"])
def test_a_row_of_the_wrong_length_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "some.csv"
    path.write_text(f"a,b\n1,2\n{row}\n", encoding="utf-8")
    with pytest.raises(NodeError, match=r"some.csv, line 3: the row does not have 2 cells"):
        read_rows(path)


@pytest.mark.parametrize("name", ["../nodes.py", "/etc/passwd", "gone.csv", "", "sales.csv\x00"])
def test_no_other_file_can_be_read(name: str) -> None:
    assert [field for field, _ in check_params(ReadCsv.Params, {"file": name})] == ["file"]
    assert check_params(ReadCsv.Params, {"file": "sales.csv"}) == []


def test_the_node_type_is_named_with_its_app() -> None:
    assert registry["demo.read_csv"] is ReadCsv
