import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { emptyState, fold, isLastEvent } from "../../flows/static/wataomi/fold.js";

const vectors = JSON.parse(readFileSync(new URL("../vectors/fold.json", import.meta.url), "utf8"));

function deepFreeze(value) {
  if (value !== null && typeof value === "object") Object.values(Object.freeze(value)).forEach(deepFreeze);
  return value;
}

for (const { name, state, events, expected } of vectors) {
  test(`fold: ${name}`, () => {
    deepFreeze(state);
    deepFreeze(events);
    assert.deepEqual(events.reduce(fold, state), expected);
  });

  test(`a state at any event, and the events behind it, give the whole: ${name}`, () => {
    const states = events.reduce((all, event) => [...all, fold(all.at(-1), event)], [state]);
    states.forEach((snapshot, cut) => {
      const received = JSON.parse(JSON.stringify(snapshot));
      assert.deepEqual(events.slice(cut).reduce(fold, received), expected, `cut behind ${cut} events`);
      assert.deepEqual(events.reduce(fold, received), expected, `all events again on top of ${cut}`);
    });
  });
}

test("the vectors hold every type of event", () => {
  const types = new Set(vectors.flatMap(({ events }) => events.map((event) => event.type)));
  assert.deepEqual(
    [...types].sort(),
    [
      "executionError",
      "executionFinished",
      "executionPaused",
      "executionResumed",
      "executionStarted",
      "executionWaiting",
      "nodeExecutionAfter",
      "nodeExecutionBefore",
      "nodeExecutionProgress",
    ],
  );
});

test("an empty state has every node, idle, whether it is given by id or as an object", () => {
  const state = emptyState(["start", { id: "wait", name: "Wait" }], "run");
  assert.equal(state.executionId, "run");
  assert.equal(state.status, "queued");
  assert.deepEqual(state.progress, { done: 0, total: 2 });
  assert.deepEqual(Object.keys(state.nodes), ["start", "wait"]);
  assert.deepEqual(state.nodes.wait, {
    status: "idle",
    attempt: 0,
    startedAt: null,
    finishedAt: null,
    durationMs: null,
    itemCounts: null,
    error: null,
    willRetryAt: null,
    waitUntil: null,
    progress: null,
  });
});

test("what an event does not touch is the same object afterwards", () => {
  const state = emptyState(["start", "wait"], "run");
  const data = { executionId: "run", nodeId: "start", attempt: 1, startedAt: "2026-11-22T16:00:00.000000Z" };
  const next = fold(state, { seq: 1, type: "nodeExecutionBefore", data });
  assert.equal(next.nodes.wait, state.nodes.wait);
  assert.notEqual(next.nodes.start, state.nodes.start);
});

test("an event of a type that is not known yet only moves the state on", () => {
  const state = emptyState(["start"], "run");
  const next = fold(state, { seq: 1, type: "nodeExecutionDreamt", data: { executionId: "run" } });
  assert.deepEqual(next, { ...state, seq: 1 });
});

test("only executionFinished and executionError are last events", () => {
  const types = ["executionFinished", "executionError", "executionPaused", "nodeExecutionAfter"];
  assert.deepEqual(types.map((type) => isLastEvent({ type })), [true, true, false, false]);
});
