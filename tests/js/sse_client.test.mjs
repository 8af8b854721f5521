import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff, EventStreamClient } from "../../flows/static/wataomi/sse.js";
import { streamBytes, streamServer } from "./stream_server.mjs";

const QUICK = { retry: 5, longestWait: 40, watchdog: 5_000 };
const HTML = { status: 200, type: "text/html", body: "<!doctype html><p>Be right back</p>" };
const upTo = (count) => Array.from({ length: count }, (_, index) => index + 1);

/** Follow a stream to its end; returns what came, in order, and why it ended. */
async function collect(server, options = {}) {
  const seqs = [];
  const states = [];
  const client = new EventStreamClient(`${server.url}/stream`, {
    ...QUICK,
    onMessage: ({ data, lastEventId }) => {
      seqs.push(Number(lastEventId));
      assert.ok(data.includes(`${lastEventId} ü`), data);
      return data.includes("executionFinished");
    },
    onConnection: (state, detail) => states.push([state, detail]),
    ...options,
  });
  const reason = await client.run();
  return { seqs, states, reason, client };
}

async function withServer(options, use) {
  const server = await streamServer(options);
  try {
    await use(server);
  } finally {
    await server.close();
  }
}

test("a stream is delivered once and in order, and ends with its last event in one connection", async () => {
  await withServer({ count: 50 }, async (server) => {
    const { seqs, states, reason } = await collect(server);
    assert.deepEqual(seqs, upTo(50));
    assert.equal(server.connections.length, 1);
    assert.equal(server.connections[0].headers.accept, "text/event-stream");
    assert.equal(server.connections[0].headers["last-event-id"], undefined);
    assert.deepEqual(states.map(([state]) => state), ["connecting", "open", "ended"]);
    assert.equal(reason.code, "finished");
  });
});

test("it begins behind the id that it is given", async () => {
  await withServer({ count: 10 }, async (server) => {
    const { seqs } = await collect(server, { lastEventId: 7 });
    assert.deepEqual(seqs, [8, 9, 10]);
    assert.equal(server.connections[0].headers["last-event-id"], "7");
  });
});

for (const how of ["cut", "end"]) {
  test(`a connection that is lost (${how}) at any byte is made again: every event once, in order`, async () => {
    const lossAt = async (size) => {
      await withServer({ count: 4, script: [{ [how]: size }, { [how]: (size * 7) % 300 }] }, async (server) => {
        const { seqs } = await collect(server);
        assert.deepEqual(seqs, upTo(4), `${how} at byte ${size}`);
        assert.ok(server.connections.length >= 2);
      });
    };
    const sizes = upTo(streamBytes(0, 4).length - 1);
    while (sizes.length > 0) await Promise.all(sizes.splice(0, 40).map(lossAt));
  });
}

test("an id without data is resumed behind, too", async () => {
  await withServer({ count: 6, script: [{ raw: "id: 4\n\nid: 5\n" }] }, async (server) => {
    const { seqs } = await collect(server);
    assert.deepEqual(seqs, [5, 6]);
  });
});

test("random cuts of a long stream lose nothing and repeat nothing", async () => {
  const random = seeded(20261122);
  const script = Array.from({ length: 60 }, () => ({ [random() < 0.5 ? "cut" : "end"]: Math.floor(random() * 3000) }));
  await withServer({ count: 800, script }, async (server) => {
    const { seqs } = await collect(server, { retry: 0, longestWait: 1 });
    assert.deepEqual(seqs, upTo(800));
    assert.ok(server.connections.length > 20);
  });
});

const TEMPORARY = [
  ["502", { status: 502, type: "text/html", body: "<h1>Bad Gateway</h1>" }, "http_502"],
  ["503", { status: 503 }, "http_503"],
  ["500", { status: 500 }, "http_500"],
  ["429", { status: 429 }, "http_429"],
  ["an HTML page", HTML, "not_a_stream"],
  ["a type that only begins the same", { status: 200, type: "text/event-stream-like" }, "not_a_stream"],
  ["a reset connection", "reset", "network"],
  ["the end of the response", { end: 0 }, "cut"],
];

for (const [name, answer, code] of TEMPORARY) {
  test(`${name} is waited out, and the stream goes on where it was`, async () => {
    await withServer({ count: 6, script: [{ cut: 200 }, answer, answer] }, async (server) => {
      const { seqs, states } = await collect(server);
      assert.deepEqual(seqs, upTo(6));
      assert.equal(server.connections.length, 4);
      const lost = states.filter(([state]) => state === "lost").map(([, detail]) => detail);
      assert.ok(lost.some((detail) => detail.code === code), JSON.stringify(lost));
      assert.ok(lost.every((detail) => detail.message.endsWith(".")));
      assert.deepEqual(states.filter(([state]) => state !== "lost").map(([state]) => state).at(-1), "ended");
      assert.equal(states.filter(([state]) => state === "connecting").length, 1);
    });
  });
}

const FINAL = [
  [204, "finished"],
  [401, "not_authenticated"],
  [403, "permission_denied"],
  [404, "not_found"],
];

for (const [status, code] of FINAL) {
  test(`${status} ends it at once, and says why`, async () => {
    await withServer({ count: 6, script: [{ status: 502 }, { status }] }, async (server) => {
      const { seqs, states, reason } = await collect(server);
      assert.deepEqual(seqs, []);
      assert.equal(server.connections.length, 2);
      assert.equal(reason.code, code);
      assert.deepEqual(states.at(-1), ["ended", reason]);
      assert.match(reason.message, /\w.*\.$/);
    });
  });
}

test("a connection that is silent for longer than the watchdog is given up, and the next one goes on", async () => {
  await withServer({ count: 6, script: [{ stall: 230 }] }, async (server) => {
    const { seqs, states } = await collect(server, { watchdog: 120 });
    assert.deepEqual(seqs, upTo(6));
    assert.ok(server.connections[1].after > 0);
    assert.ok(states.some(([state, detail]) => state === "lost" && detail.code === "silent"));
  });
});

test("a server that accepts and never answers is given up by the watchdog too", async () => {
  await withServer({ count: 2, script: ["mute"] }, async (server) => {
    const { seqs } = await collect(server, { watchdog: 120 });
    assert.deepEqual(seqs, [1, 2]);
    assert.equal(server.connections.length, 2);
  });
});

test("keep-alives hold a quiet connection, and are no messages", async () => {
  await withServer({ count: 2, script: [{ keepAlive: 12, every: 50 }] }, async (server) => {
    let heard = 0;
    const { seqs } = await collect(server, { watchdog: 300, onActivity: () => (heard += 1) });
    assert.deepEqual(seqs, [1, 2]);
    assert.equal(server.connections.length, 1);
    assert.ok(heard >= 12);
  });
});

test("the server's `retry:` is what the wait is measured by", async () => {
  await withServer({ count: 3, script: [{ cut: 120 }] }, async (server) => {
    const { states } = await collect(server, { retry: 60_000, random: () => 1 });
    const { detail } = states.map(([state, value]) => ({ state, detail: value })).find(({ state }) => state === "lost");
    assert.ok(detail.retryAt - Date.now() <= 20, "the server said 20 ms");
    assert.equal(detail.failures, 1);
  });
});

test("`Retry-After` is obeyed when it is longer", async () => {
  await withServer({ count: 1, script: [{ status: 503, headers: { "Retry-After": "1" } }] }, async (server) => {
    await collect(server);
    const [first, second] = server.connections;
    assert.ok(second.at - first.at >= 950);
  });
});

test("headers are asked for anew before each attempt", async () => {
  await withServer({ count: 2, script: [{ status: 502 }, { cut: 5 }] }, async (server) => {
    let number = 0;
    const headers = async () => ({ Authorization: `Bearer ${(number += 1)}` });
    await collect(server, { headers });
    const sent = server.connections.map((connection) => connection.headers.authorization);
    assert.deepEqual(sent, ["Bearer 1", "Bearer 2", "Bearer 3"]);
  });
});

test("aborting ends a stream that is open, one that waits, and one that was aborted before", async () => {
  for (const script of [[{ stall: 230 }], [{ status: 502 }]]) {
    await withServer({ count: 6, script }, async (server) => {
      const controller = new AbortController();
      const wanted = "stall" in script[0] ? "open" : "lost";
      const onConnection = (state) => state === wanted && setImmediate(() => controller.abort());
      const { reason } = await collect(server, { signal: controller.signal, retry: 60_000, onConnection });
      assert.equal(reason.code, "aborted");
      assert.equal(server.connections.length, 1);
    });
  }
  const before = await collect({ url: "http://127.0.0.1:9" }, { signal: AbortSignal.abort() });
  assert.equal(before.reason.code, "aborted");
});

test("a listener that raises costs neither the connection nor the events behind", async (context) => {
  const reported = context.mock.method(console, "error", () => {});
  await withServer({ count: 3 }, async (server) => {
    const seqs = [];
    const onMessage = ({ data, lastEventId }) => {
      seqs.push(Number(lastEventId));
      if (lastEventId === "2") throw new Error("a bug in the page");
      return data.includes("executionFinished");
    };
    await collect(server, { onMessage });
    assert.deepEqual(seqs, [1, 2, 3]);
    assert.equal(server.connections.length, 1);
    assert.equal(reported.mock.callCount(), 1);
  });
});

test("nothing is delivered behind the last event, nor after closing", async () => {
  await withServer({ count: 9 }, async (server) => {
    const seqs = [];
    const onMessage = ({ lastEventId }) => seqs.push(lastEventId) === 4;
    const client = new EventStreamClient(server.url, { ...QUICK, onMessage });
    assert.equal((await client.run()).code, "finished");
    assert.deepEqual(seqs, ["1", "2", "3", "4"]);
    assert.equal(client.lastEventId, "4");
  });
});

for (const [event, target] of [
  ["online", "window"],
  ["visibilitychange", "document"],
]) {
  test(`${event} makes the next attempt at once`, async () => {
    await withServer({ count: 2, script: [{ status: 502 }] }, async (server) => {
      const page = new EventTarget();
      page.document = Object.assign(new EventTarget(), { visibilityState: "visible" });
      const onConnection = (state, detail) => {
        if (state !== "lost" || detail.retryAt === null) return;
        setImmediate(() => (target === "window" ? page : page.document).dispatchEvent(new Event(event)));
      };
      const { seqs } = await collect(server, { retry: 60_000, longestWait: 60_000, page, onConnection });
      assert.deepEqual(seqs, [1, 2]);
    });
  });
}

test("a network that is back renews an open connection, without a word of it being lost", async () => {
  await withServer({ count: 6, script: [{ stall: 230 }] }, async (server) => {
    const page = new EventTarget();
    let delivered = 0;
    const onActivity = () => {
      delivered += 1;
      if (delivered === 1) setImmediate(() => page.dispatchEvent(new Event("online")));
    };
    const { seqs, states } = await collect(server, { page, onActivity });
    assert.deepEqual(seqs, upTo(6));
    assert.equal(server.connections.length, 2);
    assert.deepEqual(states.map(([state]) => state), ["connecting", "open", "open", "ended"]);
  });
});

test("the wait doubles up to the longest one, and its jitter takes away half at most", () => {
  const wait = (failures, random = 1) => backoff(failures, { retry: 2_000, longestWait: 30_000, random: () => random });
  const waits = [1, 2, 3, 4, 5, 50].map((failures) => wait(failures));
  assert.deepEqual(waits, [2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  assert.equal(wait(1, 0), 1_000);
  assert.equal(wait(50, 0), 15_000);
});

test("a server that asks for no wait is not hammered, and one that asks for a long one is obeyed", () => {
  const wait = (failures, retry) => backoff(failures, { retry, longestWait: 30_000, random: () => 1 });
  assert.equal(wait(1, 0), 0);
  assert.deepEqual([2, 3, 20].map((failures) => wait(failures, 0)), [200, 400, 30_000]);
  assert.deepEqual([1, 2, 9].map((failures) => wait(failures, 60_000)), [60_000, 60_000, 60_000]);
  assert.ok(wait(1, 10 ** 15) < 2 ** 31);
});

/** Numbers from 0 to 1 that are the same in every run (mulberry32). */
function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}
