"""The node types that come with flows, run as the engine runs them: through `execute`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flows.context import Items, NodeContext, NodeError, Ports, Resumption, Scope, Suspend
from flows.forms import describe_node_type
from flows.graph import Node
from flows.node_types import execute, registry
from flows.parameters import check_params

BUILTIN = ["aggregate", "delay", "fail", "http", "if", "manual", "merge", "noop", "set", "wait_for_resume"]


class Reports:
    """Takes the progress of a node."""

    def __init__(self) -> None:
        self.seen: list[tuple[float | None, str]] = []

    async def __call__(self, fraction: float | None = None, message: str = "", text: str = "") -> None:
        self.seen.append((fraction, message))


def context(type_name: str, params: dict[str, Any], inputs: Ports, reports: Reports | None = None) -> NodeContext:
    async def no_params() -> list[dict[str, Any]]:
        return []

    return NodeContext(
        node=Node(id="n", type=type_name, name="The node", params=params),
        attempt=1,
        inputs=inputs,
        scope=Scope(now="2026-11-22T16:00:00.000000Z"),
        idempotency_key="run:n",
        progress=reports or Reports(),
        params_for=no_params,
    )


async def run(
    type_name: str,
    params: dict[str, Any],
    items: Items | None = None,
    reports: Reports | None = None,
    *,
    one: Items | None = None,
    two: Items | None = None,
) -> Ports:
    ports = {"main": items, "one": one, "two": two}
    inputs = {port: delivered for port, delivered in ports.items() if delivered is not None}
    return await execute(registry[type_name], context(type_name, params, inputs, reports))


async def failure(
    type_name: str,
    params: dict[str, Any],
    items: Items | None = None,
    *,
    one: Items | None = None,
    two: Items | None = None,
) -> NodeError:
    with pytest.raises(NodeError) as caught:
        await run(type_name, params, items, one=one, two=two)
    assert caught.value.hint
    return caught.value


def problems(type_name: str, params: dict[str, Any]) -> list[tuple[str, str]]:
    return check_params(registry[type_name].Params, params)


@pytest.mark.parametrize("name", BUILTIN)
def test_each_builtin_is_registered_and_described(name: str) -> None:
    described = describe_node_type(registry[name])
    assert described["name"] == name
    assert described["label"]
    assert described["help"]
    assert described["trigger"] == (name == "manual")
    assert described["pure"] == (name not in {"http", "wait_for_resume"})
    assert registry[name].summary in {"", *registry[name].Params.base_fields}


def test_editors_are_told_which_control_a_parameter_needs() -> None:
    kinds = {
        (name, field["name"]): field["kind"]
        for name in BUILTIN
        for field in describe_node_type(registry[name])["fields"]
    }
    assert kinds["set", "fields"] == "assignments"
    assert kinds["set", "keep"] == "boolean"
    assert kinds["if", "condition"] == "expression"
    assert kinds["delay", "seconds"] == "number"
    assert kinds["merge", "mode"] == "choice"
    assert kinds["http", "body"] == "json"
    assert kinds["http", "url"] == "text"
    assert kinds["fail", "message"] == "textarea"


# manual, noop, fail


@pytest.mark.parametrize("name", ["manual", "noop"])
async def test_items_pass_unchanged(name: str) -> None:
    items: Items = [{"a": 1}, {"b": [None]}]
    assert await run(name, {}, items) == {"main": items}
    assert await run(name, {}, []) == {"main": []}


async def test_fail_fails_with_the_words_it_was_given() -> None:
    error = await failure("fail", {"message": '="No stock of " + item["name"]'}, [{"name": "tea"}])
    assert (error.message, error.type) == ("No stock of tea", "Failed")
    assert "The node" in error.hint
    assert (await failure("fail", {}, [])).message


# delay


async def test_a_delay_waits_and_reports_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.nodes.control.PROGRESS_FROM", 1.0)
    reports = Reports()
    began = time.monotonic()
    assert await run("delay", {"seconds": 1.2}, [{"a": 1}], reports) == {"main": [{"a": 1}]}
    assert 1.2 <= time.monotonic() - began < 3
    fractions = [fraction for fraction, _ in reports.seen if fraction is not None]
    assert fractions[0] == pytest.approx(0, abs=0.1)
    assert fractions[1] == pytest.approx(1 / 1.2, abs=0.15)
    assert fractions == sorted(fractions)
    assert reports.seen[1][1] == "1 of 1.2 s"


async def test_short_delays_report_nothing_and_text_from_an_expression_is_a_number() -> None:
    reports = Reports()
    began = time.monotonic()
    assert await run("delay", {"seconds": '=item["wait"]'}, [{"wait": "0.05"}, {"wait": "1000"}], reports)
    assert time.monotonic() - began < 1
    assert reports.seen == []
    assert await run("delay", {"seconds": 0}, []) == {"main": []}


async def suspension(ctx: NodeContext) -> Suspend:
    with pytest.raises(Suspend) as caught:
        await execute(registry[ctx.node.type], ctx)
    return caught.value


async def resumed(ctx: NodeContext, resumption: Resumption) -> Ports:
    return await execute(registry[ctx.node.type], replace(ctx, resumption=resumption))


@pytest.mark.parametrize("kind", ["timeout", "signal"])
async def test_a_long_delay_holds_no_worker(settings: Any, kind: Any) -> None:
    settings.WATAOMI_PARK_AFTER = 60
    ctx = context("delay", {"seconds": 61}, {"main": [{"n": 1}]})
    assert (await suspension(ctx)).until == ctx.started_at + timedelta(seconds=61)
    assert await resumed(ctx, Resumption(kind=kind)) == {"main": [{"n": 1}]}


@pytest.mark.parametrize(
    ("params", "seconds"),
    [({}, None), ({"timeout": 3}, 3 * 3600), ({"timeout": 1.5, "unit": "minutes"}, 90), ({"timeout": ""}, None)],
)
async def test_wait_for_resume_waits_for_its_time_or_a_signal(params: dict[str, Any], seconds: float | None) -> None:
    ctx = context("wait_for_resume", params, {"main": [{"n": 1}, {"n": 2}]})
    until = None if seconds is None else ctx.started_at + timedelta(seconds=seconds)
    assert (await suspension(ctx)).until == until
    items = [{"n": 1}, {"n": 2}]
    assert await resumed(ctx, Resumption(kind="timeout")) == {"timeout": items}
    told = await resumed(ctx, Resumption(kind="signal", data={"ok": True}))
    assert told == {"resumed": [{**item, "resume": {"ok": True}} for item in items]}


async def test_wait_for_resume_refuses_a_time_out_beyond_a_year() -> None:
    error = await failure("wait_for_resume", {"timeout": 1e300, "unit": "days"}, [{}])
    assert "longer than 366 days" in error.message


async def test_a_delay_is_cancelled_at_once() -> None:
    task = asyncio.ensure_future(run("delay", {"seconds": 30}, []))
    await asyncio.sleep(0)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("seconds", [-1, "x", None, True, [], 10**9, "nan", "inf", {}])
async def test_a_delay_refuses_what_is_no_duration(seconds: Any) -> None:
    assert [field for field, _ in problems("delay", {"seconds": seconds})] == ["seconds"]
    error = await failure("delay", {"seconds": '=item["wait"]'}, [{"wait": seconds}])
    assert "'seconds'" in error.message


# set


async def test_set_adds_to_the_fields_of_an_item_and_replaces_them() -> None:
    params = {"fields": {"total": '=item["price"] * item["count"]', "kind": "sale", "deep": {"n": ['=item["count"]']}}}
    items: Items = [{"price": 2.5, "count": 4, "kind": "?"}, {"price": 1, "count": 3, "x": None}]
    assert await run("set", params, items) == {
        "main": [
            {"price": 2.5, "count": 4, "kind": "sale", "total": 10.0, "deep": {"n": [4]}},
            {"price": 1, "count": 3, "x": None, "kind": "sale", "total": 3, "deep": {"n": [3]}},
        ]
    }
    assert items[0] == {"price": 2.5, "count": 4, "kind": "?"}


async def test_set_drops_other_fields_when_told_so() -> None:
    assert await run("set", {"fields": {"a": 1}, "keep": False}, [{"b": 2}, {}]) == {"main": [{"a": 1}, {"a": 1}]}
    assert await run("set", {"fields": {}, "keep": False}, [{"b": 2}]) == {"main": [{}]}
    assert await run("set", {}, [{"b": 2}]) == {"main": [{"b": 2}]}
    assert await run("set", {"fields": {"a": '=item["x"]'}}, []) == {"main": []}


async def test_set_takes_its_fields_as_a_list_as_text_and_from_an_expression() -> None:
    rows = [{"name": "a", "value": '=item["n"] + 1'}, {"name": "b.c", "value": None}]
    assert await run("set", {"fields": rows, "keep": False}, [{"n": 1}]) == {"main": [{"a": 2, "b.c": None}]}
    assert await run("set", {"fields": '{"a": 1}', "keep": False}, [{"n": 1}]) == {"main": [{"a": 1}]}
    assert await run("set", {"fields": "=item['more']", "keep": False}, [{"more": {"z": 1}}]) == {"main": [{"z": 1}]}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (5, "a number"),
        ("not JSON", "valid JSON"),
        ([1], "Entry 0"),
        ([{"name": "a"}], "Entry 0"),
        ([{"name": "", "value": 1}], "no name"),
        ([{"name": "a", "value": 1}, {"name": "a", "value": 2}], "twice"),
        ([{"name": "a", "value": 1, "type": "x"}], "Entry 0"),
    ],
)
async def test_set_says_what_is_wrong_with_its_fields(fields: Any, said: str) -> None:
    [(field, message)] = problems("set", {"fields": fields})
    assert field == "fields"
    assert said in message
    assert said in (await failure("set", {"fields": "=item['f']"}, [{"f": fields}])).message


# if


async def test_if_sends_each_item_to_its_port_in_order() -> None:
    items = [{"n": n} for n in range(5)]
    assert await run("if", {"condition": '=item["n"] % 2 == 0'}, items) == {
        "true": [{"n": 0}, {"n": 2}, {"n": 4}],
        "false": [{"n": 1}, {"n": 3}],
    }


async def test_a_port_of_if_that_no_item_goes_to_is_left_out() -> None:
    assert await run("if", {"condition": '=item["n"] > 0'}, [{"n": 1}]) == {"true": [{"n": 1}]}
    assert await run("if", {"condition": '=item["n"] > 1'}, [{"n": 1}]) == {"false": [{"n": 1}]}
    assert await run("if", {"condition": '=item["n"] > 1'}, []) == {}
    assert await run("if", {"condition": True}, [{}]) == {"true": [{}]}


@pytest.mark.parametrize(
    ("value", "port"), [(0, "false"), (3, "true"), (0.0, "false"), ("False", "false"), ("true", "true")]
)
async def test_numbers_and_the_words_true_and_false_are_conditions(value: Any, port: str) -> None:
    assert list(await run("if", {"condition": '=item["v"]'}, [{"v": value}])) == [port]


@pytest.mark.parametrize("value", ["yes", "", None, [], {}, [1]])
async def test_what_is_neither_true_nor_false_is_refused_not_guessed(value: Any) -> None:
    error = await failure("if", {"condition": '=item["v"]'}, [{"v": value}])
    assert "'condition'" in error.message
    assert "true or false" in error.message


def test_a_condition_without_its_equals_sign_is_refused_when_saved() -> None:
    [(field, message)] = problems("if", {"condition": 'item["n"] > 1'})
    assert field == "condition"
    assert '=item["age"] >= 18' in message
    assert [field for field, _ in problems("if", {})] == ["condition"]
    assert problems("if", {"condition": '=item["n"] > 1'}) == []
    assert [field for field, _ in problems("if", {"condition": "=item["})] == ["condition"]


# merge


ONE: Items = [{"id": 1, "a": "x"}, {"id": 2, "a": "y"}, {"id": 2, "a": "z"}, {"id": None, "a": "n"}]
TWO: Items = [{"id": 2, "b": "p", "a": "two"}, {"id": 3, "b": "q"}, {"id": 2.0, "b": "r"}, {"id": "2", "b": "s"}]


async def test_merge_appends_in_the_order_of_its_ports() -> None:
    assert await run("merge", {}, two=[{"b": 1}], one=[{"a": 1}]) == {"main": [{"a": 1}, {"b": 1}]}
    assert await run("merge", {"mode": "append"}, two=[{"b": 1}]) == {"main": [{"b": 1}]}
    assert await run("merge", {}) == {"main": []}


async def test_merge_combines_by_position() -> None:
    one: Items = [{"a": 1}, {"a": 2}]
    two: Items = [{"a": 9, "b": 1}]
    combined = {"main": [{"a": 9, "b": 1}, {"a": 2}]}
    assert await run("merge", {"mode": "position"}, one=one, two=two) == combined
    assert await run("merge", {"mode": "position", "keep_unmatched": False}, one=one, two=two) == {
        "main": [{"a": 9, "b": 1}]
    }


async def test_merge_combines_by_key() -> None:
    matched = [
        {"id": 2, "a": "two", "b": "p"},
        {"id": 2, "a": "y", "b": "r"},
        {"id": 2, "a": "two", "b": "p"},
        {"id": 2, "a": "z", "b": "r"},
    ]
    params = {"mode": "key", "key": "id"}
    assert await run("merge", {**params, "keep_unmatched": False}, one=ONE, two=TWO) == {"main": matched}
    assert await run("merge", params, one=ONE, two=TWO) == {
        "main": [{"id": 1, "a": "x"}, *matched, {"id": None, "a": "n"}, {"id": 3, "b": "q"}, {"id": "2", "b": "s"}]
    }


async def test_merge_names_the_item_that_lacks_the_key() -> None:
    error = await failure("merge", {"mode": "key", "key": "id"}, one=[{"id": 1}], two=[{"id": 1}, {"ID": 2}])
    assert "Item 1 of the port “two” has no field “id”" in error.message
    assert "ID" in error.hint


async def test_merge_by_key_needs_a_key() -> None:
    assert [field for field, _ in problems("merge", {"mode": "key"})] == ["key"]
    assert "name of a field" in (await failure("merge", {"mode": "key"}, one=[], two=[])).message
    assert [field for field, _ in problems("merge", {"mode": "zip"})] == ["mode"]


# aggregate

SALES: Items = [
    {"city": "Bonn", "price": 10, "count": 1, "note": "b"},
    {"city": "Kiel", "price": 2.5, "count": 2, "note": None},
    {"city": "Bonn", "price": None, "count": 3, "note": "a"},
    {"city": "Kiel", "price": 7.5, "count": 4, "note": "c"},
]


def operation(name: str, field: str = "price") -> dict[str, str]:
    return {"operation": name, "field": field}


ALL_OPERATIONS = [operation(name) for name in ("count", "sum", "avg", "min", "max", "collect")]


async def test_aggregate_computes_over_all_items() -> None:
    assert await run("aggregate", {"operations": ALL_OPERATIONS}, SALES) == {
        "main": [
            {
                "count_price": 3,
                "sum_price": 20.0,
                "avg_price": 20 / 3,
                "min_price": 2.5,
                "max_price": 10,
                "collect_price": [10, 2.5, None, 7.5],
            }
        ]
    }


async def test_aggregate_makes_one_item_for_each_group_in_order_of_appearance() -> None:
    params = {
        "group_by": "city",
        "operations": [{"operation": "sum", "field": "count", "name": "sold"}, {"operation": "count"}],
    }
    assert await run("aggregate", params, SALES) == {
        "main": [{"city": "Bonn", "sold": 4, "count": 2}, {"city": "Kiel", "sold": 6, "count": 2}]
    }


async def test_aggregate_groups_by_several_fields_and_by_equal_json() -> None:
    items: Items = [{"a": 1, "b": {"x": 1, "y": 2}}, {"a": 1.0, "b": {"y": 2, "x": 1}}, {"a": "1", "b": None}]
    result = await run("aggregate", {"group_by": ["a", "b"]}, items)
    assert result == {"main": [{"a": 1, "b": {"x": 1, "y": 2}, "count": 2}, {"a": "1", "b": None, "count": 1}]}


async def test_aggregate_over_no_items_is_still_an_answer() -> None:
    assert await run("aggregate", {"operations": ALL_OPERATIONS}, []) == {
        "main": [
            {
                "count_price": 0,
                "sum_price": 0,
                "avg_price": None,
                "min_price": None,
                "max_price": None,
                "collect_price": [],
            }
        ]
    }
    assert await run("aggregate", {"group_by": "city"}, []) == {"main": []}
    assert await run("aggregate", {}, [{}, {}]) == {"main": [{"count": 2}]}


async def test_sums_of_decimal_fractions_are_exact_and_text_has_a_least_and_a_greatest() -> None:
    tenths: Items = [{"x": 0.1, "t": text} for text in "jbicdefgha"]
    operations = [operation("sum", "x"), operation("min", "t"), operation("max", "t")]
    assert await run("aggregate", {"operations": operations}, tenths) == {
        "main": [{"sum_x": 1.0, "min_t": "a", "max_t": "j"}]
    }


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("sum", [1, "2"], "in item 1 it is text ('2'), not a number"),
        ("avg", [True], "in item 0 it is true or false"),
        ("min", [1, None, "2"], "in item 2 it is text ('2'), not a number"),
        ("max", ["a", 2], "in item 1 it is a number (2), not text"),
        ("max", [[1]], "in item 0 it is a list ([1]), not a number or text"),
    ],
)
async def test_aggregate_names_field_and_item_of_a_wrong_type(name: str, values: list[Any], said: str) -> None:
    items = [{"price": value} for value in values]
    error = await failure("aggregate", {"operations": [operation(name)]}, items)
    assert said in error.message
    assert "“price”" in error.message
    assert "float(" in error.hint


async def test_aggregate_names_a_missing_field_and_its_item() -> None:
    error = await failure("aggregate", {"operations": [operation("sum", "cost")]}, SALES)
    assert error.message == "Item 0 has no field “cost”."
    assert "city, price, count, note" in error.hint
    error = await failure("aggregate", {"group_by": "city"}, [SALES[0], {}])
    assert error.message == "Item 1 has no field “city”."


@pytest.mark.parametrize(
    ("operations", "said"),
    [
        ([], "Enter a list"),
        ("nonsense", "valid JSON"),
        ([{"operation": "median", "field": "x"}], "none of count, sum"),
        ([{"operation": "sum"}], "needs a field"),
        ([{"operation": "sum", "field": 5}], "must be text"),
        ([{"operation": ["sum"], "field": "x"}], "none of count, sum"),
        ([operation("sum"), operation("sum")], "'sum_price'"),
        ([{"op": "sum"}], "Entry 0"),
        (["sum"], "Entry 0"),
    ],
)
def test_aggregate_says_what_is_wrong_with_its_operations(operations: Any, said: str) -> None:
    [(field, message)] = problems("aggregate", {"operations": operations})
    assert field == "operations"
    assert said in message


@pytest.mark.parametrize("group_by", [5, ["a", 1], [""], {"a": 1}, "a, a"])
def test_aggregate_refuses_what_are_no_field_names(group_by: Any) -> None:
    assert [field for field, _ in problems("aggregate", {"group_by": group_by})] == ["group_by"]


# http: what needs no server


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "url"),
        ({"url": ["x"]}, "url"),
        ({"url": "http://x", "method": "BREW"}, "method"),
        ({"url": "http://x", "headers": ["a"]}, "headers"),
        ({"url": "http://x", "headers": {"A": {"b": 1}}}, "headers"),
        ({"url": "http://x", "headers": {"A": ["b"]}}, "headers"),
        ({"url": "http://x", "query": {"a": {"b": 1}}}, "query"),
        ({"url": "http://x", "timeout": 0}, "timeout"),
        ({"url": "http://x", "accept_errors": "maybe"}, "accept_errors"),
    ],
)
def test_http_refuses_bad_parameters_when_saved(params: dict[str, Any], field: str) -> None:
    assert [name for name, _ in problems("http", params)] == [field]


def test_http_accepts_expressions_and_nested_ones() -> None:
    params = {"url": '="http://x/" + item["id"]', "headers": {"X": '=item["x"]'}, "body": {"a": ["=item"]}}
    assert problems("http", params) == []


async def test_http_sends_nothing_when_there_are_no_items() -> None:
    assert await run("http", {"url": "=item['url']"}, []) == {"main": []}
