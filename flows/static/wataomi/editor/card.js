/** The text on a node's card, as `flows/layout.py` writes it, so that a change shows at once. */

const TEXT_WIDTH = 128;
/** What the sign of a note takes from the room of the name. */
const NOTE_WIDTH = 16;

/**
 * One line of what a node does: its key parameter (a number with the field's label before it), or the type's label. Pure.
 *
 * @param {import("./document.js").Node} node
 * @param {?{label: string, summary: string, fields: Array<{name: string, label: string}>}} type null for one not installed
 */
export function summaryOf(node, type) {
  if (!type) return `Unknown type “${node.type}”`;
  const value = type.summary ? node.params?.[type.summary] : undefined;
  if (value === undefined || value === null || value === "" || typeof value === "object") return type.label;
  if (typeof value === "string") return value.trim().split(/\s+/).join(" ");
  const label = type.fields.find((field) => field.name === type.summary)?.label || type.summary;
  return `${label}: ${value}`;
}

/** Write a node's name, key parameter and state of being disabled on its card. */
export function writeCard(card, node, type) {
  const summary = summaryOf(node, type);
  const summaryElement = card.querySelector("[data-node-summary]");
  summaryElement.toggleAttribute("data-expression", summary.startsWith("="));
  writeFitting(card.querySelector("[data-node-name]"), node.name, TEXT_WIDTH - (node.settings?.notes ? NOTE_WIDTH : 0));
  writeFitting(summaryElement, summary, TEXT_WIDTH);
  card.toggleAttribute("data-notes", Boolean(node.settings?.notes));
  card.querySelector("[data-node-title]").textContent = [`${node.name} · ${summary}`, node.settings?.notes ?? ""].join("\n").trim();
  card.toggleAttribute("data-disabled", node.settings?.disabled === true);
}

/** Text in an SVG text element, cut with an ellipsis where it is wider than the card. */
function writeFitting(element, text, width) {
  element.textContent = text;
  if (element.getComputedTextLength() <= width) return;
  let [fits, tooLong] = [0, text.length];
  while (tooLong - fits > 1) {
    const middle = Math.floor((fits + tooLong) / 2);
    element.textContent = `${text.slice(0, middle).trimEnd()}…`;
    if (element.getComputedTextLength() <= width) fits = middle;
    else tooLong = middle;
  }
  element.textContent = `${text.slice(0, fits).trimEnd()}…`;
}
