/**
 * The client of a run's stream, for every page that shows one: `follow` receives the run's events, `bind` paints its
 * state.
 *
 *     follow(executionId, { state: snapshot, onState: (state) => bind(document, state) });
 */

import { emptyState, fold, isLastEvent, RUN_ENDED } from "./fold.js";
import { inNextFrame } from "./frame.js";
import { openRunStream, RUN_OVER } from "./run_stream.js";
import { callSafely } from "./sse.js";
import { canShare, SharedStream } from "./tabs.js";

/**
 * @typedef {import("./fold.js").RunEvent} RunEvent
 * @typedef {import("./fold.js").RunState} RunState
 * @typedef {import("./sse.js").ConnectionState} ConnectionState
 * @typedef {import("./sse.js").ConnectionDetail} ConnectionDetail
 */

export { bind } from "./paint.js";
export { emptyState, fold } from "./fold.js";

/**
 * Follow a run until its last event. All tabs of a browser that follow the same run share one connection; where the
 * browser cannot do that, and for a client with a token, the connection is its own.
 *
 * @param {string} executionId
 * @param {object} [options]
 * @param {RunState} [options.state] the state to go on from (a snapshot); without it, an empty one
 * @param {number} [options.after] the seq of the last event that is known; by default `state.seq`
 * @param {(event: RunEvent) => void} [options.onEvent] every event, once, in order
 * @param {(state: RunState) => void} [options.onState] the newest state, at most once a frame
 * @param {(state: ConnectionState, detail: ConnectionDetail) => void} [options.onConnection]
 * @param {AbortSignal} [options.signal]
 * @param {?(string|(() => string|Promise<string>))} [options.token] a bearer token instead of the session; a function
 *   is asked before each attempt
 * @param {object} [options.connection] passed to `EventStreamClient`: `watchdog`, `retry`, `longestWait`
 * @returns {Following}
 */
export function follow(executionId, options = {}) {
  const following = new Following(executionId, options);
  following.start();
  return following;
}

/** A run that is being followed. */
class Following {
  #executionId;
  #options;
  #closing = new AbortController();
  #stream = null;
  #announce;

  /** @type {RunState} the newest state */
  state;
  /** @type {Promise<ConnectionDetail>} settles when nothing more will come; never rejects */
  ended;

  constructor(executionId, options) {
    this.#executionId = executionId;
    this.#options = { onEvent: () => {}, onState: () => {}, onConnection: () => {}, token: null, ...options };
    const state = options.state ?? emptyState([], executionId);
    this.state = options.after === undefined ? state : { ...state, seq: options.after };
    this.#announce = inNextFrame(() => callSafely(this.#options.onState, this.state));
  }

  start() {
    const { signal } = this.#options;
    signal?.addEventListener("abort", () => this.close(), { signal: this.#closing.signal });
    if (signal?.aborted) this.close();
    // In a moment, so that no listener is called before `follow` has returned.
    this.ended = Promise.resolve().then(() => this.#run());
  }

  /** Stop following. */
  close() {
    this.#closing.abort();
  }

  /** Do not wait for the next attempt to connect. */
  retryNow() {
    this.#stream?.retryNow();
  }

  async #run() {
    const over = RUN_ENDED.has(this.state.status);
    const reason = over ? RUN_OVER : await this.#streamWhileShown();
    this.#announce.flush();
    callSafely(this.#options.onConnection, "ended", reason);
    return reason;
  }

  /** A page in the back/forward cache must hold no connection and no lock; shown again, it goes on where it was. */
  async #streamWhileShown() {
    const closing = this.#closing.signal;
    for (;;) {
      const shown = new AbortController();
      const hide = () => shown.abort();
      closing.addEventListener("abort", hide, { once: true });
      globalThis.addEventListener?.("pagehide", hide, { once: true, signal: closing });
      if (closing.aborted) hide();
      this.#stream = this.#open(shown.signal);
      const reason = await this.#stream.run();
      if (closing.aborted || !shown.signal.aborted) return reason;
      await pageShown(closing);
    }
  }

  #open(signal) {
    const { token, connection } = this.#options;
    const listeners = {
      after: this.state.seq,
      onEvent: (event) => this.#receive(event),
      onConnection: (state, detail) => this.#reportConnection(state, detail),
    };
    const open = (options) => openRunStream(this.#executionId, { token, connection, ...options });
    if (token !== null || !canShare()) return open({ ...listeners, signal });
    const name = `wataomi.run.${this.#executionId}`;
    return new SharedStream({ name, open, isLast: isLastEvent, ...listeners, signal });
  }

  #receive(event) {
    if (event.seq <= this.state.seq) return;
    this.state = fold(this.state, event);
    callSafely(this.#options.onEvent, event);
    this.#announce();
  }

  #reportConnection(state, detail) {
    if (state !== "ended") callSafely(this.#options.onConnection, state, detail);
  }
}

function pageShown(signal) {
  return new Promise((resolve) => {
    globalThis.addEventListener?.("pageshow", resolve, { once: true });
    signal.addEventListener("abort", resolve, { once: true });
  });
}
