/** The run that the page shows: starts it, follows it live, paints it, and offers what its status admits. */

import { get, post } from "../api.js";
import { formatDuration } from "../format.js";
import { bind, emptyState, follow } from "../live.js";
import { RUN_ENDED } from "../fold.js";
import { ConnectionBanner } from "./messages.js";

/** What can be asked of a run, by its status; the server has the last word. */
const ADMITTED = {
  queued: ["pause", "cancel"],
  running: ["pause", "cancel"],
  pausing: ["resume", "cancel"],
  paused: ["resume", "cancel"],
  waiting: ["pause", "cancel"],
  success: ["run"],
  error: ["retry", "run"],
  canceled: ["retry", "run"],
};
const NOT_RUN = ["run"];
/** Milliseconds in which a button that came by itself is not pressed: the click was on its way to another one. */
const UNEXPECTED = 400;
const STATUS_TEXTS = { null: "not run yet" };

export class RunControl extends EventTarget {
  #page;
  #flow;
  #document;
  #messages;
  #banner;
  #following = null;
  #blank = {};
  #offeredBefore = { until: -Infinity, actions: [] };
  #shownStatus = null;
  #isWatched = false;
  #isBusy = false;
  #pressed = null;
  #beforeRun;

  /** @type {?import("../fold.js").RunState} */
  state = null;
  /** The input that the next run gets. */
  input = {};

  /**
   * Dispatches `started` when a run begins, `state` after each painted state, and `failed` (`detail.nodeId`) when a run that was watched ended in error.
   *
   * @param {Document} page
   * @param {object} options
   * @param {{id: number, name: string}} options.flow
   * @param {import("./document.js").FlowDocument} options.document
   * @param {import("./messages.js").Messages} options.messages
   * @param {() => Promise<boolean>} options.beforeRun whether the run may start; saves what is not saved
   */
  constructor(page, { flow, document, messages, beforeRun }) {
    super();
    this.#page = page;
    this.#flow = flow;
    this.#document = document;
    this.#messages = messages;
    this.#beforeRun = beforeRun;
    this.#banner = new ConnectionBanner(page);
    this.#banner.retry = () => this.#following?.retryNow();
    for (const button of page.querySelectorAll("[data-action]")) this.#listen(button);
    this.#offer(NOT_RUN);
  }

  /**
   * Show the flow's newest run when it is newer than the one that is shown, and go on with it live when it is under way.
   * A run that is followed, or being started, is left alone. Raises ApiError.
   */
  async showNewest() {
    if (!this.#isFree()) return;
    const shown = this.state;
    const { results } = await get(`flows/${this.#flow.id}/executions?page_size=1`);
    if (results.length === 0 || !isNewer(results[0].id, shown?.executionId)) return;
    const execution = await get(`executions/${results[0].id}`);
    if (!this.#isFree() || this.state?.executionId !== shown?.executionId) return;
    this.#offeredBefore = { until: performance.now() + UNEXPECTED, actions: this.#admitted() };
    this.#show(execution.state, execution);
    if (shown !== null) this.#messages.announce("A run that was started elsewhere is shown.");
  }

  /** Whether another run may take the place of the one that is shown. */
  #isFree() {
    return !this.#isBusy && this.#following === null;
  }

  /** @param {"run"|"pause"|"resume"|"cancel"|"retry"} action */
  async perform(action) {
    if (this.#isBusy || !this.#admitted().includes(action)) return;
    this.#setBusy(true);
    try {
      if (action === "run") await this.#run();
      else if (action === "retry") await this.#retry();
      else await post(`executions/${this.state.executionId}/${action}`);
    } catch (problem) {
      this.#messages.failure(problem);
    } finally {
      this.#setBusy(false);
    }
  }

  /** The second click of a double click is not meant for the button that has taken the first one's place, nor is a held key. */
  #listen(button) {
    const { action } = button.dataset;
    button.addEventListener("keydown", (event) => event.repeat && event.preventDefault());
    button.addEventListener("click", (event) => {
      if (event.detail > 1 && this.#pressed !== action) return;
      if (performance.now() < this.#offeredBefore.until && !this.#offeredBefore.actions.includes(action)) return;
      this.#pressed = action;
      this.perform(action);
    });
  }

  async #run() {
    if (!(await this.#beforeRun())) return;
    this.#follow(await post("executions", { flow_id: this.#flow.id, input_data: this.input }));
  }

  /** From where it failed, on the newest version: what was repaired since is used, what is still good is not done again. */
  async #retry() {
    if (!(await this.#beforeRun())) return;
    this.#follow(await post(`executions/${this.state.executionId}/retry`, { from: "failed", version: "newest" }));
  }

  /** A run that has just been started: every node goes idle, and the stream tells the rest. */
  #follow(execution) {
    this.#messages.clear();
    this.#isWatched = true;
    this.dispatchEvent(new CustomEvent("started"));
    this.#show(emptyState(this.#nodeIds(), execution.id), execution);
    this.#messages.announce("The flow is running.");
  }

  #show(state, execution) {
    this.#following?.close();
    this.#following = null;
    this.#shownStatus = null;
    this.#blank = emptyState(this.#nodeIds()).nodes;
    this.#link(execution.id);
    this.#paint(state);
    if (RUN_ENDED.has(state.status)) return;
    this.#isWatched = true;
    const isShown = () => this.state.executionId === execution.id;
    this.#following = follow(execution.id, {
      state,
      onState: (newest) => isShown() && this.#paint(newest),
      onConnection: (connection, detail) => isShown() && this.#connection(connection, detail),
    });
  }

  #connection(connection, detail) {
    this.#banner.show(connection, detail);
    if (connection === "ended") this.#following = null;
    const isGivenUp = connection === "ended" && !["finished", "aborted"].includes(detail.code);
    if (isGivenUp) this.#messages.toast(detail.message, { status: "error" });
    // A stream that ended without its last event: whoever has the truth is asked.
    if (connection === "ended" && detail.code === "finished" && !RUN_ENDED.has(this.state.status)) this.#reload();
  }

  async #reload() {
    const { state } = await get(`executions/${this.state.executionId}`).catch(() => ({}));
    if (state && state.executionId === this.state.executionId) this.#paint(state);
  }

  #paint(state) {
    const status = this.#shownStatus;
    // Nodes that the run's version does not have are idle, whatever the run before did with them.
    this.state = { ...state, nodes: { ...this.#blank, ...state.nodes } };
    bind(this.#page, this.state);
    if (state.status !== status) this.#statusChanged(state, status !== null);
    this.dispatchEvent(new CustomEvent("state"));
  }

  #statusChanged(state, wasShown) {
    this.#shownStatus = state.status;
    this.#offer(this.#admitted());
    this.#page.title = titleFor(state.status, this.#flow.name);
    if (!wasShown) return;
    if (RUN_ENDED.has(state.status)) this.#ended(state);
    else if (state.status !== "running" || this.#isWatched) this.#messages.announce(`The run is ${state.status}.`);
  }

  #ended(state) {
    this.#banner.hide();
    if (!this.#isWatched) return;
    if (state.status === "error") this.#failed(state.error);
    else if (state.status === "canceled") this.#messages.toast("The run was canceled.", { status: "canceled" });
    else this.#messages.toast("Workflow executed successfully!", { status: "success" });
    if (state.durationMs !== null) this.#messages.announce(`The run ended: ${state.status}, after ${formatDuration(state.durationMs)}.`);
  }

  #failed(error) {
    const nodeId = error?.nodeId ?? null;
    const node = this.#document.graph.nodes.find(({ id }) => id === nodeId);
    const text = [node ? `“${node.name}” failed:` : "The run failed:", error?.message, error?.hint].filter(Boolean).join(" ");
    const tell = (open) => this.dispatchEvent(new CustomEvent("failed", { detail: { nodeId, open } }));
    this.#messages.toast(text, { status: "error", action: node ? { label: "Open node", run: () => tell(true) } : null });
    if (node) tell(false);
  }

  #nodeIds() {
    return this.#document.graph.nodes.map((node) => node.id);
  }

  #admitted() {
    const actions = this.state === null ? NOT_RUN : (ADMITTED[this.state.status] ?? NOT_RUN);
    // Who may not do something has no button for it, and no key either.
    return actions.filter((action) => this.#page.querySelector(`[data-action="${action}"]`) !== null);
  }

  #offer(actions) {
    const hadFocus = this.#page.activeElement?.matches("[data-action]");
    const buttons = [...this.#page.querySelectorAll("[data-action]")];
    for (const button of buttons) button.hidden = !actions.includes(button.dataset.action);
    const first = buttons.find((button) => !button.hidden);
    if (hadFocus && this.#page.activeElement?.hidden !== false) first?.focus();
    if (this.state === null) this.#page.querySelector("[data-run-status]").textContent = STATUS_TEXTS.null;
  }

  #setBusy(isBusy) {
    this.#isBusy = isBusy;
    for (const button of this.#page.querySelectorAll("[data-action]")) button.setAttribute("aria-disabled", String(isBusy));
  }

  #link(id) {
    const link = this.#page.querySelector("[data-run-page]");
    const pattern = this.#page.querySelector("[data-run-page-pattern]")?.dataset.runPagePattern;
    if (!pattern) return;
    link.href = pattern.replace("RUN", encodeURIComponent(id));
    link.hidden = false;
  }
}

const SIGNS = { running: "▸ ", queued: "▸ ", success: "✓ ", error: "! ", paused: "⏸ ", waiting: "⏸ ", canceled: "⊘ " };

/** Ids of runs sort by the time they were made. */
const isNewer = (id, shownId) => shownId === undefined || id > shownId;

const titleFor = (status, name) => `${SIGNS[status] ?? ""}${name} · WataOmi`;
