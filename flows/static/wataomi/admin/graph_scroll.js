/** A graph that is wider than its frame is scrolled to the node that starts or fails, until the reader scrolls it. */

const AT_WORK = new Set(["running", "waiting"]);

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

  /** Open the graph at the node that the run failed in; else at the first one that failed, or is at work. */
  open(state) {
    const first = (isMeant) => Object.keys(state.nodes).find((nodeId) => isMeant(state.nodes[nodeId].status));
    const nodeId =
      state.error?.nodeId ?? first((status) => status === "error") ?? first((status) => AT_WORK.has(status));
    if (nodeId) this.reveal(nodeId, "instant");
  }

  /** Bring a node into sight, across; the page itself stays where it is. */
  reveal(nodeId, behavior = "smooth") {
    const card = this.#frame?.querySelector(`[data-node="${CSS.escape(nodeId)}"]`);
    if (!card || !this.#isLeft) return;
    const frame = this.#frame.getBoundingClientRect();
    const place = card.getBoundingClientRect();
    if (place.left >= frame.left && place.right <= frame.right) return;
    const left = this.#frame.scrollLeft + place.left - frame.left - (frame.width - place.width) / 2;
    this.#frame.scrollTo({ left, behavior });
  }
}
