/** The drawing as one can touch it: it renders the document, and turns pointer and keys into views and operations. */

import { writeCard } from "./card.js";
import { around, CARD_HEIGHT, CARD_WIDTH, curve, GRID, nearest, onGrid, number, Viewport } from "./geometry.js";
import { Gestures } from "./gestures.js";

const ARROWS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };
const STEPS = { left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] };
const ZOOM_STEP = 1.25;
const KEY_STEP = 2 * GRID;
const NARROW = 760;
/** The zoom at which cards can still be read; on a phone they are touched, too. */
const READABLE = { wide: 0.6, narrow: 0.76 };
const START_MARGIN = 28;
const GLIDE = 260;

export class Canvas extends EventTarget {
  #svg;
  #document;
  #types;
  #cards = new Map();
  #edges = [];
  #view = new Viewport();
  #gliding = null;
  #editable;
  #covered;
  #isFollowing = false;

  /**
   * Dispatches `open` (`detail.id`) when a node is to be shown in the panel, and `moved` (`detail.id`) after a move by keys.
   *
   * @param {HTMLElement} root the graph's element
   * @param {object} options
   * @param {import("./document.js").FlowDocument} options.document
   * @param {Object<string, object>} options.types node types by name
   * @param {boolean} options.editable
   * @param {() => {bottom: number, right: number}} options.covered how much of the drawing other things lie over, in pixels
   */
  constructor(root, { document, types, editable, covered }) {
    super();
    this.#svg = root.querySelector("[data-canvas]");
    this.#document = document;
    this.#types = types;
    this.#editable = editable;
    this.#covered = covered;
    for (const card of root.querySelectorAll(".node")) this.#cards.set(card.dataset.node, card);
    this.#edges = [...root.querySelectorAll("[data-edge]")];
    this.#svg.setAttribute("preserveAspectRatio", "xMinYMin slice");
    this.#makeReachable();
    this.#listen();
    this.showStart();
  }

  /** How the flow is shown first: all of it where that can be read, else from where it begins. */
  showStart() {
    const content = this.#content();
    if (!content) return;
    const room = this.#room();
    const smallest = room.width < NARROW ? READABLE.narrow : READABLE.wide;
    const whole = Viewport.fitting(content, room);
    this.#go(whole.zoom < smallest ? this.#beginning(content, room, smallest) : whole, false);
  }

  /** Bring everything into view. */
  showAll() {
    const content = this.#content();
    if (content) this.#go(Viewport.fitting(content, this.#room()), true);
  }

  /** Bring a node into view, moving no more than needed; `flash` makes it catch the eye. */
  showNode(id, { flash = false } = {}) {
    const card = this.#cards.get(id);
    if (!card) return;
    this.#go(this.#view.showing(this.#box(id), this.#room()), true);
    if (!flash) return;
    card.removeAttribute("data-flash");
    card.getBoundingClientRect(); // so that the animation begins anew
    card.setAttribute("data-flash", "");
    card.addEventListener("animationend", () => card.removeAttribute("data-flash"), { once: true });
  }

  /** Keep what a new run does in sight from now on, until the reader moves the view. */
  followRun() {
    this.#isFollowing = true;
  }

  /** Bring one of these nodes into view when none is seen, while the run is followed. */
  keepInSight(ids) {
    if (!this.#isFollowing || ids.length === 0 || ids.some((id) => this.#isSeen(id))) return;
    this.showNode(ids[0]);
  }

  /** Mark the node that the panel shows; null for none. */
  select(id) {
    for (const [each, card] of this.#cards) card.setAttribute("aria-expanded", String(each === id));
    if (id !== null) this.#rove(id);
  }

  focus(id) {
    this.#cards.get(id)?.focus({ preventScroll: true });
  }

  /** Mark the nodes that something is wrong with. */
  markProblems(ids) {
    for (const [id, card] of this.#cards) card.toggleAttribute("data-problem", ids.has(id));
  }

  zoomBy(factor) {
    this.#take(this.#view.zoomed(factor, this.#middle()));
  }

  zoomTo(zoom) {
    this.#go(this.#view.zoomed(zoom / this.#view.zoom, this.#middle()), true);
  }

  #beginning(content, room, zoom) {
    const spare = room.height / zoom - content.height;
    const y = spare > 0 ? content.y - spare / 2 : content.y - START_MARGIN / zoom;
    return new Viewport({ zoom, x: content.x - START_MARGIN / zoom, y });
  }

  #content() {
    return around(this.#document.graph.nodes.filter(({ id }) => this.#cards.has(id)).map(({ id }) => this.#box(id)));
  }

  #box(id, [x, y] = this.#document.node(id).position) {
    return { id, x, y, width: CARD_WIDTH, height: Number(this.#cards.get(id).dataset.height) || CARD_HEIGHT };
  }

  #isSeen(id) {
    if (!this.#cards.has(id)) return false;
    const shown = this.#view.showing(this.#box(id), this.#room(), 0);
    return Math.abs(shown.x - this.#view.x) < 1 && Math.abs(shown.y - this.#view.y) < 1;
  }

  /** The part of the drawing's element that nothing lies over. */
  #room() {
    const { bottom, right } = this.#covered();
    return { width: this.#svg.clientWidth - right, height: this.#svg.clientHeight - bottom };
  }

  #middle() {
    const room = this.#room();
    return { x: room.width / 2, y: room.height / 2 };
  }

  #go(view, glide) {
    cancelAnimationFrame(this.#gliding);
    const isStill = !glide || matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (isStill) this.#look(view);
    else this.#glide(this.#view, view, performance.now());
  }

  /** A view that the reader has chosen. */
  #take(view) {
    this.#isFollowing = false;
    this.#go(view, false);
  }

  #glide(from, to, started) {
    const part = Math.min(1, (performance.now() - started) / GLIDE);
    const eased = 1 - (1 - part) ** 3;
    const between = (name) => from[name] + (to[name] - from[name]) * eased;
    this.#look(new Viewport({ x: between("x"), y: between("y"), zoom: between("zoom") }));
    if (part < 1) this.#gliding = requestAnimationFrame(() => this.#glide(from, to, started));
  }

  #look(view) {
    this.#view = view;
    const room = { width: this.#svg.clientWidth, height: this.#svg.clientHeight };
    if (room.width > 0 && room.height > 0) this.#svg.setAttribute("viewBox", view.viewBox(room));
  }

  #makeReachable() {
    const first = this.#cards.keys().next();
    if (!first.done) this.#rove(first.value);
  }

  /** Only one node is in the order of the Tab key: the arrow keys go on from there. */
  #rove(id) {
    for (const [each, card] of this.#cards) card.setAttribute("tabindex", each === id ? "0" : "-1");
  }

  #listen() {
    new ResizeObserver(() => this.#look(this.#view)).observe(this.#svg);
    this.#document.addEventListener("change", ({ detail }) => this.#render(detail.operation));
    this.#svg.addEventListener("click", (event) => this.#open(event.target.closest(".node")));
    this.#svg.addEventListener("keydown", (event) => this.#press(event));
    this.#svg.addEventListener("focusin", (event) => this.#focused(event.target.closest(".node")));
    new Gestures(this.#svg, {
      canDrag: () => this.#editable,
      pan: (dx, dy) => this.#take(this.#view.panned(dx, dy)),
      zoom: (factor, at) => this.#take(this.#view.zoomed(factor, at)),
      drag: (card, dx, dy) => this.#drag(card.dataset.node, dx, dy),
      drop: (card, dx, dy) => this.#drop(card.dataset.node, dx, dy),
    });
  }

  #open(card) {
    if (card) this.dispatchEvent(new CustomEvent("open", { detail: { id: card.dataset.node } }));
  }

  #focused(card) {
    if (!card) return;
    this.#rove(card.dataset.node);
    if (card.matches(":focus-visible")) this.showNode(card.dataset.node);
  }

  #press(event) {
    const card = event.target.closest(".node");
    if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
    const direction = ARROWS[event.key];
    if (event.key === "Enter" || event.key === " ") this.#open(card);
    else if (direction && event.shiftKey) this.#nudge(card.dataset.node, STEPS[direction]);
    else if (direction) this.#step(card.dataset.node, direction);
    else return;
    event.preventDefault();
  }

  #step(id, direction) {
    const others = [...this.#cards.keys()].filter((other) => other !== id).map((other) => this.#box(other));
    const next = nearest(this.#box(id), others, direction);
    if (next !== null) this.focus(next);
  }

  #nudge(id, [dx, dy]) {
    if (!this.#editable) return;
    const [x, y] = this.#document.node(id).position;
    this.#document.apply({ type: "moveNode", id, position: [onGrid(x + dx * KEY_STEP), onGrid(y + dy * KEY_STEP)] });
    this.showNode(id);
    this.dispatchEvent(new CustomEvent("moved", { detail: { id } }));
  }

  #dragged(id, dx, dy) {
    const [x, y] = this.#document.node(id).position;
    return [onGrid(x + dx / this.#view.zoom), onGrid(y + dy / this.#view.zoom)];
  }

  #drag(id, dx, dy) {
    this.#place(id, this.#dragged(id, dx, dy));
  }

  /** One operation for the whole move; none when the node came back to where it was, or the move was given up. */
  #drop(id, dx, dy) {
    const position = this.#dragged(id, dx, dy);
    const [x, y] = this.#document.node(id).position;
    if ((dx === 0 && dy === 0) || (position[0] === x && position[1] === y)) this.#place(id, [x, y]);
    else this.#document.apply({ type: "moveNode", id, position });
  }

  #render(operation) {
    const node = this.#document.node(operation.id);
    const card = this.#cards.get(node.id);
    if (!card) return;
    if (operation.type === "moveNode") this.#place(node.id, node.position);
    else writeCard(card, node, this.#types[node.type] ?? null);
  }

  #place(id, [x, y]) {
    this.#cards.get(id).setAttribute("transform", `translate(${number(x)} ${number(y)})`);
    for (const edge of this.#edges) {
      if (edge.dataset.source === id || edge.dataset.target === id) this.#drawEdge(edge);
    }
  }

  #drawEdge(edge) {
    const { source, sourcePort, target, targetPort } = edge.dataset;
    const start = portPlace(this.#cards.get(source), "output", sourcePort);
    const end = portPlace(this.#cards.get(target), "input", targetPort);
    edge.querySelector(".edge-line").setAttribute("d", curve(start, end));
    const label = edge.querySelector("[data-edge-count]");
    label.setAttribute("x", number((start[0] + end[0]) / 2));
    label.setAttribute("y", number((start[1] + end[1]) / 2));
  }
}

export { ZOOM_STEP };

/** Where a port is in the drawing; the middle of the card's side for a port that it does not have. */
function portPlace(card, kind, name) {
  const [x, y] = translation(card);
  const port = [...card.querySelectorAll(`.port[data-${kind}]`)].find((each) => each.dataset[kind] === name);
  if (!port) return [x + (kind === "output" ? CARD_WIDTH : 0), y + (Number(card.dataset.height) || CARD_HEIGHT) / 2];
  const [dx, dy] = translation(port);
  return [x + dx, y + dy];
}

function translation(element) {
  const matrix = element.transform.baseVal.consolidate()?.matrix;
  return matrix ? [matrix.e, matrix.f] : [0, 0];
}
