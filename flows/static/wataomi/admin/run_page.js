/** A run's page in the admin: follows the run, and keeps what the server rendered true while it goes on. */

import { bind, follow } from "../live.js";
import { RUN_ENDED } from "../fold.js";
import { Controls } from "./controls.js";
import { GraphScroll } from "./graph_scroll.js";
import { NodeWindow } from "./node_window.js";
import { Parts } from "./parts.js";
import { Timeline } from "./timeline.js";

/** Events after which the server knows more of the run than the events themselves say. */
const SETTLES = new Set([
  "executionStarted",
  "nodeExecutionBefore",
  "nodeExecutionAfter",
  "executionPaused",
  "executionResumed",
  "executionWaiting",
  "executionFinished",
  "executionError",
]);

class RunPage {
  #root;
  #controls;
  #window;
  #graph;
  #parts;
  #timeline;

  constructor(root) {
    this.#root = root;
    this.#parts = new Parts(root, root.dataset.partsUrl, (arrivedAt) => this.#timeline.show(arrivedAt));
    this.#timeline = new Timeline(root, () => this.#parts.refresh());
    this.#controls = new Controls(root, () => this.#parts.refresh());
    this.#window = new NodeWindow(root);
    this.#graph = new GraphScroll(root);
  }

  start(state) {
    this.#paint(state);
    this.#graph.open(state);
    this.#timeline.show(performance.getEntriesByType("navigation")[0]?.responseStart ?? 0);
    follow(state.executionId, {
      state,
      onEvent: (event) => this.#learn(event),
      onState: (newer) => this.#paint(newer),
      onConnection: (connection, detail) => this.#showConnection(connection, detail),
    });
  }

  #learn(event) {
    if (SETTLES.has(event.type)) this.#parts.refresh();
    if (event.data.nodeId && event.type !== "nodeExecutionProgress") this.#window.changed(event.data.nodeId);
    const isFailure = event.type === "nodeExecutionAfter" && event.data.status === "error";
    if (isFailure || event.type === "nodeExecutionBefore") this.#graph.reveal(event.data.nodeId);
  }

  #paint(state) {
    bind(this.#root, state);
    this.#controls.show(state.status);
    this.#showFailure(state.error);
    if (RUN_ENDED.has(state.status)) this.#timeline.stop();
  }

  #showFailure(error) {
    const find = (selector) => this.#root.querySelector(selector);
    const node = error?.nodeId && find(`tr[data-node="${CSS.escape(error.nodeId)}"] [data-open-node]`);
    find("[data-run-failure]").hidden = error === null;
    find("[data-run-failed-node]").textContent = node ? ` in “${node.textContent}”` : "";
    find("[data-run-hint]").hidden = !error?.hint;
    find("[data-run-hint]").textContent = error?.hint ?? "";
  }

  #showConnection(connection, detail) {
    const notice = this.#root.querySelector("[data-offline]");
    const isOver = connection === "ended" && !["finished", "aborted"].includes(detail.code);
    notice.hidden = connection !== "lost" && !isOver;
    notice.textContent = isOver ? detail.message : `${detail.message} Connecting again …`;
  }
}

const root = document.querySelector("[data-run-page]");
new RunPage(root).start(JSON.parse(document.getElementById("run-state").textContent));
