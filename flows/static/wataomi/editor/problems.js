/** What is wrong with a graph, as the API says it, by the node and the field that it is shown at. Pure. */

/**
 * @typedef {{node: ?string, param: ?string, setting: ?string, message: string, severity: string}} ShownProblem
 *   `param` or `setting` names the field; neither, and it is of the node as a whole; without a node, of the flow
 */

/**
 * @param {Array<{node: ?string, code: string, message: string, severity: string, field: ?string}>} problems
 * @param {import("./document.js").Graph} graph the one that was refused
 * @returns {ShownProblem[]}
 */
export function shownProblems(problems, graph) {
  return problems.map((problem) => (problem.code === "shape" ? shapeProblem(problem, graph) : fieldProblem(problem)));
}

/** Problems by node id; those of the flow as a whole under null. */
export function byNode(problems) {
  return Map.groupBy ? Map.groupBy(problems, (problem) => problem.node) : grouped(problems);
}

function fieldProblem({ node, code, message, severity, field }) {
  const base = { node, message, severity, param: null, setting: null };
  if (!field) return base;
  const short = message.includes(`${field}: `) ? message.slice(message.indexOf(`${field}: `) + field.length + 2) : message;
  if (code === "bad_params") return { ...base, param: field, message: short };
  return { ...base, setting: field, message: short };
}

/** `nodes[2].settings.timeout` names a node by its place. */
function shapeProblem({ message, severity, field }, graph) {
  const [, index, inner = ""] = /^nodes\[(\d+)\]\.?(.*)$/.exec(field ?? "") ?? [];
  const node = index === undefined ? null : (graph.nodes[Number(index)]?.id ?? null);
  const short = message.includes(": ") ? message.slice(message.indexOf(": ") + 2) : message;
  const [, param = null] = /^params\.([^.[]+)/.exec(inner) ?? [];
  const setting = inner.startsWith("settings.") ? inner.slice("settings.".length) : inner === "name" ? "name" : null;
  return { node, param, setting, severity, message: param || setting ? capital(short) : message };
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function grouped(problems) {
  const groups = new Map();
  for (const problem of problems) groups.set(problem.node, [...(groups.get(problem.node) ?? []), problem]);
  return groups;
}
