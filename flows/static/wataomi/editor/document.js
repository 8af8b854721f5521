/**
 * The flow as it is being edited: a graph, and the operations that change it. Pure: it knows no page and no server.
 *
 * Every change is an operation, a plain object that can be applied, and whose inverse can be worked out before:
 * what moves a node by hand, from a form or from a history of changes is the same thing.
 *
 * @typedef {{id: string, type: string, name: string, params?: object, position: [number, number], settings?: object}} Node
 * @typedef {{source: string, source_port?: string, target: string, target_port?: string}} Edge
 * @typedef {{nodes: Node[], edges: Edge[]}} Graph
 * @typedef {{type: string, id: string, [detail: string]: unknown}} Operation
 */

/**
 * How each operation changes a node. `undefined` as a value takes a parameter or a setting out again: the default counts.
 *
 * | operation | detail |
 * | --- | --- |
 * | moveNode | position |
 * | renameNode | name |
 * | setParam | name, value |
 * | setSetting | path ("timeout", "retry.backoff"), value |
 */
const CHANGES = {
  moveNode: (node, { position }) => ({ ...node, position: [...position] }),
  renameNode: (node, { name }) => ({ ...node, name }),
  setParam: (node, { name, value }) => ({ ...node, params: withEntry(node.params ?? {}, [name], value) }),
  setSetting: (node, { path, value }) => ({ ...node, settings: withEntry(node.settings ?? {}, path.split("."), value) }),
};

const INVERSES = {
  moveNode: (node, operation) => ({ ...operation, position: [...node.position] }),
  renameNode: (node, operation) => ({ ...operation, name: node.name }),
  setParam: (node, operation) => ({ ...operation, value: node.params?.[operation.name] }),
  setSetting: (node, operation) => ({ ...operation, value: entryAt(node.settings ?? {}, operation.path.split(".")) }),
};

/** The graph after an operation; what it did not touch is the same object. Raises RangeError for an unknown node. */
export function applied(graph, operation) {
  const node = nodeOf(graph, operation.id);
  const changed = CHANGES[operation.type](node, operation);
  return { ...graph, nodes: graph.nodes.map((each) => (each === node ? changed : each)) };
}

/** The operation that takes another back; to be asked for before that one is applied. */
export function inverseOf(graph, operation) {
  return INVERSES[operation.type](nodeOf(graph, operation.id), operation);
}

/** Whether two graphs would be saved as the same version; the order of keys does not count. */
export function isSameGraph(one, other) {
  return one === other || canonical(one) === canonical(other);
}

/**
 * The flow in the editor. Dispatches `change` (`detail.operation`) after each operation, and `saved` when the graph it
 * counts changes from is another.
 */
export class FlowDocument extends EventTarget {
  #saved;

  /** @param {Graph} graph @param {number} version the number of the version that it is */
  constructor(graph, version) {
    super();
    this.graph = graph;
    this.version = version;
    this.#saved = graph;
  }

  /** Whether there is something to save. */
  get isChanged() {
    return !isSameGraph(this.graph, this.#saved);
  }

  /** @param {string} id @returns {Node} */
  node(id) {
    return nodeOf(this.graph, id);
  }

  /** @param {Operation} operation @returns {Operation} the one that takes it back */
  apply(operation) {
    const inverse = inverseOf(this.graph, operation);
    this.graph = applied(this.graph, operation);
    this.dispatchEvent(new CustomEvent("change", { detail: { operation } }));
    return inverse;
  }

  /** A graph was saved as a version; what was changed since then is still unsaved. */
  markSaved(graph, version) {
    this.#saved = graph;
    this.version = version;
    this.dispatchEvent(new CustomEvent("saved"));
  }
}

function nodeOf(graph, id) {
  const node = graph.nodes.find((each) => each.id === id);
  if (!node) throw new RangeError(`The flow has no node ${JSON.stringify(id)}.`);
  return node;
}

function entryAt(object, [key, ...rest]) {
  const value = Object.hasOwn(object, key) ? object[key] : undefined;
  return rest.length === 0 || value === undefined ? value : entryAt(value, rest);
}

/** An object with one entry changed, however deep; an inner object that becomes empty goes with its last entry. */
function withEntry(object, [key, ...rest], value) {
  const inner = rest.length === 0 ? value : withEntry(object[key] ?? {}, rest, value);
  const isGone = inner === undefined || (rest.length > 0 && Object.keys(inner).length === 0);
  const { [key]: _, ...others } = object;
  return isGone ? others : { ...object, [key]: inner };
}

function canonical(value) {
  return JSON.stringify(value, (_, inner) =>
    inner !== null && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.keys(inner).sort().map((key) => [key, inner[key]]))
      : inner,
  );
}
