import assert from "node:assert/strict";
import { test } from "node:test";

import { emptyState, follow } from "../../flows/static/wataomi/live.js";
import { streamServer } from "./stream_server.mjs";

const upTo = (count, from = 1) => Array.from({ length: count - from + 1 }, (_, index) => from + index);

/** What a page does, against a real server: everything is recorded. */
async function withFollowing({ count, script, ...options }, use) {
  const server = await streamServer({ count, script });
  const connection = { retry: 5, longestWait: 40, fetch: (url, request) => fetch(server.url + url, request) };
  const seen = { seqs: [], states: [], connections: [], server };
  const following = follow("run", {
    // A token, so that the stream is this client's own, whatever this version of Node has.
    token: "secret",
    onEvent: (event) => seen.seqs.push(event.seq),
    onState: (state) => seen.states.push(state),
    onConnection: (state, detail) => seen.connections.push([state, detail.code]),
    connection,
    ...options,
  });
  assert.deepEqual(seen.connections, [], "no listener is called before `follow` has returned");
  try {
    await use(following, seen);
  } finally {
    following.close();
    await following.ended;
    await server.close();
  }
}

test("a run is followed to its end: every event once, in order, folded into a state", async () => {
  await withFollowing({ count: 30, script: [{ cut: 900 }, { status: 502 }, { cut: 700 }] }, async (following, seen) => {
    const reason = await following.ended;
    assert.equal(reason.code, "finished");
    assert.deepEqual(seen.seqs, upTo(30));
    assert.equal(following.state.seq, 30);
    assert.equal(following.state.executionId, "run");
    assert.equal(seen.states.at(-1), following.state, "the last state was announced before it ended");
    assert.equal(following.state.nodes.a.progress.text, upTo(29).map((seq) => `${seq} ü`).join(""));
    assert.deepEqual(seen.connections.at(-1), ["ended", "finished"]);
    assert.equal(seen.connections.filter(([state]) => state === "ended").length, 1);
    assert.equal(seen.server.connections[0].url, "/api/v1/executions/run/stream");
  });
});

test("a server that sends events again is not believed", async () => {
  await withFollowing({ count: 10, script: [{ cut: 600 }, { again: 900 }] }, async (following, seen) => {
    await following.ended;
    assert.deepEqual(seen.seqs, upTo(10));
    assert.ok(seen.server.connections[1].after > 0);
  });
});

test("it goes on behind the state that it is given, and behind `after`", async () => {
  const state = { ...emptyState(["a"], "run"), seq: 4, status: "running" };
  await withFollowing({ count: 8, state }, async (following, seen) => {
    await following.ended;
    assert.deepEqual(seen.seqs, [5, 6, 7, 8]);
    assert.equal(seen.server.connections[0].headers["last-event-id"], "4");
  });
  await withFollowing({ count: 8, after: 6 }, async (following, seen) => {
    await following.ended;
    assert.deepEqual(seen.seqs, [7, 8]);
  });
});

test("a run that has ended is not asked for", async () => {
  const state = { ...emptyState(["a"], "run"), seq: 8, status: "success" };
  await withFollowing({ count: 8, state }, async (following, seen) => {
    assert.equal((await following.ended).code, "finished");
    assert.deepEqual(seen.connections, [["ended", "finished"]]);
    assert.equal(seen.server.connections.length, 0);
  });
});

test("a storm of events is announced as a few states, and as every event", async () => {
  await withFollowing({ count: 3000 }, async (following, seen) => {
    await following.ended;
    assert.equal(seen.seqs.length, 3000);
    assert.ok(seen.states.length < 300, `${seen.states.length} states`);
    assert.equal(seen.states.at(-1).seq, 3000);
  });
});

test("an event finds the state that it has made", async () => {
  const pairs = [];
  let current = null;
  const onEvent = (event) => pairs.push([event.seq, current.state.seq]);
  await withFollowing({ count: 5, onEvent }, async (following) => {
    current = following;
    await following.ended;
    assert.deepEqual(pairs, upTo(5).map((seq) => [seq, seq]));
  });
});

for (const [name, token, expected] of [
  ["as it is", "secret", "Bearer secret"],
  ["from a function", () => "fresh", "Bearer fresh"],
  ["from a function that takes its time", async () => "later", "Bearer later"],
]) {
  test(`a token is sent ${name}`, async () => {
    await withFollowing({ count: 1, token }, async (following, seen) => {
      await following.ended;
      assert.equal(seen.server.connections[0].headers.authorization, expected);
    });
  });
}

test("closing, and aborting its signal, end it", async () => {
  const controller = new AbortController();
  for (const [stop, options] of [
    [(following) => following.close(), {}],
    [() => controller.abort(), { signal: controller.signal }],
    [() => {}, { signal: AbortSignal.abort() }],
  ]) {
    await withFollowing({ count: 5, script: [{ stall: 230 }], ...options }, async (following, seen) => {
      setTimeout(() => stop(following), 30);
      assert.equal((await following.ended).code, "aborted");
      assert.deepEqual(seen.connections.at(-1), ["ended", "aborted"]);
    });
  }
});

test("retryNow does not wait for the backoff", async () => {
  const server = await streamServer({ count: 2, script: [{ status: 503 }] });
  const connection = { retry: 60_000, fetch: (url, request) => fetch(server.url + url, request) };
  const following = follow("run", {
    token: "secret",
    onConnection: (state) => state === "lost" && setImmediate(() => following.retryNow()),
    connection,
  });
  assert.equal((await following.ended).code, "finished");
  await server.close();
});

test("why a stream was given up is handed on", async () => {
  await withFollowing({ count: 2, script: [{ status: 404 }] }, async (following, seen) => {
    const { code, message } = await following.ended;
    assert.equal(code, "not_found");
    assert.match(message, /does not exist/);
    assert.deepEqual(seen.connections.at(-1), ["ended", "not_found"]);
  });
});

test("a listener that raises is reported, and costs nothing else", async (context) => {
  const reported = context.mock.method(console, "error", () => {});
  const fail = () => {
    throw new Error("a bug in the page");
  };
  await withFollowing({ count: 3, onEvent: fail, onState: fail, onConnection: fail }, async (following) => {
    await following.ended;
    assert.equal(following.state.seq, 3);
  });
  assert.ok(reported.mock.callCount() >= 5);
});
