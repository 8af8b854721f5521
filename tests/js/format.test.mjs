import assert from "node:assert/strict";
import { test } from "node:test";

import {
  formatCount,
  formatDuration,
  formatElapsed,
  formatItemCounts,
  formatWait,
} from "../../flows/static/wataomi/format.js";

const DURATIONS = [
  [null, ""],
  [undefined, ""],
  [NaN, ""],
  [-5, "0 ms"],
  [0, "0 ms"],
  [0.4, "0 ms"],
  [350, "350 ms"],
  [999, "999 ms"],
  [999.6, "1.0 s"],
  [1000, "1.0 s"],
  [2000, "2.0 s"],
  [2049, "2.0 s"],
  [2050, "2.1 s"],
  [59_940, "59.9 s"],
  [59_950, "1 m 00 s"],
  [60_000, "1 m 00 s"],
  [65_000, "1 m 05 s"],
  [119_600, "2 m 00 s"],
  [3_599_400, "59 m 59 s"],
  [3_599_500, "1 h 00 m"],
  [7_620_000, "2 h 07 m"],
  [90_000_000, "25 h 00 m"],
];

for (const [milliseconds, text] of DURATIONS) {
  test(`a duration of ${milliseconds} ms is written "${text}"`, () => {
    assert.equal(formatDuration(milliseconds), text);
  });
}

test("what still grows is written in seconds from the start", () => {
  assert.deepEqual([-30, 0, 350, 2_000, 65_000].map(formatElapsed), ["0.0 s", "0.0 s", "0.4 s", "2.0 s", "1 m 05 s"]);
});

test("counts come with their noun", () => {
  assert.equal(formatCount(1, "item"), "1 item");
  assert.equal(formatCount(1200, "item"), "1,200 items");
  assert.equal(formatCount(0, "retry", "retries"), "0 retries");
});

test("a node's items are counted over all its ports; one that delivered to none has no count", () => {
  assert.equal(formatItemCounts({ true: 2, false: 1 }), "3 items");
  assert.equal(formatItemCounts({ main: 0 }), "0 items");
  assert.equal(formatItemCounts({}), "");
  assert.equal(formatItemCounts(null), "");
});

test("what a node waits for is said in words", () => {
  const until = "2026-11-25T16:00:05.123456Z";
  assert.equal(formatWait({ status: "waiting", waitUntil: until, willRetryAt: null }), "until 2026-11-25 16:00:05 UTC");
  assert.equal(formatWait({ status: "waiting", waitUntil: null, willRetryAt: null }), "until it is resumed");
  assert.equal(formatWait({ status: "waiting", waitUntil: null, willRetryAt: until }), "");
  assert.equal(formatWait({ status: "running", waitUntil: null, willRetryAt: null }), "");
});
