/** The parts of a page that the server renders anew while a run goes on: elements marked `data-part`. */

/** Milliseconds between two requests, at least; a request that took long is left more time. */
const INTERVAL = 250;
const FACTOR = 4;

export class Parts {
  #root;
  #url;
  #onRefreshed;
  #fetch;
  #isAsking = false;
  #isStale = false;

  /**
   * @param {Element} root
   * @param {string} url gives a piece of HTML that holds the parts
   * @param {(arrivedAt: number) => void} onRefreshed called with when the answer began to arrive, as `performance.now()`
   * @param {typeof fetch} [fetch]
   */
  constructor(root, url, onRefreshed, fetch = globalThis.fetch.bind(globalThis)) {
    this.#root = root;
    this.#url = url;
    this.#onRefreshed = onRefreshed;
    this.#fetch = fetch;
  }

  /** Bring the parts up to date soon: at most one request at a time, and after the last call one that began behind it. */
  async refresh() {
    this.#isStale = true;
    if (this.#isAsking) return;
    this.#isAsking = true;
    while (this.#isStale) {
      this.#isStale = false;
      const begun = performance.now();
      await this.#ask();
      const taken = performance.now() - begun;
      await new Promise((resolve) => setTimeout(resolve, Math.max(INTERVAL, FACTOR * taken)));
    }
    this.#isAsking = false;
  }

  async #ask() {
    try {
      const response = await this.#fetch(this.#url, { credentials: "same-origin" });
      const arrivedAt = performance.now();
      if (response.ok && !response.redirected) this.#replace(await response.text(), arrivedAt);
    } catch {
      // The connection is lost: the page says so already, and the events that come with the next one ask again.
    }
  }

  #replace(html, arrivedAt) {
    const piece = document.createElement("template");
    piece.innerHTML = html;
    for (const part of piece.content.querySelectorAll("[data-part]")) {
      const shown = this.#root.querySelector(`[data-part="${part.dataset.part}"]`);
      if (shown && shown.innerHTML !== part.innerHTML) shown.replaceChildren(...part.childNodes);
    }
    this.#onRefreshed(arrivedAt);
  }
}
