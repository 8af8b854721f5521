/** What browsers have and Node lacks, and a run to follow: for tests of how tabs share a stream. */

/** Web Locks (https://w3c.github.io/web-locks/): exclusive ones, with `signal` and `steal`. */
export class LockManager {
  #held = new Map(); // by name: the promise's way to fail when the lock is stolen
  #queues = new Map();

  request(name, { signal, steal = false }, use) {
    if (signal?.aborted) return Promise.reject(abortError());
    return new Promise((resolve, reject) => {
      const entry = { use, resolve, reject };
      if (steal) {
        this.#held.get(name)?.reject(abortError());
        this.#held.delete(name);
        this.#queue(name).unshift(entry);
      } else {
        this.#queue(name).push(entry);
      }
      signal?.addEventListener("abort", () => this.#leave(name, entry));
      this.#grant(name);
    });
  }

  #queue(name) {
    if (!this.#queues.has(name)) this.#queues.set(name, []);
    return this.#queues.get(name);
  }

  #leave(name, entry) {
    const queue = this.#queue(name);
    if (!queue.includes(entry)) return; // it has the lock: aborting has no effect any more
    queue.splice(queue.indexOf(entry), 1);
    entry.reject(abortError());
  }

  #grant(name) {
    if (this.#held.has(name)) return;
    const entry = this.#queue(name).shift();
    if (!entry) return;
    this.#held.set(name, entry);
    Promise.resolve()
      .then(entry.use)
      .then(entry.resolve, entry.reject)
      .finally(() => {
        if (this.#held.get(name) !== entry) return; // stolen
        this.#held.delete(name);
        this.#grant(name);
      });
  }
}

const abortError = () => new DOMException("The lock was not to be had, or was taken away.", "AbortError");

/** A run: it publishes events, and whoever is connected gets what is behind its `after`, a moment later. */
export class RunSource {
  events = [];
  open = new Set();
  connections = 0;
  mostAtOnce = 0;
  #answer;

  /** @param {{answer?: object}} options `answer`: why each connection ends at once */
  constructor({ answer = null } = {}) {
    this.#answer = answer;
  }

  publish(count) {
    for (let number = 0; number < count; number += 1) this.events.push({ seq: this.events.length + 1, last: false });
    this.open.forEach((client) => client.wake());
  }

  finish() {
    this.events.push({ seq: this.events.length + 1, last: true });
    this.open.forEach((client) => client.wake());
  }

  connect(listeners) {
    this.connections += 1;
    const client = new SourceClient(this, listeners, this.#answer);
    this.open.add(client);
    this.mostAtOnce = Math.max(this.mostAtOnce, this.open.size);
    return client;
  }
}

class SourceClient {
  hurried = 0;
  #source;
  #listeners;
  #seq;
  #answer;
  #reason = null;
  #isPaused = false;
  #end;

  constructor(source, listeners, answer) {
    this.#source = source;
    this.#listeners = listeners;
    this.#seq = listeners.after;
    this.#answer = answer;
  }

  run() {
    return new Promise((resolve) => {
      this.#end = resolve;
      this.say("connecting", { code: "connecting" });
      if (this.#answer) this.#stop(this.#answer);
      else if (!this.#reason) this.say("open", { code: "open" });
      this.wake();
    });
  }

  close() {
    this.#stop({ code: "aborted" });
  }

  retryNow() {
    this.hurried += 1;
  }

  pause() {
    this.#isPaused = true;
  }

  say(state, detail) {
    this.#listeners.onConnection(state, detail);
  }

  wake() {
    setImmediate(() => this.#deliver());
  }

  #deliver() {
    while (!this.#reason && !this.#isPaused && this.#seq < this.#source.events.length) {
      const event = this.#source.events[this.#seq];
      this.#seq = event.seq;
      this.#listeners.onEvent(event);
      if (event.last) this.#stop({ code: "finished" });
    }
    if (this.#reason) this.#stop(this.#reason);
  }

  #stop(reason) {
    this.#reason ??= reason;
    this.#source.open.delete(this);
    this.#end?.(this.#reason);
  }
}
