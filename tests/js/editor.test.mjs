// The editor's pure parts: the document and its operations, measures, values of fields, problems.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { summaryOf } from "../../flows/static/wataomi/editor/card.js";
import { applied, FlowDocument, inverseOf, isSameGraph } from "../../flows/static/wataomi/editor/document.js";
import { around, curve, nearest, Viewport } from "../../flows/static/wataomi/editor/geometry.js";
import { byNode, shownProblems } from "../../flows/static/wataomi/editor/problems.js";
import {
  asExpression,
  asLiteral,
  readField,
  readLiteral,
  readNumber,
  readSource,
  readValue,
  shownLiteral,
  shownValue,
} from "../../flows/static/wataomi/editor/values.js";

// Node 18, which Debian 12 has, knows Event but not CustomEvent.
globalThis.CustomEvent ??= class CustomEvent extends Event {
  constructor(type, { detail = null, ...options } = {}) {
    super(type, options);
    this.detail = detail;
  }
};

const vectors = JSON.parse(readFileSync(new URL("../vectors/drawing.json", import.meta.url), "utf8"));

const GRAPH = {
  nodes: [
    { id: "start", type: "manual", name: "Start", params: {}, position: [0, 0], settings: {} },
    { id: "wait", type: "delay", name: "Wait", params: { seconds: 2 }, position: [280, 0], settings: { retry: { max_attempts: 3 } } },
  ],
  edges: [{ source: "start", target: "wait" }],
};

const OPERATIONS = [
  { type: "moveNode", id: "wait", position: [300, 40] },
  { type: "renameNode", id: "wait", name: "Pause" },
  { type: "setParam", id: "wait", name: "seconds", value: 5 },
  { type: "setParam", id: "wait", name: "seconds", value: undefined },
  { type: "setParam", id: "start", name: "seconds", value: null },
  { type: "setSetting", id: "wait", path: "timeout", value: 10 },
  { type: "setSetting", id: "wait", path: "retry.backoff", value: 2 },
  { type: "setSetting", id: "wait", path: "retry.max_attempts", value: undefined },
  { type: "setSetting", id: "start", path: "retry.max_delay", value: 9 },
];

for (const operation of OPERATIONS) {
  test(`${operation.type} of ${JSON.stringify(operation)} is taken back by its inverse, and changes nothing in place`, () => {
    const before = structuredClone(GRAPH);
    const after = applied(GRAPH, operation);
    assert.ok(!isSameGraph(after, GRAPH));
    assert.deepEqual(applied(after, inverseOf(GRAPH, operation)), before);
    assert.deepEqual(GRAPH, before);
  });
}

test("an operation leaves the other nodes the same objects", () => {
  const after = applied(GRAPH, OPERATIONS[0]);
  assert.equal(after.nodes[0], GRAPH.nodes[0]);
  assert.equal(after.edges, GRAPH.edges);
});

test("an operation on a node that is not there is an error", () => {
  assert.throws(() => applied(GRAPH, { type: "renameNode", id: "gone", name: "x" }), RangeError);
});

test("a document knows whether there is something to save", () => {
  const flow = new FlowDocument(GRAPH, 4);
  const heard = [];
  flow.addEventListener("change", ({ detail }) => heard.push(detail.operation.type));
  const inverse = flow.apply(OPERATIONS[2]);
  assert.ok(flow.isChanged);
  flow.apply(inverse);
  assert.ok(!flow.isChanged);
  assert.deepEqual(heard, ["setParam", "setParam"]);
});

test("what is changed while a save is under way stays unsaved", () => {
  const flow = new FlowDocument(GRAPH, 4);
  flow.apply(OPERATIONS[0]);
  const sent = flow.graph;
  flow.apply(OPERATIONS[1]);
  flow.markSaved(sent, 5);
  assert.equal(flow.version, 5);
  assert.ok(flow.isChanged);
  flow.markSaved(flow.graph, 6);
  assert.ok(!flow.isChanged);
});

test("the order of keys is no difference between graphs", () => {
  const turned = { edges: GRAPH.edges, nodes: GRAPH.nodes.map(({ id, ...rest }) => ({ ...rest, id })) };
  assert.ok(isSameGraph(GRAPH, turned));
});

for (const { start, end, path } of vectors.curves) {
  test(`the curve from ${start} to ${end} is the server's`, () => assert.equal(curve(start, end), path));
}

for (const { params, text } of vectors.summaries) {
  test(`the card of ${JSON.stringify(params)} says what the server's says`, () => {
    const type = { label: "Delay", summary: "seconds", fields: [{ name: "seconds", label: "Seconds" }] };
    assert.equal(summaryOf({ type: "delay", params }, type), text);
  });
}

test("the arrow keys go to the nearest card ahead, not to one far aside", () => {
  const cards = [{ id: "right", x: 300, y: 20 }, { id: "aside", x: 150, y: 400 }, { id: "behind", x: -200, y: 0 }];
  assert.equal(nearest({ x: 0, y: 0 }, cards, "right"), "right");
  assert.equal(nearest({ x: 0, y: 0 }, cards, "left"), "behind");
  assert.equal(nearest({ x: 0, y: 0 }, cards, "down"), "aside");
  assert.equal(nearest({ x: 0, y: 0 }, [], "up"), null);
});

const room = { width: 1000, height: 500 };
const box = { x: 100, y: 100, width: 200, height: 72 };

test("a small drawing is shown in the middle at its own size, a large one whole", () => {
  const small = Viewport.fitting(box, room);
  assert.deepEqual({ ...small }, { x: 200 - 500, y: 136 - 250, zoom: 1 });
  const large = Viewport.fitting({ x: 0, y: 0, width: 4600, height: 100 }, room);
  assert.equal(large.zoom, 0.2);
});

test("zooming keeps the point under the pointer where it is", () => {
  const view = new Viewport({ x: 10, y: 20, zoom: 0.5 });
  const at = { x: 300, y: 200 };
  assert.deepEqual(view.zoomed(2, at).toDrawing(at), view.toDrawing(at));
  assert.equal(view.zoomed(1000, at).zoom, Viewport.LARGEST);
  assert.equal(view.zoomed(0.0001, at).zoom, Viewport.SMALLEST);
});

test("a box that is seen moves nothing, one that is not comes in by the shortest way", () => {
  assert.deepEqual({ ...new Viewport().showing(box, room) }, { x: 0, y: 0, zoom: 1 });
  const far = { x: 2000, y: -300, width: 200, height: 72 };
  const view = new Viewport().showing(far, room, 24);
  assert.deepEqual({ ...view }, { x: 2000 + 200 + 24 - 1000, y: -300 - 24, zoom: 1 });
});

test("there is no box around nothing", () => {
  assert.equal(around([]), null);
  assert.deepEqual(around([box, { x: 0, y: 150, width: 10, height: 100 }]), { x: 0, y: 100, width: 300, height: 150 });
});

for (const [kind, text, value] of [
  ["number", "2", 2],
  ["number", " 2.5 ", 2.5],
  ["number", "2,5", 2.5],
  ["integer", "-3", -3],
  ["number", "", undefined],
  ["number", "two", "two"],
  ["number", "1e400", "1e400"],
  ["number", "Infinity", "Infinity"],
  ["text", " as typed ", " as typed "],
  ["text", "=item", "=item"],
  ["json", '{"a": [1]}', { a: [1] }],
  ["json", "null", null],
  ["json", "false", false],
  ["json", "", undefined],
  ["json", '{"a": ', '{"a": '],
]) {
  test(`${JSON.stringify(text)} in a ${kind} field is ${JSON.stringify(value)}`, () => assert.deepEqual(readValue(kind, text), value));
}

for (const [kind, text, value] of [
  ["number", "", null],
  ["integer", " ", null],
  ["json", "", null],
  ["text", "", ""],
  ["number", "0", 0],
]) {
  test(`${JSON.stringify(text)} in a ${kind} field that is required is ${JSON.stringify(value)}, and not its default`, () => {
    assert.equal(readField({ kind, required: true, initial: 1 }, text), value);
  });
}

test("an emptied field that is not required leaves its parameter out", () => {
  for (const kind of ["number", "integer", "json", "text"]) assert.equal(readField({ kind, required: false, initial: null }, ""), undefined);
  assert.equal(readField({ kind: "number", required: false, initial: 5 }, ""), undefined);
});

test("an emptied text whose default is not empty stays empty", () => {
  assert.equal(readField({ kind: "text", required: false, initial: "id" }, ""), "");
});

for (const [typed, source] of [["=1/0", "1/0"], [" = 1", " 1"], ["a == b", "a == b"], ["==1", "=1"], ["", ""]]) {
  test(`${JSON.stringify(typed)} behind the mark of an expression is ${JSON.stringify(source)}`, () => assert.equal(readSource(typed), source));
}

test("a number that is none stays what was typed", () => assert.equal(readNumber("12 s"), "12 s"));

for (const value of ["Ada", "12", "true", "null", '"quoted"', "[1", "=item['a']", "", " space ", 12, -0.5, true, null, [1, "a"], { a: { b: 1 } }]) {
  test(`a row shows ${JSON.stringify(value)} so that it is read as the same value`, () => {
    assert.deepEqual(readLiteral(shownLiteral(value)), value);
  });
}

for (const value of [12, "text", true, false, [1]]) {
  test(`${JSON.stringify(value)} as an expression and back is itself`, () => assert.deepEqual(asLiteral(asExpression(value)), value));
}

test("an expression that is no literal has none", () => assert.equal(asLiteral("=item['a'] + 1"), undefined));

test("what is shown of a missing value is nothing", () => {
  assert.equal(shownValue("number", null), "");
  assert.equal(shownValue("text", undefined), "");
  assert.equal(shownValue("json", { a: 1 }), '{\n  "a": 1\n}');
});

test("problems are shown at the parameter, the setting, the node or the flow", () => {
  const said = (node, code, message, field) => ({ node, code, message, severity: "error", field });
  const [param, setting, shape, cycle, name] = shownProblems(
    [
      said("wait", "bad_params", "'Wait', seconds: Enter a number.", "seconds"),
      said("wait", "bad_settings", "'Wait', setting timeout: 0 is not between 0.001 and 9.", "timeout"),
      said(null, "shape", "graph.nodes[1].settings.retry.backoff: must be a number, not text", "nodes[1].settings.retry.backoff"),
      said("start", "cycle", "The nodes form a cycle: A -> B -> A.", null),
      said("wait", "duplicate_name", "Two nodes have the name 'Wait'.", "name"),
    ],
    GRAPH,
  );
  assert.deepEqual(param, { node: "wait", param: "seconds", setting: null, severity: "error", message: "Enter a number." });
  assert.equal(setting.setting, "timeout");
  assert.equal(setting.message, "0 is not between 0.001 and 9.");
  assert.deepEqual([shape.node, shape.setting, shape.message], ["wait", "retry.backoff", "Must be a number, not text"]);
  assert.deepEqual([cycle.node, cycle.param, cycle.setting], ["start", null, null]);
  assert.equal(name.setting, "name");
  assert.deepEqual([...byNode([param, cycle, name]).keys()], ["wait", "start"]);
});
