/**
 * One stream for all tabs of a browser that follow the same thing: browsers open six connections to a host on HTTP/1.1,
 * and tabs with a stream each would soon block every other request.
 *
 * The tabs queue for a Web Lock. The one that holds it leads: it has the connection, and passes every event on over a
 * BroadcastChannel. A tab that closes loses its lock, and the next one opens the stream behind the last event it saw.
 *
 * Nothing is lost, because no message is trusted to have arrived: each batch of events says behind which event it
 * begins (`after`). A tab that is behind that asks the leader for what it missed; when the leader does not hold it any
 * more, the tab reads it from the server itself. Nothing comes twice, because a tab delivers only what is behind the
 * last event that it has.
 *
 * | what happens | who acts |
 * | --- | --- |
 * | a tab joins late | it asks the leader (`hello`), who sends it what it lacks |
 * | the leader closes | the browser gives the lock to the next tab |
 * | the leader freezes | after `silence` a visible tab steals the lock; the old leader sees that, and queues |
 * | the new leader was behind or ahead of the others | those behind ask; those ahead drop what they know |
 * | a tab asks while no one leads | it asks again when it hears a new leader |
 */

import { callSafely } from "./sse.js";

/** How many of the newest events each tab holds, for tabs that missed some. */
const HISTORY_LIMIT = 500;

/** Milliseconds before a tab that got no answer asks again. */
const ASK_AGAIN = 1_000;

/** Milliseconds between getting the lock of another tab and connecting. */
const GRACE = 50;

const ABORTED = { code: "aborted", message: "The stream was closed by the page." };
const LAST_EVENT = { code: "finished", message: "The stream has ended with its last event." };

/** Whether tabs can share a stream here. Web Locks need a secure context: https, or localhost. */
export function canShare(browser = globalThis) {
  return Boolean(browser.navigator?.locks && browser.BroadcastChannel);
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The newest events, without a gap. */
class History {
  #events = [];

  /** @param {number} start the seq behind which it begins */
  constructor(start) {
    this.start = start;
  }

  add(event) {
    this.#events.push(event);
    if (this.#events.length < 2 * HISTORY_LIMIT) return;
    this.start = this.#events[HISTORY_LIMIT - 1].seq;
    this.#events = this.#events.slice(HISTORY_LIMIT);
  }

  /** The events behind a seq that is not before `start`. */
  after(seq) {
    return this.#events.filter((event) => event.seq > seq);
  }
}

/** One tab's share of a stream. */
export class SharedStream {
  #options;
  #member = String(Math.random());
  #patience; // milliseconds of silence that this tab bears; not the same in each, or all would steal the lock at once
  #seq;
  #history;
  #channel = null;
  #queue = null; // AbortController of the place in the queue for the lock
  #client = null; // the stream, when this tab leads
  #reader = null; // the stream of a tab that reads what the leader holds no more
  #outgoing = { after: 0, events: [] };
  #connection = { state: null, detail: {} };
  #leader = null; // the member that was heard last
  #heardAt = Date.now();
  #saidAt = 0;
  #askedAt = 0;
  #ended = null;

  /**
   * @param {object} options
   * @param {string} options.name of what is followed: tabs that give the same name share
   * @param {number} options.after the seq of the last event that is known
   * @param {(options: {after: number, onEvent: Function, onConnection: Function, onActivity: Function}) => object}
   *   options.open makes the stream: a client with `run()`, `close()` and `retryNow()`
   * @param {(event: {seq: number}) => boolean} options.isLast
   * @param {(event: {seq: number}) => void} options.onEvent
   * @param {(state: string, detail: object) => void} options.onConnection
   * @param {AbortSignal} options.signal
   * @param {number} [options.beat] milliseconds between the leader's signs of life
   * @param {number} [options.silence] milliseconds without one after which a leader counts as frozen; longer than the
   *   server's keep-alive interval, for a hidden leader's timers are slow and only bytes wake it
   * @param {object} [options.browser] the window
   */
  constructor(options) {
    this.#options = { beat: 5_000, silence: 45_000, browser: globalThis, ...options };
    this.#patience = this.#options.silence * (1 + Math.random() / 2);
    this.#seq = options.after;
    this.#history = new History(options.after);
  }

  /** @returns {Promise<object>} why it ended; never rejects */
  async run() {
    const { browser, name, signal } = this.#options;
    this.#channel = new browser.BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    const abort = () => this.#end(ABORTED);
    signal.addEventListener("abort", abort);
    if (signal.aborted) abort();
    const release = this.#watch();
    this.#report("connecting", { code: "connecting", message: "Connecting." });
    this.#ask();
    while (!this.#ended) await this.#queueForLead();
    release();
    signal.removeEventListener("abort", abort);
    this.#channel.close();
    this.#report("ended", this.#ended);
    return this.#ended;
  }

  /** Do not wait for the next attempt to connect, whichever tab makes it. */
  retryNow() {
    if (this.#ended) return;
    if (this.#client) this.#client.retryNow();
    else this.#channel.postMessage({ kind: "nudge" });
  }

  #end(reason) {
    this.#ended ??= reason;
    this.#client?.close();
    this.#reader?.close();
    this.#queue?.abort();
  }

  #watch() {
    const { browser, beat, silence } = this.#options;
    const signOfLife = setInterval(() => this.#signOfLife(), beat);
    const freeze = setInterval(() => {
      if (this.#leaderIsFrozen()) this.#queue?.abort(); // and queue again, stealing
    }, silence / 8);
    const nudge = () => {
      if (this.#isVisible()) this.retryNow();
    };
    browser.addEventListener?.("online", nudge);
    browser.document?.addEventListener("visibilitychange", nudge);
    return () => {
      [signOfLife, freeze].forEach(clearInterval);
      browser.removeEventListener?.("online", nudge);
      browser.document?.removeEventListener("visibilitychange", nudge);
    };
  }

  #isVisible() {
    return this.#options.browser.document?.visibilityState !== "hidden";
  }

  #leaderIsFrozen() {
    return !this.#client && this.#isVisible() && Date.now() - this.#heardAt > this.#patience;
  }

  // Leading

  async #queueForLead() {
    const { browser, name } = this.#options;
    this.#queue = new AbortController();
    const options = this.#leaderIsFrozen() ? { steal: true } : { signal: this.#queue.signal };
    try {
      await browser.navigator.locks.request(name, options, () => this.#lead());
    } catch (problem) {
      if (problem.name !== "AbortError") return this.#lead(); // no locks here, after all: a stream of its own
      // No longer in the queue, or no longer the leader: the lock was stolen.
      this.#client?.close();
      this.#client = null;
      if (this.#leader === this.#member) this.#heardAt = Date.now(); // whoever stole it is alive
    }
    return undefined;
  }

  async #lead() {
    // The last words of the leader before may be on their way: after the last event there is nothing to do any more.
    const place = this.#queue;
    if (this.#leader !== null && !this.#ended) await pause(GRACE);
    if (this.#ended || this.#queue !== place) return; // or the lock was stolen meanwhile
    this.#reader?.close();
    const client = this.#options.open({
      after: this.#seq,
      onEvent: (event) => this.#passOn(event),
      onConnection: (state, detail) => this.#leadConnection(client, state, detail),
      onActivity: () => this.#signOfLife(),
    });
    this.#client = client;
    this.#leader = this.#member;
    this.#tell();
    const reason = await client.run();
    if (this.#client !== client) return; // stolen
    this.#flush();
    this.#client = null;
    if (reason.code !== ABORTED.code) this.#end(reason);
  }

  /** The other tabs keep what they show until this one knows better, and find out by themselves why a stream ended. */
  #leadConnection(client, state, detail) {
    if (this.#client !== client || state === "connecting" || state === "ended") return;
    this.#report(state, detail);
    this.#tell();
  }

  #passOn(event) {
    const after = this.#seq;
    if (!this.#take(event)) return;
    if (this.#outgoing.events.length === 0) {
      this.#outgoing.after = after;
      queueMicrotask(() => this.#flush()); // all events of one piece of bytes in one message
    }
    this.#outgoing.events.push(event);
  }

  #flush() {
    const { after, events } = this.#outgoing;
    if (events.length === 0) return;
    this.#outgoing = { after: 0, events: [] };
    this.#tell({ after, events });
  }

  #signOfLife() {
    if (this.#client && Date.now() - this.#saidAt >= this.#options.beat) this.#tell();
  }

  /** What every message of a leader says: how far it is, and how its connection is. */
  #tell(more = {}) {
    this.#saidAt = Date.now();
    const seq = more.events?.at(-1)?.seq ?? this.#seq;
    this.#channel.postMessage({ kind: "news", leader: this.#member, connection: this.#connection, seq, ...more });
  }

  #answer({ from, after }) {
    if (after < this.#history.start) this.#tell({ to: from, missing: this.#history.start });
    else this.#tell({ to: from, after, events: this.#history.after(after) });
  }

  // Listening

  #receive(message) {
    if (this.#ended || (message.to && message.to !== this.#member)) return;
    if (message.kind === "news") this.#hear(message);
    else if (!this.#client) return;
    else if (message.kind === "hello") this.#answer(message);
    else if (message.kind === "nudge") this.#client.retryNow();
  }

  #hear(message) {
    if (this.#client) return; // two leaders for a moment: one of them is about to learn that its lock was stolen
    this.#heardAt = Date.now();
    if (message.to || message.leader !== this.#leader) this.#askedAt = 0;
    this.#leader = message.leader;
    if (message.connection.state !== "connecting") this.#report(message.connection.state, message.connection.detail);
    if (message.missing !== undefined) this.#readUpTo(message.missing);
    else if (message.after <= this.#seq) message.events.forEach((event) => this.#take(event));
    if (message.seq > this.#seq) this.#ask();
  }

  /** Deliver an event, unless it is known already. Returns whether it was new. */
  #take(event) {
    if (this.#ended || event.seq <= this.#seq) return false;
    this.#seq = event.seq;
    this.#history.add(event);
    callSafely(this.#options.onEvent, event);
    if (!this.#client && this.#options.isLast(event)) this.#end(LAST_EVENT);
    return true;
  }

  /** Ask the leader for what is behind the last event that this tab has. */
  #ask() {
    if (this.#ended || this.#reader || Date.now() - this.#askedAt < ASK_AGAIN) return;
    this.#askedAt = Date.now();
    this.#channel.postMessage({ kind: "hello", from: this.#member, after: this.#seq });
  }

  /** Read from the server what the leader holds no more. */
  async #readUpTo(seq) {
    if (this.#reader || this.#client) return;
    const reader = this.#options.open({
      after: this.#seq,
      onEvent: (event) => {
        this.#take(event);
        if (this.#seq >= seq) reader.close();
      },
      onConnection: () => {},
      onActivity: () => {},
    });
    this.#reader = reader;
    const reason = await reader.run();
    this.#reader = null;
    if (reason.code === ABORTED.code) this.#ask();
    else this.#end(reason);
  }

  #report(state, detail) {
    const known = this.#connection;
    if (known.state === state && known.detail.code === detail.code && known.detail.retryAt === detail.retryAt) return;
    this.#connection = { state, detail };
    callSafely(this.#options.onConnection, state, detail);
  }
}
