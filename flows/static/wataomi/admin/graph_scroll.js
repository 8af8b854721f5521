/** A graph that is wider than its frame is scrolled to the node that starts, until the reader scrolls it. */

export class GraphScroll {
  #frame;
  #isLeft = true;

  /** @param {Element} root of the page */
  constructor(root) {
    this.#frame = root.querySelector("[data-run-graph]");
    for (const sign of ["wheel", "pointerdown", "keydown", "touchstart"]) {
      this.#frame?.addEventListener(sign, () => (this.#isLeft = false), { passive: true });
    }
  }

  /** Bring a node into sight, across; the page itself stays where it is. */
  reveal(nodeId) {
    const card = this.#frame?.querySelector(`[data-node="${CSS.escape(nodeId)}"]`);
    if (!card || !this.#isLeft) return;
    const frame = this.#frame.getBoundingClientRect();
    const place = card.getBoundingClientRect();
    if (place.left >= frame.left && place.right <= frame.right) return;
    const left = this.#frame.scrollLeft + place.left - frame.left - (frame.width - place.width) / 2;
    this.#frame.scrollTo({ left, behavior: "smooth" });
  }
}
