"""Items as JSON text: what they hold, what is refused, and how little of them an event shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions.engine.values import (
    PREVIEW_BYTES,
    decode,
    encode_json,
    encode_ports,
    join_lists,
    join_object,
    preview,
)
from flows.context import NodeError

LIMIT = 10_000

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
items = st.lists(st.dictionaries(text, json_values, max_size=4), max_size=5)
ports = st.dictionaries(text, items, max_size=3)


@given(ports)
def test_what_a_node_returns_is_what_the_next_one_gets(given_ports: dict[str, Any]) -> None:
    assert decode(encode_ports(given_ports, 10**9)) == given_ports


@given(st.lists(items, min_size=1, max_size=5))
def test_lists_are_joined_as_if_they_were_decoded(lists: list[Any]) -> None:
    joined = orjson.loads(join_lists([encode_json(each) for each in lists]))
    assert joined == [item for each in lists for item in each]


@given(ports)
def test_an_object_is_joined_of_what_is_encoded_already(given_ports: dict[str, Any]) -> None:
    assert orjson.loads(join_object((port, encode_json(each)) for port, each in given_ports.items())) == given_ports


def test_no_list_at_all_is_an_empty_one() -> None:
    assert join_lists([]) == b"[]"
    assert join_object([]) == b"{}"


def test_each_decoding_is_a_copy() -> None:
    encoded = encode_ports({"main": [{"a": [1]}]}, LIMIT)
    decode(encoded)["main"][0]["a"].append(2)
    assert decode(encoded) == {"main": [{"a": [1]}]}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: [n], lambda n: {"a": [None, {"b": n}]}, lambda n: (None, n)])
def test_a_number_that_json_does_not_have_is_refused(number: float, wrap: Any) -> None:
    with pytest.raises(ValueError, match="not JSON numbers"):
        encode_json({"value": wrap(number)})


def test_none_and_the_word_null_are_no_reason_to_refuse() -> None:
    assert encode_json({"a": None, "null": "null", "n": 1.5}) == b'{"a":null,"null":"null","n":1.5}'


@pytest.mark.parametrize(
    "value", [datetime.now(UTC), {1, 2}, b"bytes", object(), {"a": {1: "key"}}, 2**70, "\ud800", {"\ud800": 1}]
)
def test_what_json_cannot_hold_is_an_error_that_names_the_port(value: object) -> None:
    with pytest.raises(NodeError, match="port 'side' is not JSON") as caught:
        encode_ports({"main": [], "side": [{"value": value}]}, LIMIT)
    assert caught.value.type == "OutputNotJSON"


def test_something_endless_is_an_error_and_no_crash() -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    with pytest.raises(NodeError, match="not JSON"):
        encode_ports({"main": [endless]}, LIMIT)


def test_the_limit_counts_all_ports() -> None:
    item = {"value": "x" * 100}
    size = len(encode_json([item]))
    assert encode_ports({"one": [item], "two": [item]}, 2 * size)
    with pytest.raises(NodeError, match=f"{2 * size:,} bytes") as caught:
        encode_ports({"one": [item], "two": [item]}, 2 * size - 1)
    assert caught.value.type == "OutputTooLarge"


# Previews


def shown(given_ports: dict[str, Any]) -> tuple[dict[str, Any], bool, int]:
    data, truncated = preview(given_ports, encode_ports(given_ports, 10**9))
    return orjson.loads(data), truncated, len(data)


def test_a_small_output_is_shown_whole() -> None:
    given_ports = {"main": [{"n": 1}], "other": []}
    assert shown(given_ports)[:2] == (given_ports, False)


def test_of_a_large_output_the_first_items_are_shown() -> None:
    everything = [{"number": number, "text": "x" * 90} for number in range(500)]
    data, truncated, size = shown({"main": everything})
    assert truncated and size <= PREVIEW_BYTES
    assert data["main"] == everything[: len(data["main"])]
    assert len(data["main"]) > 60


def test_an_item_that_is_too_large_is_not_shown_in_part() -> None:
    data, truncated, _ = shown({"main": [{"text": "x" * 2 * PREVIEW_BYTES}, {"small": 1}]})
    assert (data, truncated) == ({"main": []}, True)


@given(
    st.dictionaries(
        text,
        st.lists(st.fixed_dictionaries({"t": st.integers(0, 5000).map(lambda n: "é" * n)}), max_size=6),
        max_size=4,
    )
)
def test_a_preview_is_json_within_its_bytes_that_begins_each_port(given_ports: dict[str, Any]) -> None:
    data, truncated, size = shown(given_ports)
    assert size <= PREVIEW_BYTES
    assert list(data) == list(given_ports)
    for port, each in data.items():
        assert each == given_ports[port][: len(each)]
    assert truncated == (data != given_ports)


def test_a_uuid_is_written_as_text() -> None:
    key = uuid4()
    assert orjson.loads(encode_json({"key": key})) == {"key": str(key)}
