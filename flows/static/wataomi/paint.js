/**
 * Paints a run's state into a page: it sets `data-status` on elements and text in marked ones, and CSS does the rest.
 *
 * | element | gets |
 * | --- | --- |
 * | `[data-node="<node id>"]` (any number of them) | `data-status` |
 * | inside it: `[data-node-status]` | the status as text |
 * | `[data-node-duration]` | how long its last attempt took; of a running one, how long it has been running |
 * | `[data-node-attempt]` | "attempt 2", from the second one on |
 * | `[data-node-items]` | "3 items" |
 * | `[data-node-message]`, `[data-node-text]` | what the running node says, or until when it waits; and the text that it streams |
 * | `[data-node-error]` | the message of its error |
 * | `progress[data-node-progress]` | its fraction; hidden unless the node tells one |
 * | `[data-run]` | `data-status` |
 * | `[data-run-status]`, `-duration`, `-error` | text |
 * | `[data-run-count]` | "2 / 4": nodes that are done, of all |
 * | `progress[data-run-progress]` | nodes that are done, of all |
 * | `[data-edge][data-source][data-source-port][data-target]` | `data-state`: idle, flowing, taken, skipped, failed |
 * | inside it: `[data-edge-count]` | how many items went over it |
 */

import { NODE_SETTLED } from "./fold.js";
import { formatDuration, formatElapsed, formatItemCounts, formatWait } from "./format.js";
import { inNextFrame } from "./frame.js";

/** Milliseconds between two looks at the clock while something runs. */
const TICK = 100;

/** The painter of each root, so that `bind` may be called with every new state. */
const painters = new WeakMap();

/**
 * Paint a state into everything below `root`, in the next frame. Called again before it, only the newest state is
 * painted; a call costs next to nothing.
 *
 * Elements may come and go between calls: what was added is painted by the next one.
 *
 * @param {Document|Element} root
 * @param {import("./fold.js").RunState} state
 */
export function bind(root, state) {
  let painter = painters.get(root);
  if (!painter) {
    painter = new Painter(root);
    painters.set(root, painter);
  }
  painter.show(state);
}

class Painter {
  #root;
  #state = null;
  #painted = new WeakMap(); // the node state that each element shows
  #ahead = 0; // milliseconds that the server's clock is ahead of this one, as far as known
  #timer = null;
  #ask;

  constructor(root) {
    this.#root = root;
    this.#ask = inNextFrame(() => this.#paint());
  }

  show(state) {
    this.#state = state;
    this.#ask();
  }

  #paint() {
    const { nodes } = this.#state;
    for (const element of this.#find("[data-node]")) {
      const node = nodeOf(nodes, element.dataset.node);
      if (!node || this.#painted.get(element) === node) continue;
      this.#painted.set(element, node);
      paintNode(element, node);
    }
    for (const element of this.#find("[data-edge]")) paintEdge(element, nodes);
    this.#paintRun();
    this.#tick();
  }

  #paintRun() {
    const { status, progress, error, durationMs } = this.#state;
    for (const element of this.#find("[data-run]")) setAttribute(element, "data-status", status);
    this.#setText("[data-run-status]", status);
    this.#setText("[data-run-error]", error?.message ?? "");
    this.#setText("[data-run-count]", `${progress.done} / ${progress.total}`);
    this.#setText("[data-run-duration]", formatDuration(durationMs));
    for (const element of this.#find("[data-run-progress]")) {
      set(element, "max", Math.max(1, progress.total));
      set(element, "value", progress.done);
    }
  }

  /** Durations of what is running grow by the clock; everything else changes only when an event says so. */
  #tick() {
    clearTimeout(this.#timer);
    const { nodes, startedAt, finishedAt } = this.#state;
    const isRunning = startedAt !== null && finishedAt === null;
    if (isRunning) this.#setText("[data-run-duration]", this.#elapsed(startedAt));
    for (const element of this.#find('[data-node][data-status="running"]')) {
      const node = nodeOf(nodes, element.dataset.node);
      if (node?.startedAt) setTextWithin(element, "[data-node-duration]", this.#elapsed(node.startedAt));
    }
    if (isRunning && this.#root.isConnected) this.#timer = setTimeout(() => this.#tick(), TICK);
  }

  #elapsed(startedAt) {
    const started = Date.parse(startedAt);
    const now = Date.now();
    // What has started cannot start in the future: if it seems to, this computer's clock is behind.
    this.#ahead = Math.max(this.#ahead, started - now);
    return formatElapsed(now + this.#ahead - started);
  }

  #find(selector) {
    const below = [...this.#root.querySelectorAll(selector)];
    return this.#root.matches?.(selector) ? [this.#root, ...below] : below;
  }

  #setText(selector, text) {
    for (const element of this.#find(selector)) setText(element, text);
  }
}

const nodeOf = (nodes, id) => (Object.hasOwn(nodes, id) ? nodes[id] : null);

function paintNode(element, node) {
  const { progress } = node;
  setAttribute(element, "data-status", node.status);
  setTextWithin(element, "[data-node-status]", node.status);
  setTextWithin(element, "[data-node-duration]", formatDuration(node.durationMs));
  setTextWithin(element, "[data-node-attempt]", node.attempt > 1 ? `attempt ${node.attempt}` : "");
  setTextWithin(element, "[data-node-items]", formatItemCounts(node.itemCounts));
  setTextWithin(element, "[data-node-error]", node.error?.message ?? "");
  setTextWithin(element, "[data-node-message]", progress?.message ?? formatWait(node));
  setTextWithin(element, "[data-node-text]", progress?.text ?? "");
  for (const bar of element.querySelectorAll("[data-node-progress]")) {
    set(bar, "hidden", progress === null || progress.fraction === null);
    set(bar, "value", progress?.fraction ?? 0);
  }
}

function paintEdge(element, nodes) {
  const { source, sourcePort, target } = element.dataset;
  const from = nodeOf(nodes, source);
  const to = nodeOf(nodes, target);
  if (!from || !to) return;
  const count = from.itemCounts?.[sourcePort];
  setAttribute(element, "data-state", edgeState(from, to, count));
  setTextWithin(element, "[data-edge-count]", count === undefined ? "" : count.toLocaleString("en-US"));
}

/** What happened on an edge. A port that is not counted delivered nothing. */
function edgeState(from, to, count) {
  if (!NODE_SETTLED.has(from.status) || from.status === "canceled") return "idle";
  if (count !== undefined) return to.status === "running" ? "flowing" : "taken";
  return from.status === "error" ? "failed" : "skipped";
}

function setTextWithin(element, selector, text) {
  for (const inner of element.querySelectorAll(selector)) setText(inner, text);
}

/** Write only what differs: a write costs a style or layout pass even when it changes nothing. */
function set(element, property, value) {
  if (element[property] !== value) element[property] = value;
}

const setText = (element, text) => set(element, "textContent", text);

function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}
