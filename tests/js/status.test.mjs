/** The operator's page: what it shows when there is news, when the server is away, and to who may not look any more. */

import assert from "node:assert/strict";
import test from "node:test";

import { refresh } from "../../flows/static/wataomi/status.js";

function makePage() {
  const since = { textContent: "" };
  const figures = {
    dataset: { address: "/status?fragment=1" },
    innerHTML: "old",
    querySelector: () => ({ textContent: "12:00:00 UTC" }),
    querySelectorAll: () => [],
  };
  const stale = { hidden: true, querySelector: () => since };
  return { figures, stale, since, getElementById: (id) => ({ figures, stale })[id] };
}

const answer = (text, more = {}) => ({ ok: true, redirected: false, text: async () => text, ...more });

test("what is new replaces what was there, and a table stays where it was scrolled to", async () => {
  const page = makePage();
  const asked = [];
  const ask = async (address) => {
    asked.push(address);
    return answer("new");
  };
  const [before, after] = [[{ scrollLeft: 30 }], [{ scrollLeft: 0 }]];
  page.figures.querySelectorAll = () => (page.figures.innerHTML === "new" ? after : before);
  assert.equal(await refresh(page, ask), true);
  assert.deepEqual(asked, ["/status?fragment=1"]);
  assert.equal(page.figures.innerHTML, "new");
  assert.deepEqual(after, [{ scrollLeft: 30 }]);
  assert.equal(page.stale.hidden, true);
});

for (const [name, ask] of [
  ["does not answer", async () => Promise.reject(new TypeError("failed to fetch"))],
  ["fails", async () => answer("a traceback", { ok: false })],
  ["breaks off", async () => answer("", { text: async () => Promise.reject(new TypeError("network error")) })],
]) {
  test(`a server that ${name} leaves the figures, says of when they are, and is asked again`, async () => {
    const page = makePage();
    assert.equal(await refresh(page, ask), true);
    assert.equal(page.figures.innerHTML, "old");
    assert.equal(page.stale.hidden, false);
    assert.equal(page.since.textContent, "12:00:00 UTC");
    await refresh(page, async () => answer("new"));
    assert.equal(page.stale.hidden, true);
  });
}

test("who may not look any more is sent to log in, and sees no log-in page among the figures", async () => {
  const page = makePage();
  assert.equal(await refresh(page, async () => answer("<form>", { redirected: true })), false);
  assert.equal(page.figures.innerHTML, "old");
});
