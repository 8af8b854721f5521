/** Shows by the edges of a drawing what a run did: which way it went, how many items, and where it waits. */

/**
 * What a run did with an edge.
 *
 * @param {{source: string, sourcePort: string, target: string}} edge
 * @param {Object<string, import("../fold.js").NodeState>} nodes
 * @returns {{state: string, count: ?number}} state: idle, flowing, taken, skipped or failed
 */
export function edgeState(edge, nodes) {
  const source = nodes[edge.source];
  const target = nodes[edge.target];
  if (!source || !target) return { state: "idle", count: null };
  if (source.status === "error" && !hasDelivered(source, edge.sourcePort)) return { state: "failed", count: null };
  if (source.status !== "success" && source.status !== "error" && source.status !== "skipped") return { state: "idle", count: null };
  if (!hasDelivered(source, edge.sourcePort)) return { state: "skipped", count: null };
  const count = source.itemCounts[edge.sourcePort];
  return { state: target.status === "running" ? "flowing" : "taken", count };
}

/** Paint a run's state into all edges below `root`. */
export function paintEdges(root, state) {
  for (const element of root.querySelectorAll("[data-edge]")) {
    const { source, sourcePort, target } = element.dataset;
    const painted = edgeState({ source, sourcePort, target }, state.nodes);
    element.dataset.state = painted.state;
    const label = element.querySelector("[data-edge-count]");
    const text = painted.count === null ? "" : painted.count.toLocaleString("en-US");
    if (label && label.textContent !== text) label.textContent = text;
  }
}

function hasDelivered(node, port) {
  return Object.hasOwn(node.itemCounts ?? {}, port);
}
