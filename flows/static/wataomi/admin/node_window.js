/** The window with all that is stored of one node: a link to the node's page, opened in place. */

export class NodeWindow {
  #root;
  #dialog;
  #link = null;

  /** @param {Element} root of the page */
  constructor(root) {
    this.#root = root;
    this.#dialog = root.querySelector("[data-node-window]");
    root.addEventListener("click", (event) => this.#click(event));
    this.#dialog.addEventListener("close", () => {
      this.#link = null;
    });
  }

  /** A node has changed; where its window is open, it is read again. */
  changed(nodeId) {
    if (this.#link?.closest("[data-node]").dataset.node === nodeId) this.#load();
  }

  #click(event) {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = event.target.closest("[data-open-node]") ?? this.#linkOfCard(event.target.closest("g[data-node]"));
    if (!link) return;
    event.preventDefault();
    this.#open(link);
  }

  /** A card of the graph opens what its line in the table links to. */
  #linkOfCard(card) {
    if (!card) return null;
    return this.#root.querySelector(`tr[data-node="${CSS.escape(card.dataset.node)}"] [data-open-node]`);
  }

  #open(link) {
    this.#link = link;
    this.#dialog.querySelector("[data-node-window-title]").textContent = link.textContent;
    this.#body.textContent = "Loading …";
    this.#dialog.showModal();
    this.#load();
  }

  async #load() {
    const link = this.#link;
    try {
      const response = await fetch(`${link.href}&part=1`, { credentials: "same-origin" });
      const html = response.ok && !response.redirected ? await response.text() : null;
      if (link !== this.#link) return;
      if (html === null) this.#body.textContent = `The server answered ${response.status}. Reload the page.`;
      else this.#body.innerHTML = html;
    } catch (problem) {
      if (link === this.#link) this.#body.textContent = `The server could not be reached: ${problem.message}.`;
    }
  }

  get #body() {
    return this.#dialog.querySelector("[data-node-window-body]");
  }
}
