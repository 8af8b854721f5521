/** The edit page: reads what the server rendered, makes its parts, and tells each what the others do. */

import { bind } from "../live.js";
import { Canvas, ZOOM_STEP } from "./canvas.js";
import { FlowDocument } from "./document.js";
import { Messages } from "./messages.js";
import { Panel } from "./panel.js";
import { RunControl } from "./run.js";
import { Saver } from "./save.js";
import { RunWatch } from "./watch.js";

const NARROW = matchMedia("(width <= 760px)");

const { flow, version, graph, types, editable } = JSON.parse(document.getElementById("editor-data").textContent);
const flowDocument = new FlowDocument(graph, version);
const messages = new Messages(document);
const panelElement = document.querySelector("[data-panel]");
const stage = document.querySelector(".stage");
const canvas = new Canvas(document.querySelector("[data-graph]"), { document: flowDocument, types, editable, covered });
const panel = new Panel(panelElement, { document: flowDocument, types, editable });
const saver = new Saver(document, { flow, document: flowDocument, messages });
const run = new RunControl(document, { flow, document: flowDocument, messages, beforeRun: () => saver.save() });
const watch = new RunWatch({ flowId: flow.id, look: () => run.showNewest() });

/** How much of the drawing the dock and, on a narrow page, the panel lie over, when they have come to rest. */
function covered() {
  const dock = document.querySelector(".dock");
  if (!NARROW.matches) return { right: 0, bottom: stage.clientHeight - dock.offsetTop };
  return { right: 0, bottom: panelElement.hidden ? 0 : panelElement.offsetHeight - dock.offsetHeight };
}

canvas.addEventListener("open", ({ detail }) => {
  const isByKeyboard = document.activeElement?.matches(".node:focus-visible") ?? false;
  panel.open(detail.id, { focus: isByKeyboard });
});

canvas.addEventListener("moved", ({ detail }) => {
  const { name, position } = flowDocument.node(detail.id);
  messages.announce(`${name} moved to ${position.join(", ")}.`);
});

panel.addEventListener("opened", ({ detail }) => {
  canvas.select(detail.id);
  if (run.state) bind(document, run.state);
  // The panel takes its room from the drawing: what was opened must not be pushed out of sight.
  requestAnimationFrame(() => canvas.showNode(detail.id));
});

panel.addEventListener("closed", ({ detail }) => {
  canvas.select(null);
  canvas.focus(detail.id);
});

run.addEventListener("started", () => {
  canvas.followRun();
  watch.announce();
});

run.addEventListener("state", () => {
  panel.update(run.state);
  canvas.keepInSight(busyNodes(run.state));
});

/** The nodes that run now; of a run that has ended well, the one that ended last. */
function busyNodes({ status, nodes }) {
  const entries = Object.entries(nodes);
  if (status !== "success") return entries.filter(([, node]) => node.status === "running").map(([id]) => id);
  const finished = entries.filter(([, node]) => node.finishedAt !== null && node.status !== "skipped");
  return finished.sort(([, one], [, other]) => other.finishedAt.localeCompare(one.finishedAt)).slice(0, 1).map(([id]) => id);
}

run.addEventListener("failed", ({ detail }) => {
  canvas.showNode(detail.nodeId, { flash: true });
  if (detail.open) panel.open(detail.nodeId, { focus: true, tab: "output" });
});

saver.addEventListener("problems", ({ detail }) => {
  const ids = new Set([...detail.problems.keys()].filter((id) => id !== null));
  canvas.markProblems(ids);
  panel.showProblems(detail.problems);
  const [first] = ids;
  if (first === undefined) return;
  panel.open(ids.has(panel.nodeId) ? panel.nodeId : first, { tab: "parameters" });
  panel.focusProblem();
});

const zooms = {
  in: () => canvas.zoomBy(ZOOM_STEP),
  out: () => canvas.zoomBy(1 / ZOOM_STEP),
  fit: () => canvas.showAll(),
};
for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", zooms[button.dataset.zoom]);

for (const button of document.querySelectorAll("[data-open-dialog]")) {
  button.addEventListener("click", () => dialogNamed(button.dataset.openDialog).showModal());
}

function dialogNamed(name) {
  return document.querySelector(`[data-dialog="${name}"]`);
}

const inputText = document.querySelector("[data-input-text]");
const inputError = document.querySelector("[data-input-error]");

document.querySelector("[data-input-form]")?.addEventListener("submit", (event) => {
  const problem = readInput();
  inputError.textContent = problem;
  inputError.hidden = problem === "";
  inputText.closest(".field").toggleAttribute("data-invalid", problem !== "");
  if (problem !== "") event.preventDefault();
  else if (event.submitter?.value === "run") run.perform("run");
});

/** Take the input that was typed; returns what is wrong with it, or "". */
function readInput() {
  try {
    const value = JSON.parse(inputText.value.trim() === "" ? "{}" : inputText.value);
    if (value === null || typeof value !== "object" || Array.isArray(value)) return "Enter a JSON object, such as {\"name\": \"Ada\"}.";
    run.input = value;
    return "";
  } catch (problem) {
    return `This is not JSON: ${problem.message}.`;
  }
}

const keys = {
  "+": zooms.in,
  "=": zooms.in,
  "-": zooms.out,
  0: zooms.fit,
  1: () => canvas.zoomTo(1),
  "?": () => dialogNamed("keys").showModal(),
  Escape: () => panel.close(),
};

document.addEventListener("keydown", (event) => {
  const isCommand = event.ctrlKey || event.metaKey;
  if (isCommand && event.key === "Enter") run.perform("run");
  else if (isCommand && event.key.toLowerCase() === "s") saver.save();
  else if (isCommand || event.altKey || isTyping(event.target) || !Object.hasOwn(keys, event.key)) return;
  else if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
  else keys[event.key]();
  event.preventDefault();
});

const isTyping = (element) => element.closest?.("input, textarea, select, [contenteditable]") !== null;

NARROW.addEventListener("change", () => canvas.showStart());
stage.dataset.ready = "";
run.showNewest().catch((problem) => messages.failure(problem));
watch.start();
