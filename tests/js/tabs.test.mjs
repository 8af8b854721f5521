import assert from "node:assert/strict";
import { test } from "node:test";

import { canShare, SharedStream } from "../../flows/static/wataomi/tabs.js";
import { LockManager, RunSource } from "./browser_parts.mjs";

let runs = 0;

/** Tabs of one browser that follow one run of `source`. */
function browserOf(source) {
  const locks = new LockManager();
  runs += 1;
  const name = `run-${runs}`;
  return {
    open({ after = 0, visible = true, browser = {}, ...options } = {}) {
      const closing = new AbortController();
      const document = Object.assign(new EventTarget(), { visibilityState: visible ? "visible" : "hidden" });
      const window = Object.assign(new EventTarget(), { navigator: { locks }, BroadcastChannel, document, ...browser });
      const tab = { seqs: [], states: [], document, window, client: null };
      const stream = new SharedStream({
        name,
        after,
        open: (listeners) => {
          tab.client = source.connect(listeners);
          return tab.client;
        },
        isLast: (event) => event.last,
        onEvent: (event) => {
          tab.seqs.push(event.seq);
          tab.heard?.();
        },
        onConnection: (state, detail) => tab.states.push([state, detail]),
        signal: closing.signal,
        browser: window,
        ...options,
      });
      tab.close = () => closing.abort();
      tab.retryNow = () => stream.retryNow();
      tab.has = (seq) => reached(tab, seq);
      tab.ended = stream.run();
      return tab;
    },
  };
}

function reached(tab, seq) {
  return new Promise((resolve) => {
    tab.heard = () => tab.seqs.at(-1) >= seq && resolve();
    tab.heard();
  });
}

const upTo = (count, from = 1) => Array.from({ length: count - from + 1 }, (_, index) => from + index);
const settle = (milliseconds = 20) => new Promise((resolve) => setTimeout(resolve, milliseconds));

test("eight tabs of one run share one connection, and each gets every event once and in order", async () => {
  const source = new RunSource();
  const browser = browserOf(source);
  const tabs = upTo(8).map(() => browser.open());
  for (let count = 0; count < 20; count += 1) {
    source.publish(5);
    await settle(2);
  }
  source.finish();
  await Promise.all(tabs.map((tab) => tab.ended));
  for (const tab of tabs) assert.deepEqual(tab.seqs, upTo(101));
  assert.equal(source.connections, 1);
});

test("a tab that opens later gets from the leader what it missed", async () => {
  const source = new RunSource();
  const browser = browserOf(source);
  const first = browser.open();
  source.publish(300);
  await first.has(300);
  const late = browser.open({ after: 120 });
  await late.has(300);
  source.finish();
  await late.ended;
  assert.deepEqual(late.seqs, upTo(301, 121));
  assert.equal(source.connections, 1);
});

test("a tab that needs what the leader holds no more reads it from the server, then listens again", async () => {
  const source = new RunSource();
  const browser = browserOf(source);
  source.publish(5000);
  const first = browser.open({ after: 40 });
  await first.has(5000);
  const late = browser.open();
  await late.has(5000);
  assert.equal(source.open.size, 1);
  source.publish(10);
  await late.has(5010);
  assert.equal(source.connections, 2);
  source.finish();
  await Promise.all([first.ended, late.ended]);
  assert.deepEqual(late.seqs, upTo(5011));
  assert.deepEqual(first.seqs, upTo(5011, 41));
});

test("the leader's tab closes: another one takes over, and nobody misses or repeats an event", async () => {
  const source = new RunSource();
  const browser = browserOf(source);
  const tabs = upTo(5).map(() => browser.open());
  for (let round = 0; round < 4; round += 1) {
    source.publish(7);
    await Promise.all(tabs.slice(round).map((tab) => tab.has((round + 1) * 14 - 7)));
    tabs[round].close();
    assert.equal((await tabs[round].ended).code, "aborted");
    source.publish(7);
  }
  source.finish();
  await tabs[4].ended;
  assert.deepEqual(tabs[4].seqs, upTo(57));
  tabs.slice(0, 4).forEach((tab, round) => assert.deepEqual(tab.seqs.slice(0, round * 14 + 7), upTo(round * 14 + 7)));
  assert.equal(source.connections, 5);
  assert.equal(source.mostAtOnce, 1);
});

test("tabs that open and close at random times miss nothing and repeat nothing", async () => {
  let seed = 7;
  const random = (below) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  const source = new RunSource();
  const browser = browserOf(source);
  const opened = [];
  let alive = [browser.open()];
  opened.push([alive[0], 0]);
  for (let step = 0; step < 150; step += 1) {
    source.publish(random(40));
    const choice = random(4);
    if (choice === 0 && alive.length < 8) {
      const after = random(source.events.length + 1);
      alive.push(browser.open({ after }));
      opened.push([alive.at(-1), after]);
    } else if (choice === 1 && alive.length > 1) {
      alive.splice(random(alive.length), 1)[0].close();
    }
    if (random(2) === 0) await settle(random(4));
  }
  source.finish();
  const last = source.events.length;
  await Promise.all(alive.map((tab) => tab.ended));
  for (const [tab, after] of opened) {
    assert.deepEqual(tab.seqs, upTo(alive.includes(tab) ? last : after + tab.seqs.length, after + 1));
  }
  assert.equal(source.open.size, 0);
});

test("all tabs know how the connection is", async () => {
  const source = new RunSource();
  const browser = browserOf(source);
  const [first, second] = [browser.open(), browser.open()];
  source.publish(1);
  await second.has(1);
  const lost = { code: "http_502", message: "The server answered 502.", retryAt: 123, failures: 1 };
  first.client.say("lost", lost);
  await settle();
  first.client.say("open", { code: "open", message: "Connected." });
  source.finish();
  await Promise.all([first.ended, second.ended]);
  for (const { states } of [first, second]) {
    assert.deepEqual(states.map(([state]) => state), ["connecting", "open", "lost", "open", "ended"]);
    assert.deepEqual(states[2][1], lost);
    assert.equal(states[4][1].code, "finished");
  }
});

test("a leader whose stream ends for good tells nobody: each tab asks for itself, one after the other", async () => {
  const source = new RunSource({ answer: { code: "not_found", message: "This run does not exist." } });
  const browser = browserOf(source);
  const reasons = await Promise.all(upTo(3).map(() => browser.open().ended));
  assert.deepEqual(reasons.map(({ code }) => code), ["not_found", "not_found", "not_found"]);
  assert.equal(source.connections, 3);
  assert.equal(source.mostAtOnce, 1);
});

test("any tab that is looked at, or that is asked to, hurries the leader", async () => {
  const source = new RunSource();
  const browser = browserOf(source);
  const [first, second] = [browser.open(), browser.open({ visible: false })];
  source.publish(1);
  await second.has(1);
  second.document.dispatchEvent(new Event("visibilitychange"));
  await settle();
  assert.equal(first.client.hurried, 0, "it is still hidden");
  second.document.visibilityState = "visible";
  second.document.dispatchEvent(new Event("visibilitychange"));
  await settle();
  assert.equal(first.client.hurried, 1);
  second.window.dispatchEvent(new Event("online"));
  second.retryNow();
  first.retryNow();
  await settle();
  assert.equal(first.client.hurried, 4);
  source.finish();
  await Promise.all([first.ended, second.ended]);
});

test("a frozen leader loses the lock to a visible tab, and goes on listening when it wakes", async () => {
  const source = new RunSource();
  const browser = browserOf(source);
  const times = { beat: 20, silence: 150 };
  const frozenChannel = mutable();
  const leader = browser.open({ ...times, browser: { BroadcastChannel: frozenChannel.Channel } });
  const hidden = browser.open({ ...times, visible: false });
  const visible = browser.open(times);
  source.publish(3);
  await visible.has(3);
  frozenChannel.muted = true;
  leader.client.pause();
  source.publish(3);
  await Promise.all([visible.has(6), hidden.has(6)]);
  assert.equal(source.connections, 2, "the visible tab has taken over");
  frozenChannel.muted = false;
  source.publish(1);
  source.finish();
  await Promise.all([leader, hidden, visible].map((tab) => tab.ended));
  for (const tab of [leader, hidden, visible]) assert.deepEqual(tab.seqs, upTo(8));
  assert.equal(source.connections, 2);
});

test("hidden tabs leave a frozen leader its lock: the first one that is looked at takes it", async () => {
  const source = new RunSource();
  const browser = browserOf(source);
  const times = { beat: 1_000_000, silence: 40 };
  const leader = browser.open(times);
  const hidden = browser.open({ ...times, visible: false });
  source.publish(1);
  await hidden.has(1);
  await settle(200);
  assert.equal(source.connections, 1);
  hidden.document.visibilityState = "visible";
  await connections(source, 2);
  source.finish();
  await Promise.all([leader.ended, hidden.ended]);
});

test("a tab that missed messages asks the next leader for what it lacks", async () => {
  const source = new RunSource();
  const browser = browserOf(source);
  const first = browser.open();
  await settle();
  const second = browser.open();
  await settle();
  const channel = deafFor();
  const third = browser.open({ browser: { BroadcastChannel: channel.Channel } });
  source.publish(3);
  await third.has(3);
  channel.isDeaf = true;
  source.publish(40);
  await second.has(43);
  await settle(); // what was on its way to the third tab has been lost
  channel.isDeaf = false;
  first.close();
  await third.has(43);
  assert.equal(source.connections, 2, "the second tab leads, and had all that the third one missed");
  source.finish();
  await Promise.all([second.ended, third.ended]);
  assert.deepEqual(third.seqs, upTo(44));
});

test("a leader that gives a sign of life keeps the lock, however quiet the run is", async () => {
  const source = new RunSource();
  const browser = browserOf(source);
  const tabs = upTo(3).map(() => browser.open({ beat: 10, silence: 60 }));
  await settle(400);
  source.finish();
  await Promise.all(tabs.map((tab) => tab.ended));
  assert.equal(source.connections, 1);
});

test("a listener that raises does not keep the other tabs, or itself, from the next events", async (context) => {
  context.mock.method(console, "error", () => {});
  const source = new RunSource();
  const browser = browserOf(source);
  const seen = [];
  const first = browser.open({
    onEvent: (event) => {
      seen.push(event.seq);
      throw new Error("a bug in the page");
    },
  });
  const second = browser.open();
  source.publish(3);
  await second.has(3);
  source.finish();
  await Promise.all([first.ended, second.ended]);
  assert.deepEqual(seen, upTo(4));
  assert.deepEqual(second.seqs, upTo(4));
});

test("a browser that refuses locks leaves each tab its own stream", async () => {
  const locks = { request: () => Promise.reject(new DOMException("no", "SecurityError")) };
  const source = new RunSource();
  const tabs = upTo(2).map(() => browserOf(source).open({ browser: { navigator: { locks } } }));
  source.publish(2);
  source.finish();
  await Promise.all(tabs.map((tab) => tab.ended));
  for (const tab of tabs) assert.deepEqual(tab.seqs, upTo(3));
});

test("sharing needs both Web Locks and BroadcastChannel", () => {
  const navigator = { locks: {} };
  assert.equal(canShare({ navigator, BroadcastChannel }), true);
  assert.equal(canShare({ navigator: {}, BroadcastChannel }), false);
  assert.equal(canShare({ navigator }), false);
  assert.equal(canShare({}), false);
});

async function connections(source, count) {
  while (source.connections < count) await settle(5);
}

/** A channel on which, for a while, nothing arrives at all. */
function deafFor() {
  const state = { isDeaf: false };
  state.Channel = class extends BroadcastChannel {
    set onmessage(listener) {
      super.onmessage = (event) => state.isDeaf || listener(event);
    }
  };
  return state;
}

/** A channel that a frozen page would have: what arrives or is sent meanwhile waits. */
function mutable() {
  const state = { isMuted: false, waiting: [] };
  const later = (work) => (state.isMuted ? state.waiting.push(work) : work());
  class Channel extends BroadcastChannel {
    postMessage(message) {
      later(() => super.postMessage(message));
    }

    set onmessage(listener) {
      super.onmessage = (event) => later(() => listener(event));
    }
  }
  return {
    Channel,
    set muted(value) {
      state.isMuted = value;
      if (!value) state.waiting.splice(0).forEach((work) => work());
    },
  };
}
