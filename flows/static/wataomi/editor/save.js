/** Saving: the graph as a new version of the flow, refused when another was saved since, and never lost. */

import { patch } from "../api.js";
import { formatCount } from "../format.js";
import { byNode, shownProblems } from "./problems.js";

export class Saver extends EventTarget {
  #page;
  #flow;
  #document;
  #messages;
  #button;
  #saving = null;
  #isSending = false;
  #isLeaving = false;

  /**
   * Dispatches `problems` (`detail.problems`, a map by node id) when the server refuses the graph, and, empty, when it
   * takes it.
   *
   * @param {Document} page
   * @param {object} options
   * @param {{id: number}} options.flow
   * @param {import("./document.js").FlowDocument} options.document
   * @param {import("./messages.js").Messages} options.messages
   */
  constructor(page, { flow, document, messages }) {
    super();
    this.#page = page;
    this.#flow = flow;
    this.#document = document;
    this.#messages = messages;
    this.#button = page.querySelector("[data-save]");
    this.#button?.addEventListener("click", () => this.save());
    document.addEventListener("change", () => this.#show());
    document.addEventListener("saved", () => this.#show());
    page.defaultView.addEventListener("beforeunload", (event) => {
      if (document.isChanged && !this.#isLeaving) event.preventDefault();
    });
    this.#show();
  }

  /** Save what is not saved. Returns whether everything is saved now. */
  save() {
    if (!this.#button || !this.#document.isChanged) return Promise.resolve(!this.#document.isChanged);
    this.#saving ??= this.#save(this.#document.version).finally(() => {
      this.#saving = null;
      this.#show();
    });
    return this.#saving;
  }

  async #save(base) {
    const { graph } = this.#document;
    this.#messages.clear();
    try {
      const { version } = await this.#send(graph, base);
      this.#document.markSaved(graph, version);
      this.#page.querySelector("[data-version]").textContent = `v${version}`;
      this.#tell(new Map());
      this.#messages.announce(`Saved as version ${version}.`);
      return !this.#document.isChanged;
    } catch (problem) {
      if (problem.code === "stale_base") return this.#stale(problem.body.current);
      if (problem.problems?.length > 0) this.#refused(problem.problems, graph);
      else this.#messages.failure(problem);
      return false;
    }
  }

  async #send(graph, base) {
    this.#isSending = true;
    this.#show();
    try {
      return await patch(`flows/${this.#flow.id}`, { graph, base });
    } finally {
      this.#isSending = false;
      this.#show();
    }
  }

  #refused(problems, graph) {
    const errors = shownProblems(problems, graph).filter(({ severity }) => severity === "error");
    const general = errors.filter(({ node }) => node === null).map(({ message }) => message);
    const text = general.length > 0 ? general.join(" ") : `${formatCount(errors.length, "thing")} to put right, marked in the flow.`;
    this.#messages.toast(`Not saved. ${text}`, { status: "error" });
    this.#tell(byNode(errors));
  }

  #tell(problems) {
    this.dispatchEvent(new CustomEvent("problems", { detail: { problems } }));
  }

  /** Another version was saved since: the author decides, and until then nothing changes on either side. */
  async #stale(current) {
    const dialog = this.#page.querySelector('[data-dialog="stale"]');
    const { version } = this.#document;
    dialog.querySelector("[data-stale-text]").textContent = `You have edited version ${version}. Meanwhile version ${current} was saved.`;
    const choice = await answer(dialog);
    if (choice === "overwrite") return this.#save(current);
    if (choice === "reload") {
      this.#isLeaving = true;
      this.#page.defaultView.location.reload();
    }
    return false;
  }

  #show() {
    if (!this.#button) return;
    const { isChanged } = this.#document;
    const state = this.#page.querySelector("[data-save-state]");
    this.#button.disabled = !isChanged || this.#isSending;
    this.#button.classList.toggle("primary", isChanged);
    state.dataset.kind = isChanged ? "dirty" : "saved";
    state.textContent = this.#isSending ? "Saving…" : isChanged ? "Unsaved changes" : "";
    const run = this.#page.querySelector("[data-run-label]");
    if (run) run.textContent = isChanged ? "Save and run" : "Run";
  }
}

function answer(dialog) {
  dialog.returnValue = "keep";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}
