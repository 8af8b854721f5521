/**
 * How a run's state follows from its events: the page's half of the law `fold(snapshot, events after it) == the state`.
 *
 * The server folds with the same rules; `tests/vectors/fold.json` holds both to them. Pure: a state is never changed,
 * and whatever an event did not touch is the same object in the new state, so that `===` tells what changed.
 *
 * @typedef {{seq: number, type: string, data: object}} RunEvent
 * @typedef {{status: string, attempt: number, startedAt: ?string, finishedAt: ?string, durationMs: ?number,
 *            itemCounts: ?object, error: ?object, willRetryAt: ?string, waitUntil: ?string,
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
 * @param {Iterable<string|{id: string}>} nodes the flow's nodes: their ids, or objects with an `id`
 * @param {string} executionId
 * @returns {RunState}
 */
export function emptyState(nodes = [], executionId = "") {
  const byId = Object.fromEntries(Array.from(nodes, (node) => [node.id ?? node, idleNode()]));
  return {
    executionId,
    seq: 0,
    status: "queued",
    startedAt: null,
    finishedAt: null,
    durationMs: null,
    error: null,
    progress: { done: 0, total: Object.keys(byId).length },
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
  const change = CHANGES[event.type]?.(state, event.data);
  return { ...state, ...change, executionId: event.data.executionId ?? state.executionId, seq: event.seq };
}

const CHANGES = {
  executionStarted(state, data) {
    // A node reused from the run that this one retries is settled already, and the state may know what it did.
    const known = (id) => state.nodes[id] ?? idleNode();
    const nodes = Object.fromEntries(data.nodes.map(({ id, status }) => [id, { ...known(id), status }]));
    const done = data.nodes.filter(({ status }) => status !== "idle").length;
    return { status: "running", startedAt: data.startedAt, progress: { done, total: data.nodes.length }, nodes };
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
      waitUntil: null,
      progress: null,
    };
    return { progress: data.progress ?? state.progress, nodes: { ...state.nodes, [data.nodeId]: settled } };
  },

  executionPaused: (state, data) => ({ status: data.status }),
  executionResumed: (state, data) => ({
    status: data.status ?? "running", // runs of earlier versions say nothing else
    ...waiter(state, data.nodeId, { status: "queued", waitUntil: null }),
  }),

  executionWaiting: (state, data) => ({
    status: data.status,
    ...waiter(state, data.nodeId, { status: "waiting", waitUntil: data.until, progress: null }),
  }),

  executionFinished: (state, data) => ({ ...ended(state, data), status: data.status }),

  executionError: (state, data) => ({
    ...ended(state, data),
    status: "error",
    error: { nodeId: data.nodeId ?? null, ...data.error },
  }),
};

/** A node waits, or waits no longer: the attempt goes on. Nothing, when the event is about no node. */
function waiter(state, nodeId, change) {
  if (nodeId == null) return {};
  return { nodes: { ...state.nodes, [nodeId]: { ...(state.nodes[nodeId] ?? idleNode()), ...change } } };
}

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
    waitUntil: null,
    progress: null,
  };
}

/** The newest characters of a text, counted as Python counts them: in code points, not in UTF-16 units. */
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
