/** Learns of runs that are started elsewhere: in another tab, by the API, from the command line. */

/** Milliseconds between two looks, and the longest wait after looks that failed. */
const INTERVAL = 2_000;
const LONGEST = 30_000;

/**
 * Looks again and again while the page is visible; at once when it comes into view, and when another tab of the browser
 * says that it has started a run. A look that fails is not told: the next ones come later and later.
 */
export class RunWatch {
  #look;
  #name;
  #interval;
  #browser;
  #wait;
  #timer = null;
  #channel = null;
  #isLooking = false;
  #isAskedAgain = false;

  /**
   * @param {object} options
   * @param {number} options.flowId
   * @param {() => Promise<void>} options.look
   * @param {number} [options.interval] milliseconds
   * @param {Window} [options.browser]
   */
  constructor({ flowId, look, interval = INTERVAL, browser = globalThis }) {
    this.#look = look;
    this.#name = `wataomi.flow.${flowId}`;
    this.#interval = interval;
    this.#browser = browser;
    this.#wait = interval;
  }

  start() {
    const { document } = this.#browser;
    document.addEventListener("visibilitychange", () => this.#lookIfVisible());
    this.#browser.addEventListener("focus", () => this.#lookIfVisible());
    // A page in the back/forward cache must hold no channel open.
    this.#browser.addEventListener("pagehide", () => this.stop());
    this.#browser.addEventListener("pageshow", () => this.#resume());
    this.#resume();
  }

  /** Look no more; a page that is shown again goes on by itself. */
  stop() {
    clearTimeout(this.#timer);
    this.#channel?.close();
    this.#channel = null;
  }

  /** Tell the other tabs that this one has started a run. */
  announce() {
    this.#channel?.postMessage("started");
  }

  #resume() {
    if (this.#channel) return;
    this.#channel = new this.#browser.BroadcastChannel(this.#name);
    this.#channel.onmessage = () => this.#lookNow();
    this.#schedule();
  }

  #lookIfVisible() {
    if (this.#browser.document.visibilityState === "hidden") clearTimeout(this.#timer);
    else this.#lookNow();
  }

  /** What is asked for during a look may be newer than what that one sees: it is followed by another. */
  async #lookNow() {
    if (!this.#channel) return;
    clearTimeout(this.#timer);
    this.#isAskedAgain = this.#isLooking;
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      await this.#look();
      this.#wait = this.#interval;
    } catch {
      this.#wait = Math.min(2 * this.#wait, LONGEST);
    }
    this.#isLooking = false;
    if (this.#isAskedAgain) this.#lookNow();
    else this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#timer);
    if (!this.#channel || this.#browser.document.visibilityState === "hidden") return;
    this.#timer = setTimeout(() => this.#lookNow(), this.#wait);
  }
}
