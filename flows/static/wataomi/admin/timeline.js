/**
 * Lets the timeline of a run grow with the clock. Its geometry is the server's: bars that are open (`data-open`, the
 * milliseconds at which they begin) and the line of the present grow along the server's axis (`data-span`), and when the
 * present comes to its end, the server is asked for a longer one.
 */

/** Milliseconds between two steps. */
const TICK = 100;

export class Timeline {
  #root;
  #onOutgrown;
  #timer = null;
  #renderedAt = 0;

  /**
   * @param {Element} root of the page
   * @param {() => void} onOutgrown the axis is too short
   */
  constructor(root, onOutgrown) {
    this.#root = root;
    this.#onOutgrown = onOutgrown;
  }

  /**
   * A timeline was rendered: from here on it grows, if its run goes on.
   *
   * @param {number} renderedAt as `performance.now()`
   */
  show(renderedAt) {
    this.stop();
    this.#renderedAt = renderedAt;
    if (this.#chart?.dataset.now !== undefined) this.#timer = setInterval(() => this.#grow(), TICK);
  }

  stop() {
    clearInterval(this.#timer);
  }

  get #chart() {
    return this.#root.querySelector("[data-timeline]");
  }

  #grow() {
    const chart = this.#chart;
    const span = Number(chart.dataset.span);
    // By this computer's clock only from the moment of rendering on: it may be wrong, but it does not run too fast.
    const now = Number(chart.dataset.now) + performance.now() - this.#renderedAt;
    if (now >= span) this.#onOutgrown();
    for (const bar of chart.querySelectorAll("[data-open]")) bar.setAttribute("width", percent(now, bar, span));
    const line = chart.querySelector("[data-now-line]");
    for (const end of ["x1", "x2"]) line?.setAttribute(end, `${Math.min(100, (100 * now) / span)}%`);
  }
}

function percent(now, bar, span) {
  const start = Number(bar.dataset.open);
  return `${Math.max(0.5, (100 * (Math.min(now, span) - start)) / span)}%`;
}
