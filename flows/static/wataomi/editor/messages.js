/** What the page tells its reader outside the drawing: toasts, the announcer for screen readers, the banner. */

const SHOWN_FOR = 6_000;
const MOST_TOASTS = 3;

const SIGNS = new Set(["success", "error", "waiting", "canceled", "running", "idle"]);

export class Messages {
  #toasts;
  #announcer;

  /** @param {Document} page */
  constructor(page) {
    this.#toasts = page.querySelector("[data-toasts]");
    this.#announcer = page.querySelector("[data-announcer]");
  }

  /** Say something to those who do not see the page; what is said twice is heard twice. */
  announce(text) {
    this.#announcer.textContent = "";
    requestAnimationFrame(() => {
      this.#announcer.textContent = text;
    });
  }

  /**
   * A message that goes by itself, unless it tells of an error or the pointer or the focus is on it.
   *
   * @param {string} text
   * @param {{status?: string, action?: {label: string, run: () => void}}} [options]
   */
  toast(text, { status = "success", action = null } = {}) {
    const toast = document.createElement("div");
    toast.className = "toast";
    toast.dataset.status = SIGNS.has(status) ? status : "idle";
    toast.setAttribute("role", status === "error" ? "alert" : "status");
    toast.append(signElement(), paragraph(text));
    if (action) toast.append(button(action.label, () => (toast.remove(), action.run())));
    toast.append(closeButton(() => toast.remove()));
    while (this.#toasts.childElementCount >= MOST_TOASTS) this.#toasts.firstElementChild.remove();
    this.#toasts.append(toast);
    if (status !== "error") leaveAfter(toast, SHOWN_FOR);
  }

  /** Take all messages away: something new begins. */
  clear() {
    this.#toasts.replaceChildren();
  }

  /** Tell of a request that failed: what was wrong, and what to do next. */
  failure(problem, action = null) {
    const text = [problem.message, problem.hint].filter(Boolean).join(" ");
    this.toast(text, { status: "error", action });
  }
}

/** The banner over the page while the connection is lost; it counts down to the next attempt. */
export class ConnectionBanner {
  #banner;
  #text;
  #timer = null;
  #detail = null;
  retry = () => {};

  /** @param {Document} page */
  constructor(page) {
    this.#banner = page.querySelector("[data-banner]");
    this.#text = page.querySelector("[data-banner-text]");
    page.querySelector("[data-banner-retry]").addEventListener("click", () => this.retry());
  }

  /** @param {import("../sse.js").ConnectionState} state @param {import("../sse.js").ConnectionDetail} detail */
  show(state, detail) {
    clearInterval(this.#timer);
    this.#banner.hidden = state !== "lost";
    if (state !== "lost") return;
    this.#detail = detail;
    this.#tell();
    this.#timer = setInterval(() => this.#tell(), 500);
  }

  hide() {
    this.show("ended", null);
  }

  #tell() {
    const { retryAt } = this.#detail;
    const seconds = retryAt === null || retryAt === undefined ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
    const next = seconds > 0 ? `Reconnecting in ${seconds} s.` : "Reconnecting…";
    this.#text.textContent = `Connection lost: the run goes on, and nothing is missed. ${next}`;
  }
}

/** An icon of the page's sprite. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "ui");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#wo-ui-${name}`);
  svg.append(use);
  return svg;
}

function signElement() {
  const svg = document.querySelector(".dock .chip svg").cloneNode(true);
  svg.setAttribute("width", "16");
  svg.setAttribute("height", "16");
  return svg;
}

function paragraph(text) {
  const element = document.createElement("p");
  element.textContent = text;
  return element;
}

function button(label, run) {
  const element = document.createElement("button");
  Object.assign(element, { type: "button", className: "button", textContent: label });
  element.addEventListener("click", run);
  return element;
}

function closeButton(run) {
  const element = button("", run);
  element.className = "icon-button";
  element.setAttribute("aria-label", "Dismiss");
  element.append(icon("close"));
  return element;
}

function leaveAfter(toast, milliseconds) {
  const leave = () => (toast.matches(":hover, :focus-within") ? setTimeout(leave, 1_000) : toast.remove());
  setTimeout(leave, milliseconds);
}
