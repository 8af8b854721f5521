/**
 * How a run's state follows from its events: the page's half of the law `fold(snapshot, events after it) == the state`.
 *
 * The server folds with the same rules; `tests/vectors/fold.json` holds both to them. Pure: a state is never changed,
 * and whatever an event did not touch is the same object in the new state, so that `===` tells what changed.
 *
 * @typedef {{seq: number, type: string, data: object}} RunEvent
 * @typedef {{status: string, attempt: number, startedAt: ?string, finishedAt: ?string, durationMs: ?number,
 *            itemCounts: ?object, error: ?object, willRetryAt: ?string,
 *            progress: ?{fraction: ?number, message: string, text: string}}} NodeState
 * @typedef {{executionId: string, seq: number, status: string, startedAt: ?string, finishedAt: ?string,
 *            durationMs: ?number, error: ?object, progress: {done: number, total: number},
 *            nodes: Object<string, NodeState>}} RunState
 */

/** How much of a node's streamed text is kept, in characters (code points): the newest ones. */
export const PROGRESS_TEXT_LIMIT = 8192;

/** A run in one of these statuses never changes again. */
export const RUN_ENDED = new Set(["success", "error", "canceled"]);

/** A node in one of these statuses is done, unless its run is retried. */
export const NODE_SETTLED = new Set(["success", "error", "skipped", "canceled"]);

const LAST_EVENTS = new Set(["executionFinished", "executionError"]);

/** Whether nothing comes behind this event: every run has exactly one such. */
export const isLastEvent = (event) => LAST_EVENTS.has(event.type);

/**
 * The state of a run before its first event.
 *
 * @param {Iterable<string|{id: string, status?: string}>} nodes the flow's nodes, by id or as `executionStarted` lists them
 * @param {string} executionId
 * @returns {RunState}
 */
export function emptyState(nodes = [], executionId = "") {
  const byId = nodesFrom(nodes);
  return {
    executionId,
    seq: 0,
    status: "queued",
    startedAt: null,
    finishedAt: null,
    durationMs: null,
    error: null,
    progress: progressOf(byId),
    nodes: byId,
  };
}

/**
 * The state after one more event. An event that the state already holds (`seq <= state.seq`) changes nothing.
 *
 * @param {RunState} state
 * @param {RunEvent} event
 * @returns {RunState}
 */
export function fold(state, event) {
  if (event.seq <= state.seq) return state;
  const change = CHANGES[event.type];
  return { ...state, ...change?.(state, event.data), executionId: event.data.executionId ?? state.executionId, seq: event.seq };
}

const CHANGES = {
  executionStarted(state, data) {
    const nodes = nodesFrom(data.nodes);
    return { status: "running", startedAt: data.startedAt, progress: progressOf(nodes), nodes };
  },

  nodeExecutionBefore(state, data) {
    const begun = { ...idleNode("running"), attempt: data.attempt, startedAt: data.startedAt };
    return { nodes: { ...state.nodes, [data.nodeId]: begun } };
  },

  nodeExecutionProgress(state, data) {
    const node = state.nodes[data.nodeId] ?? idleNode();
    const progress = {
      fraction: data.fraction ?? null,
      message: data.message ?? "",
      text: newest((node.progress?.text ?? "") + (data.text ?? "")),
    };
    return { nodes: { ...state.nodes, [data.nodeId]: { ...node, progress } } };
  },

  nodeExecutionAfter(state, data) {
    const willRetryAt = data.willRetryAt ?? null;
    const settled = {
      status: data.status === "error" && willRetryAt !== null ? "waiting" : data.status,
      attempt: data.attempt,
      startedAt: data.startedAt ?? null,
      finishedAt: data.finishedAt ?? null,
      durationMs: data.durationMs ?? null,
      itemCounts: data.itemCounts ?? null,
      error: data.error ?? null,
      willRetryAt,
      progress: null,
    };
    return { progress: data.progress ?? state.progress, nodes: { ...state.nodes, [data.nodeId]: settled } };
  },

  executionPaused: (state, data) => ({ status: data.status }),
  executionResumed: () => ({ status: "running" }),
  executionWaiting: () => ({ status: "waiting" }),

  executionFinished: (state, data) => ({ ...ended(state, data), status: data.status }),

  executionError: (state, data) => ({
    ...ended(state, data),
    status: "error",
    error: { nodeId: data.nodeId ?? null, ...data.error },
  }),
};

function ended(state, data) {
  return { durationMs: data.durationMs, finishedAt: data.finishedAt, progress: data.progress ?? state.progress };
}

/** A node that nothing happened to yet, or the blank on which an attempt is written. */
function idleNode(status = "idle") {
  return {
    status,
    attempt: 0,
    startedAt: null,
    finishedAt: null,
    durationMs: null,
    itemCounts: null,
    error: null,
    willRetryAt: null,
    progress: null,
  };
}

function nodesFrom(nodes) {
  const entries = Array.from(nodes, (node) => (typeof node === "string" ? [node, idleNode()] : [node.id, idleNode(node.status)]));
  return Object.fromEntries(entries);
}

function progressOf(nodes) {
  const all = Object.values(nodes);
  return { done: all.filter((node) => NODE_SETTLED.has(node.status)).length, total: all.length };
}

/** The newest characters of a text. Counted in code points, as Python does: a JavaScript string counts UTF-16 units. */
function newest(text) {
  if (text.length <= PROGRESS_TEXT_LIMIT) return text;
  let start = text.length;
  for (let kept = 0; kept < PROGRESS_TEXT_LIMIT && start > 0; kept += 1) {
    start -= 1;
    if (isLowSurrogate(text, start) && isHighSurrogate(text, start - 1)) start -= 1;
  }
  return text.slice(start);
}

const isLowSurrogate = (text, index) => (text.charCodeAt(index) & 0xfc00) === 0xdc00;
const isHighSurrogate = (text, index) => (text.charCodeAt(index) & 0xfc00) === 0xd800;
