/** The panel beside the drawing: one node's parameters, and what went in and came out of it in the run that is shown. */

import { get } from "../api.js";
import { formatCount } from "../format.js";
import { NodeForm } from "./form.js";
import { countItems, itemsView, nothing } from "./items.js";

const TABS = ["parameters", "input", "output"];
const HAS_DATA = new Set(["success", "error", "skipped", "canceled", "waiting", "running"]);
/** How far a finger pulls the sheet, in pixels, before it means something. */
const PULL = 50;

export class Panel extends EventTarget {
  #element;
  #document;
  #types;
  #editable;
  #id = null;
  #form = null;
  #tab = "parameters";
  #state = null;
  #shownData = "";
  #loading = null;
  #problems = new Map();

  /**
   * Dispatches `opened` (`detail.id`) and `closed` (`detail.id`).
   *
   * @param {HTMLElement} element
   * @param {object} options
   * @param {import("./document.js").FlowDocument} options.document
   * @param {Object<string, object>} options.types
   * @param {boolean} options.editable
   */
  constructor(element, { document, types, editable }) {
    super();
    this.#element = element;
    this.#document = document;
    this.#types = types;
    this.#editable = editable;
    this.#listen();
  }

  get nodeId() {
    return this.#id;
  }

  /** @param {string} id @param {{focus?: boolean, tab?: string}} [options] `focus`: the panel takes the focus */
  open(id, { focus = false, tab = null } = {}) {
    if (id !== this.#id) this.#show(id);
    if (tab) this.#choose(tab);
    if (focus) this.#element.focus();
  }

  close() {
    if (this.#id === null) return;
    const id = this.#id;
    this.#loading?.abort();
    this.#id = null;
    this.#form = null;
    this.#element.hidden = true;
    this.#element.dataset.node = "";
    this.dispatchEvent(new CustomEvent("closed", { detail: { id } }));
  }

  /** The newest state of the run that is shown; null for none. Texts of the node are painted by `bind`. */
  update(state) {
    const isOther = state?.executionId !== this.#state?.executionId;
    this.#state = state;
    if (this.#id === null) return;
    if (isOther) this.#shownData = "";
    const node = this.#nodeState();
    this.#part("run").hidden = node === null;
    this.#showError(node?.error ?? null);
    this.#showData(node);
  }

  /** @param {Map<?string, import("./problems.js").ShownProblem[]>} problems by node */
  showProblems(problems) {
    this.#problems = problems;
    this.#form?.showProblems(problems.get(this.#id) ?? []);
  }

  /** Go to the first field that something is wrong with. */
  focusProblem() {
    this.#form?.focusProblem();
  }

  #show(id) {
    const node = this.#document.node(id);
    const type = this.#types[node.type] ?? null;
    this.#id = id;
    this.#shownData = "";
    this.#element.hidden = false;
    this.#element.dataset.node = id;
    this.#element.dataset.status = "idle";
    this.#element.querySelector("[data-panel-icon]").setAttribute("href", `#wo-icon-${type?.icon ?? "unknown"}`);
    this.#element.querySelector("[data-panel-type]").textContent = type?.label ?? node.type;
    this.#showName();
    this.#form = new NodeForm({ document: this.#document, id, type, editable: this.#editable });
    this.#tabPart("parameters").replaceChildren(this.#form.element);
    this.#form.showProblems(this.#problems.get(id) ?? []);
    this.#element.querySelector(".panel-body").scrollTop = 0;
    this.update(this.#state);
    this.dispatchEvent(new CustomEvent("opened", { detail: { id } }));
  }

  #showName() {
    const { name } = this.#document.node(this.#id);
    this.#element.querySelector("[data-panel-name]").textContent = name;
    this.#element.setAttribute("aria-label", `Node ${name}`);
  }

  #nodeState() {
    const nodes = this.#state?.nodes ?? {};
    return Object.hasOwn(nodes, this.#id) ? nodes[this.#id] : null;
  }

  #showError(error) {
    const element = this.#part("error");
    const text = error ? JSON.stringify(error) : "";
    if (element.dataset.shown === text) return;
    element.dataset.shown = text;
    element.hidden = error === null;
    element.replaceChildren(...(error ? errorLines(error) : []));
  }

  /** Ask for the node's input and output when they may have changed since they were shown. */
  #showData(node) {
    const hasData = node !== null && HAS_DATA.has(node.status);
    const wanted = hasData ? [this.#state.executionId, this.#id, node.status, node.attempt, node.finishedAt].join() : "none";
    if (wanted === this.#shownData) return;
    this.#shownData = wanted;
    this.#loading?.abort();
    if (hasData) this.#load(node.status);
    else this.#paintData(null, node);
  }

  async #load(status) {
    const loading = new AbortController();
    this.#loading = loading;
    try {
      const path = `executions/${this.#state.executionId}/nodes/${encodeURIComponent(this.#id)}`;
      const data = await get(path, { signal: loading.signal });
      this.#paintData(data, { status });
    } catch (problem) {
      if (loading.signal.aborted) return;
      this.#shownData = "";
      for (const tab of ["input", "output"]) this.#tabPart(tab).replaceChildren(nothing(`${problem.message} ${problem.hint ?? ""}`));
    }
  }

  #paintData(data, node) {
    this.#showLink(data?.resume_url ?? null);
    const status = node?.status ?? null;
    this.#fill("input", data?.input ?? null, emptyText("input", status));
    this.#fill("output", data?.output ?? null, emptyText("output", status));
  }

  /** Where a node that waits for it is resumed: to be sent to whoever shall decide. */
  #showLink(address) {
    const link = this.#part("resume");
    link.hidden = address === null;
    if (address === null) link.removeAttribute("href");
    else link.href = address;
  }

  #fill(tab, ports, empty) {
    const count = countItems(ports);
    const label = this.#element.querySelector(`[data-tab="${tab}"] [data-tab-count]`);
    label.textContent = count === null ? "" : count.toLocaleString("en-US");
    label.title = count === null ? "" : formatCount(count, "item");
    const type = this.#types[this.#document.node(this.#id).type];
    const children = [itemsView(ports, { empty, order: type?.[`${tab}s`] })];
    if (tab === "output") children.unshift(streamText());
    this.#tabPart(tab).replaceChildren(...children);
  }

  #choose(name, { focus = false } = {}) {
    this.#tab = name;
    for (const tab of this.#element.querySelectorAll("[data-tab]")) {
      const isChosen = tab.dataset.tab === name;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      if (isChosen && focus) tab.focus();
    }
    for (const each of TABS) this.#tabPart(each).hidden = each !== name;
  }

  #part(name) {
    return this.#element.querySelector(`[data-panel-${name}]`);
  }

  #tabPart(name) {
    return this.#element.querySelector(`[data-part="${name}"]`);
  }

  #listen() {
    this.#element.querySelector("[data-panel-close]").addEventListener("click", () => this.close());
    for (const tab of this.#element.querySelectorAll("[data-tab]")) tab.addEventListener("click", () => this.#choose(tab.dataset.tab));
    this.#element.querySelector("[role=tablist]").addEventListener("keydown", (event) => this.#pressTab(event));
    this.#element.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.defaultPrevented) this.close();
    });
    this.#document.addEventListener("change", ({ detail }) => {
      if (detail.operation.id === this.#id && detail.operation.type === "renameNode") this.#showName();
    });
    this.#listenToGrip(this.#part("grip"));
  }

  #pressTab(event) {
    const at = TABS.indexOf(this.#tab);
    const moves = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: TABS.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.#choose(TABS.at(moves[event.key] % TABS.length), { focus: true });
  }

  /** The sheet of a narrow page: pulled up it is tall, pulled down it closes, a tap changes between. */
  #listenToGrip(grip) {
    let startY = null;
    let wasPulled = false;
    grip.addEventListener("pointerdown", (event) => {
      startY = event.clientY;
      wasPulled = false;
      grip.setPointerCapture(event.pointerId);
    });
    grip.addEventListener("pointerup", (event) => {
      const pulled = event.clientY - (startY ?? event.clientY);
      wasPulled = Math.abs(pulled) > PULL;
      if (pulled < -PULL) this.#element.setAttribute("data-tall", "");
      else if (pulled > PULL && this.#element.hasAttribute("data-tall")) this.#element.removeAttribute("data-tall");
      else if (pulled > PULL) this.close();
    });
    grip.addEventListener("click", () => {
      if (!wasPulled) this.#element.toggleAttribute("data-tall");
      wasPulled = false;
    });
  }
}

function errorLines({ type, message, hint }) {
  const heading = document.createElement("strong");
  heading.textContent = message;
  const lines = [heading];
  if (hint) lines.push(Object.assign(document.createElement("p"), { textContent: hint }));
  if (type) lines.push(Object.assign(document.createElement("p"), { className: "error-type", textContent: type }));
  return lines;
}

/** What the node streams while it runs; `bind` fills it. */
function streamText() {
  const element = document.createElement("pre");
  element.className = "stream-text";
  element.dataset.nodeText = "";
  return element;
}

function emptyText(part, status) {
  if (status === null) return `Run the flow to see this node's ${part}.`;
  if (status === "idle" || status === "queued") return "This node has not started yet.";
  if (status === "running") return part === "input" ? "The input is shown when the node is done." : "The node is at work…";
  if (status === "waiting") return part === "input" ? "This node was given no input." : "This node waits.";
  if (status === "skipped") return "This node was skipped: nothing came to it.";
  return part === "input" ? "This node was given no input." : "This node delivered nothing.";
}
