/** Shows the items of a node's input or output: as a table or as JSON, by port, with as much as a page can bear. */

import { formatCount } from "../format.js";
import { icon } from "./messages.js";

const SHOWN_AT_ONCE = 50;
const MOST_COLUMNS = 40;
const LONG_TEXT = 2_000;

/** How items are shown; kept from one node to the next. */
let view = "table";

/**
 * @param {?Object<string, object[]>} ports items by port; null for none
 * @param {object} options
 * @param {string} options.empty what to say when there are none
 * @param {string[]} [options.order] the ports in the order of the node's type
 * @returns {HTMLElement}
 */
export function itemsView(ports, { empty, order = [] }) {
  const element = document.createElement("div");
  const known = order.filter((name) => Object.hasOwn(ports ?? {}, name));
  const names = [...new Set([...known, ...Object.keys(ports ?? {})])];
  if (names.length === 0) {
    element.append(nothing(empty));
    return element;
  }
  let port = names.find((name) => ports[name].length > 0) ?? names[0];
  const paint = () => {
    const items = ports[port];
    const head = document.createElement("div");
    head.className = "items-head";
    const choose = (name) => {
      port = name;
      paint();
    };
    if (names.length > 1) head.append(segments("Port", names, port, choose));
    head.append(count(items), segments("View", ["table", "json"], view, (name) => ((view = name), paint())), copyButton(items));
    element.replaceChildren(head, items.length === 0 ? nothing("No items at this port.") : body(items));
  };
  paint();
  return element;
}

/** How many items there are at all ports; null for no ports. */
export function countItems(ports) {
  return ports ? Object.values(ports).reduce((sum, items) => sum + items.length, 0) : null;
}

function body(items) {
  const element = document.createElement("div");
  const shown = { count: SHOWN_AT_ONCE };
  const paint = () => {
    const part = items.slice(0, shown.count);
    element.replaceChildren(view === "table" ? table(part) : jsonList(part));
    if (items.length > shown.count) element.append(moreButton(items.length - shown.count, () => ((shown.count *= 4), paint())));
  };
  paint();
  return element;
}

function table(items) {
  const columns = columnsOf(items);
  const wrapper = document.createElement("div");
  wrapper.className = "items-table";
  wrapper.tabIndex = 0;
  wrapper.setAttribute("role", "region");
  wrapper.setAttribute("aria-label", "Items");
  const head = row(columns.map((name) => cell("th", name)));
  const lines = items.map((item) => row(columns.map((name) => valueCell(item, name))));
  const element = document.createElement("table");
  const [top, rest] = [document.createElement("thead"), document.createElement("tbody")];
  top.append(head);
  rest.append(...lines);
  element.append(top, rest);
  wrapper.append(element);
  return columns.length > 0 ? wrapper : jsonList(items);
}

function columnsOf(items) {
  const names = new Set();
  for (const item of items) for (const name of Object.keys(item)) if (names.size < MOST_COLUMNS) names.add(name);
  return [...names];
}

function valueCell(item, name) {
  const value = Object.hasOwn(item, name) ? item[name] : undefined;
  const text = value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);
  const element = cell("td", text.slice(0, LONG_TEXT));
  element.dataset.kind = value === undefined || value === null ? "nothing" : typeof value;
  if (text.length > 24) element.title = text.slice(0, LONG_TEXT);
  return element;
}

function row(cells) {
  const element = document.createElement("tr");
  element.append(...cells);
  return element;
}

function cell(tag, text) {
  const element = document.createElement(tag);
  if (tag === "th") element.scope = "col";
  element.textContent = text;
  return element;
}

function jsonList(items) {
  const element = document.createElement("div");
  element.className = "json";
  element.append(...items.map((item, index) => jsonEntry(String(index), item, items.length <= 10)));
  return element;
}

/** One key and its value; what is inside of it is made when it is opened. */
function jsonEntry(key, value, isOpen = false) {
  if (value === null || typeof value !== "object" || Object.keys(value).length === 0) return leaf(key, value);
  const entries = Object.entries(value);
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  const brackets = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;
  summary.append(span("json-key", key), ` ${brackets}`);
  details.append(summary);
  let isFilled = false;
  const fill = () => {
    if (isFilled) return;
    isFilled = true;
    details.append(...entries.slice(0, 500).map(([name, inner]) => jsonEntry(name, inner)));
    if (entries.length > 500) details.append(nothing(`and ${formatCount(entries.length - 500, "more entry", "more entries")}`));
  };
  details.addEventListener("toggle", () => details.open && fill());
  if (isOpen) {
    fill();
    details.open = true;
  }
  return details;
}

function leaf(key, value) {
  const element = document.createElement("div");
  const kind = typeof value === "string" ? "json-text" : typeof value === "number" ? "json-number" : "json-word";
  const text = JSON.stringify(value);
  element.append(span("json-key", key), ": ", span(kind, text.length > LONG_TEXT ? `${text.slice(0, LONG_TEXT)}…` : text));
  return element;
}

function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

function count(items) {
  return Object.assign(span("items-count", formatCount(items.length, "item")));
}

function segments(label, names, chosen, choose) {
  const group = document.createElement("div");
  group.className = "segments";
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", label);
  for (const name of names) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "segment", textContent: name === "json" ? "JSON" : name === "table" ? "Table" : name });
    button.setAttribute("aria-pressed", String(name === chosen));
    button.addEventListener("click", () => choose(name));
    group.append(button);
  }
  return group;
}

function copyButton(items) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "icon-button", title: "Copy as JSON" });
  button.setAttribute("aria-label", "Copy as JSON");
  button.append(icon("copy"));
  button.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(JSON.stringify(items, null, 2));
    button.replaceChildren(icon("check"));
    setTimeout(() => button.replaceChildren(icon("copy")), 1_500);
  });
  return button;
}

function moreButton(rest, show) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "button small", textContent: `Show more (${rest.toLocaleString("en-US")})` });
  button.addEventListener("click", show);
  return button;
}

export function nothing(text) {
  const element = document.createElement("p");
  element.className = "items-none";
  element.textContent = text;
  return element;
}
