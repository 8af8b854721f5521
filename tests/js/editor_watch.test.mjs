// How an open edit page learns of runs that are started elsewhere.

import assert from "node:assert/strict";
import { once } from "node:events";
import test from "node:test";

import { RunWatch } from "../../flows/static/wataomi/editor/watch.js";

const NEVER = 1_000_000;

/** A window with a page, and a watch of flow 1 in it that counts its looks. */
class Tab extends EventTarget {
  document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  BroadcastChannel = BroadcastChannel;
  looks = 0;
  #news = new EventTarget();

  constructor(context, { flowId = 1, interval = NEVER, look = async () => {} } = {}) {
    super();
    this.watch = new RunWatch({
      flowId,
      interval,
      browser: this,
      look: () => {
        this.looks += 1;
        this.#news.dispatchEvent(new Event("look"));
        return look(this.looks);
      },
    });
    this.watch.start();
    context.after(() => this.watch.stop());
  }

  async nextLook() {
    await once(this.#news, "look");
  }

  become(visibilityState) {
    this.document.visibilityState = visibilityState;
    this.document.dispatchEvent(new Event("visibilitychange"));
  }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 30));

test("a visible page looks again and again", async (context) => {
  const tab = new Tab(context, { interval: 2 });
  await tab.nextLook();
  await tab.nextLook();
});

test("a hidden page does not look, and looks at once when it is shown", async (context) => {
  const tab = new Tab(context, { interval: 5 });
  tab.become("hidden");
  await settled();
  assert.equal(tab.looks, 0);
  tab.become("visible");
  assert.equal(tab.looks, 1);
});

test("a page that gets the focus looks at once", (context) => {
  const tab = new Tab(context);
  tab.dispatchEvent(new Event("focus"));
  assert.equal(tab.looks, 1);
});

test("a run announced by one tab is looked for by the others of that flow, at once", async (context) => {
  const [one, other, foreign] = [new Tab(context), new Tab(context), new Tab(context, { flowId: 2 })];
  const looked = other.nextLook();
  one.watch.announce();
  await looked;
  assert.deepEqual([one.looks, other.looks, foreign.looks], [0, 1, 0]);
});

test("what is asked for during a look is looked for after it, once", async (context) => {
  let finish;
  const tab = new Tab(context, { look: (count) => (count === 1 ? new Promise((resolve) => (finish = resolve)) : null) });
  for (let count = 0; count < 3; count += 1) tab.dispatchEvent(new Event("focus"));
  assert.equal(tab.looks, 1);
  finish();
  await settled();
  assert.equal(tab.looks, 2);
});

test("looks that fail come later and later, until one succeeds", async (context) => {
  const moments = [];
  const look = async (count) => {
    moments.push(performance.now());
    if (count < 4) throw new Error("no connection");
  };
  const tab = new Tab(context, { interval: 20, look });
  while (tab.looks < 5) await tab.nextLook();
  const [first, second, third, fourth] = moments;
  assert.ok(second - first >= 38 && third - second >= 78 && fourth - third >= 158);
  await tab.nextLook();
});

test("a page in the back/forward cache holds no channel, and goes on when it is shown again", async (context) => {
  const [one, other] = [new Tab(context), new Tab(context)];
  other.dispatchEvent(new Event("pagehide"));
  one.watch.announce();
  await settled();
  assert.equal(other.looks, 0);
  other.dispatchEvent(new Event("pageshow"));
  const looked = other.nextLook();
  one.watch.announce();
  await looked;
});
