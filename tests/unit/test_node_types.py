"""Registering node types, and one attempt at a node: parameters resolved, cleaned, handed over; results checked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django import forms
from django.core.exceptions import ValidationError

from flows.context import Items, NodeContext, NodeError, Scope
from flows.forms import describe_fields, describe_node_type
from flows.graph import Node
from flows.node_types import NodeType, NodeTypeError, Registry, execute, register, registry
from flows.parameters import check_params


class Repeat(NodeType):
    """Say a word again."""

    class Params(forms.Form):
        word = forms.CharField(max_length=10)
        times = forms.IntegerField(min_value=1, initial=1)
        extra = forms.JSONField(required=False)

    async def run(self, ctx: NodeContext, items: Items) -> Items:
        return [{"said": params["word"] * params["times"]} for params in await ctx.params_for()]


async def no_progress(fraction: float | None = None, message: str = "", text: str = "") -> None:
    pass


async def no_params() -> list[dict[str, Any]]:
    raise AssertionError("the engine's placeholder was called")


def context(
    params: dict[str, Any], items: Items | None = None, *, port: str = "main", scope: Scope | None = None
) -> NodeContext:
    return NodeContext(
        node=Node(id="n", type="t", name="N", params=params),
        attempt=1,
        inputs={port: [{}] if items is None else items},
        scope=scope or Scope(),
        idempotency_key="key",
        progress=no_progress,
        params_for=no_params,
    )


def returning(result: object, outputs: tuple[str, ...] = ("main",)) -> type[NodeType]:
    async def run(self: NodeType, ctx: NodeContext, items: Items) -> Any:
        return result

    return type("Returning", (NodeType,), {"run": run, "outputs": outputs})


# Registering


@pytest.fixture
def forgotten() -> Iterator[list[str]]:
    """Names that are taken out of the registry behind the test."""
    names: list[str] = []
    yield names
    for name in names:
        registry.unregister(name)


def test_a_type_is_registered_bare_or_by_name(forgotten: list[str]) -> None:
    forgotten += ["bare_for_this_test", "test.named"]

    @register
    class BareForThisTest(Repeat):
        pass

    @register(name="test.named")
    class Named(Repeat):
        pass

    assert registry["bare_for_this_test"] is BareForThisTest and BareForThisTest.label == "Bare for this test"
    assert registry["test.named"] is Named and Named.name == "test.named"


def test_a_type_of_an_app_is_named_with_its_label() -> None:
    own = Registry()
    of_auth = type("ReadCSVFile", (NodeType,), {"__module__": "django.contrib.auth.nodes", "run": Repeat.run})
    own.register(of_auth)
    explicit = type(
        "Other", (NodeType,), {"__module__": "django.contrib.auth.nodes", "run": Repeat.run, "name": "read"}
    )
    own.register(explicit)
    built_in = type("Shout", (NodeType,), {"__module__": "flows.nodes.data", "run": Repeat.run, "name": "shout"})
    own.register(built_in)
    assert own.names() == ["auth.read", "auth.read_csv_file", "shout"]


def test_the_registry_is_a_mapping_in_the_order_of_names() -> None:
    own = Registry()
    for name in ("test.c", "test.a", "test.b"):
        own.register(type("Some", (Repeat,), {}), name=name)
    assert list(own) == ["test.a", "test.b", "test.c"] and len(own) == 3
    assert own.get("test.d") is None and "test.a" in own
    assert [node_type.name for node_type in own.values()] == own.names()


def test_a_name_is_given_once() -> None:
    own = Registry()
    own.register(type("First", (Repeat,), {}), name="test.same")
    with pytest.raises(NodeTypeError, match=r"'test.same' of .*Second is taken by .*First"):
        own.register(type("Second", (Repeat,), {}), name="test.same")


def test_a_trigger_has_no_input_port() -> None:
    own = Registry()
    trigger = type("Begin", (Repeat,), {"trigger": True})
    own.register(trigger, name="test.begin")
    description = own.describe("test.begin")
    assert description is not None and description.trigger and description.inputs == ()
    assert own.describe("test.gone") is None


def synchronous(self: NodeType, ctx: NodeContext, items: Items) -> Items:
    return items


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"run": synchronous}, "async def"),
        ({"Params": dict}, "Django Form"),
        ({"outputs": ("error",)}, "kept for nodes whose on_error"),
        ({"outputs": "main"}, "tuple of names"),
        ({"inputs": ("one", "one")}, "each once"),
        ({"inputs": ("One",)}, "'One' is not of the form"),
    ],
)
def test_a_type_that_could_not_run_is_refused(entries: dict[str, Any], message: str) -> None:
    own = Registry()
    with pytest.raises(NodeTypeError, match=message):
        own.register(type("Wrong", (Repeat,), entries), name="test.wrong")
    assert len(own) == 0


# Parameters as they are saved


@pytest.mark.parametrize(
    ("params", "problems"),
    [
        ({"word": "hey"}, []),
        ({"word": "=item['name']", "times": "=1 + 1"}, []),
        ({"word": "hey", "extra": {"deep": ["=item['x']", {"deeper": "=1"}]}}, []),
        ({}, [("word", "This field is required.")]),
        ({"word": "hey", "times": 0}, [("times", "Ensure this value is greater than or equal to 1.")]),
        ({"word": "=item", "times": "many"}, [("times", "Enter a whole number.")]),
        ({"word": "hey", "speed": 1}, [("speed", "There is no parameter 'speed'.")]),
        ({"word": ["hey"]}, [("word", "Enter text, not a list or an object.")]),
        ({"word": {"a": 1}, "times": "=1"}, [("word", "Enter text, not a list or an object.")]),
    ],
)
def test_parameters_are_checked_by_the_form(params: dict[str, Any], problems: list[tuple[str, str]]) -> None:
    assert check_params(Repeat.Params, params) == problems


def test_the_syntax_of_expressions_is_checked_however_deep() -> None:
    problems = check_params(Repeat.Params, {"word": "=item[", "extra": [{"a": "=1 +"}]})
    assert [field for field, _ in problems] == ["word", "extra"]
    assert all("is not an expression" in message for _, message in problems)


class Span(forms.Form):
    least = forms.IntegerField()
    most = forms.IntegerField()

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data["least"] > self.cleaned_data["most"]:
            raise ValidationError("The least is more than the most.")
        return self.cleaned_data


def test_the_form_as_a_whole_is_checked_when_all_its_values_are_known() -> None:
    assert check_params(Span, {"least": 2, "most": 1}) == [("", "The least is more than the most.")]
    assert check_params(Span, {"least": 2, "most": "=1"}) == []
    assert check_params(Span, {"least": 1, "most": 2}) == []


# One attempt


async def test_parameters_are_cleaned_and_what_is_left_out_is_its_initial() -> None:
    ctx = context({"word": " hey ", "times": "2"})
    assert await execute(Repeat, ctx) == {"main": [{"said": "heyhey"}]}
    assert ctx.params == {"word": "hey", "times": 2, "extra": None}


async def test_expressions_are_resolved_for_each_item() -> None:
    ctx = context({"word": "=item['name']", "times": "=len(items)"}, [{"name": "a"}, {"name": "b"}])
    assert await execute(Repeat, ctx) == {"main": [{"said": "aa"}, {"said": "bb"}]}
    assert ctx.params == {"word": "a", "times": 2, "extra": None}


async def test_an_expression_deep_in_a_parameter_is_resolved() -> None:
    ctx = context({"word": "x", "extra": {"names": ["=item['name']", "plain"]}}, [{"name": "a"}])
    await execute(Repeat, ctx)
    assert ctx.params["extra"] == {"names": ["a", "plain"]}


async def test_text_from_an_expression_is_not_parsed_as_json() -> None:
    ctx = context({"word": "x", "extra": "=item['text']"}, [{"text": "[1]"}])
    await execute(Repeat, ctx)
    assert ctx.params["extra"] == "[1]"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"word": ""}, "'word' (''): This field is required."),
        ({"word": "hey", "times": "=0"}, "'times' (0): Ensure this value is greater than or equal to 1."),
        ({"word": "=item"}, "'word' ({}): Enter text, not a list or an object."),
        ({"word": "=[1]"}, "'word' ([1]): Enter text, not a list or an object."),
        ({"word": "=item['gone']"}, "'word'"),
        ({"word": "=" + "'x' * 1000"}, "..."),
    ],
)
async def test_a_parameter_without_a_valid_value_is_an_error_of_the_node(params: dict[str, Any], message: str) -> None:
    with pytest.raises(NodeError) as caught:
        await execute(Repeat, context(params))
    assert message in caught.value.message and caught.value.hint is not None
    assert len(caught.value.message) < 500


async def test_without_items_an_expression_over_the_item_fails_only_where_it_is_read() -> None:
    assert await execute(Repeat, context({"word": "=item['name']"}, [])) == {"main": []}

    class Reads(Repeat):
        async def run(self, ctx: NodeContext, items: Items) -> Items:
            return [{"word": ctx.params.get("word")}]

    with pytest.raises(NodeError, match="No item reached the node"):
        await execute(Reads, context({"word": "=item['name']"}, []))
    scope = Scope(input={"name": "a"})
    assert await execute(Reads, context({"word": "=input['name']"}, [], scope=scope)) == {"main": [{"word": "a"}]}


async def test_what_one_attempt_changes_in_its_parameters_no_other_one_sees() -> None:
    class Greedy(Repeat):
        async def run(self, ctx: NodeContext, items: Items) -> Items:
            ctx.params["extra"].append("more")
            return [{"extra": ctx.params["extra"]}]

    ctx = context({"word": "x", "extra": ["one"]})
    for _ in range(2):
        assert await execute(Greedy, ctx) == {"main": [{"extra": ["one", "more"]}]}
    assert ctx.node.params == {"word": "x", "extra": ["one"]}


async def test_each_attempt_has_an_instance_of_its_own() -> None:
    class Counting(NodeType):
        async def run(self, ctx: NodeContext, items: Items) -> Items:
            self.calls = getattr(self, "calls", 0) + 1
            return [{"calls": self.calls}]

    for _ in range(2):
        assert await execute(Counting, context({})) == {"main": [{"calls": 1}]}


async def test_the_items_are_those_of_the_first_input_port() -> None:
    class Two(NodeType):
        inputs = ("one", "two")

        async def run(self, ctx: NodeContext, items: Items) -> Items:
            return items

    assert await execute(Two, context({}, [{"a": 1}], port="one")) == {"main": [{"a": 1}]}
    assert await execute(Two, context({}, [{"a": 1}], port="two")) == {"main": []}


@pytest.mark.parametrize(
    ("result", "ports"),
    [
        ([], {"main": []}),
        ([{"a": 1}], {"main": [{"a": 1}]}),
        ({"main": [{}]}, {"main": [{}]}),
        ({}, {}),
    ],
)
async def test_a_list_is_the_output_of_the_port_main(result: object, ports: dict[str, Any]) -> None:
    assert await execute(returning(result), context({})) == ports


@pytest.mark.parametrize(
    ("result", "outputs", "message"),
    [
        (None, ("main",), "returned nothing (None)"),
        ("text", ("main",), "a value of the type str"),
        (({},), ("main",), "a value of the type tuple"),
        ([{}, 1], ("main",), "a value of the type int, not a JSON object, as item 1"),
        ({"main": {}}, ("main",), "a value of the type dict and not a list"),
        ({"other": []}, ("main",), "no output port 'other', only main"),
        ([{}], ("true", "false"), "no output port 'main', only true, false"),
    ],
)
async def test_a_result_of_the_wrong_shape_is_an_error_of_the_node(
    result: object, outputs: tuple[str, ...], message: str
) -> None:
    with pytest.raises(NodeError) as caught:
        await execute(returning(result, outputs), context({}))
    assert message in caught.value.message and caught.value.type == "WrongResult" and caught.value.hint


async def test_values_without_an_expression_are_cleaned_once_for_all_attempts() -> None:
    cleaned = []

    class Counted(forms.CharField):
        def clean(self, value: Any) -> Any:
            cleaned.append(value)
            return super().clean(value)

    class Reads(NodeType):
        class Params(forms.Form):
            word = Counted()
            each = Counted()

        async def run(self, ctx: NodeContext, items: Items) -> Items:
            return [{"each": params["each"]} for params in await ctx.params_for()]

    ctx = context({"word": "x", "each": "=item['n']"}, [{"n": "1"}, {"n": "2"}])
    for _ in range(3):
        assert await execute(Reads, ctx) == {"main": [{"each": "1"}, {"each": "2"}]}
    assert cleaned == ["x", *["1", "2"] * 3]


# The forms as JSON


class Everything(forms.Form):
    text = forms.CharField(help_text="Any text.")
    long = forms.CharField(widget=forms.Textarea, required=False)
    secret = forms.CharField(widget=forms.PasswordInput)
    whole = forms.IntegerField(initial=3)
    number = forms.FloatField(label="How much")
    exact = forms.DecimalField()
    yes = forms.BooleanField(required=False, initial=True)
    mode = forms.ChoiceField(choices=[("a", "A"), ("Group", [("b", "B")])])
    many = forms.MultipleChoiceField(choices=[("a", "A")])
    content = forms.JSONField(initial=dict)
    address = forms.URLField(assume_scheme="https")
    day = forms.DateField(initial=dt.date(2026, 1, 2))


def test_a_form_is_described_field_by_field() -> None:
    fields = {field["name"]: field for field in describe_fields(Everything)}
    assert {name: field["kind"] for name, field in fields.items()} == {
        "text": "text",
        "long": "textarea",
        "secret": "password",
        "whole": "integer",
        "number": "number",
        "exact": "number",
        "yes": "boolean",
        "mode": "choice",
        "many": "multiple",
        "content": "json",
        "address": "url",
        "day": "date",
    }
    assert fields["text"] == {
        "name": "text",
        "label": "Text",
        "kind": "text",
        "required": True,
        "initial": None,
        "help": "Any text.",
        "choices": [],
    }
    assert fields["mode"]["choices"] == [{"value": "a", "label": "A"}, {"value": "b", "label": "Group: B"}]
    assert [fields[name]["initial"] for name in ("whole", "yes", "content", "day")] == [3, True, {}, "2026-01-02"]
    assert fields["number"]["label"] == "How much" and fields["long"]["required"] is False


def test_a_node_type_is_described_with_its_own_docstring() -> None:
    described = describe_node_type(Repeat)
    assert described["help"] == "Say a word again."
    assert [field["name"] for field in described["fields"]] == ["word", "times", "extra"]

    class Silent(Repeat):
        pass

    assert describe_node_type(Silent)["help"] == ""
