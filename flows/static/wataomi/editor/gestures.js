/** Pointers and wheel on the drawing, as what they mean: panning, zooming, dragging a node. */

/** How far a pointer moves, in pixels, before a press is a drag and no click. */
const THRESHOLD = 4;
const WHEEL_LINE = 16;

export class Gestures {
  #element;
  #handlers;
  #pointers = new Map(); // id -> {x, y}
  #dragging = null; // {card, pointer, startX, startY, moved}
  #suppressClick = false;

  /**
   * @param {SVGSVGElement} element
   * @param {object} handlers
   * @param {() => boolean} handlers.canDrag
   * @param {(dx: number, dy: number) => void} handlers.pan pixels since the last call
   * @param {(factor: number, at: {x: number, y: number}) => void} handlers.zoom round a point of the element
   * @param {(card: Element, dx: number, dy: number) => void} handlers.drag pixels since the beginning
   * @param {(card: Element, dx: number, dy: number) => void} handlers.drop 0, 0 when the drag was given up
   */
  constructor(element, handlers) {
    this.#element = element;
    this.#handlers = handlers;
    element.addEventListener("pointerdown", (event) => this.#down(event));
    element.addEventListener("pointermove", (event) => this.#move(event));
    element.addEventListener("pointerup", (event) => this.#up(event));
    element.addEventListener("pointercancel", (event) => this.#cancel(event));
    element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    element.addEventListener("click", (event) => this.#click(event), { capture: true });
    element.ownerDocument.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#dragging?.moved) this.#giveUp();
    });
  }

  #down(event) {
    if (event.button > 1) return;
    this.#suppressClick = false;
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.#pointers.size > 1) {
      this.#giveUp();
      return;
    }
    const card = event.button === 0 && this.#handlers.canDrag() ? event.target.closest(".node") : null;
    this.#dragging = { card, pointer: event.pointerId, startX: event.clientX, startY: event.clientY, moved: false };
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    if (this.#pointers.size === 2) this.#pinch(event.pointerId, before, now);
    else if (this.#dragging && !this.#begin(now, event.pointerId)) return;
    else if (this.#dragging?.card) this.#handlers.drag(this.#dragging.card, ...this.#distance(now));
    else if (this.#dragging) this.#handlers.pan(now.x - before.x, now.y - before.y);
    this.#pointers.set(event.pointerId, now);
  }

  /** Whether the pointer has moved far enough; takes hold of it when it has. */
  #begin(now, pointerId) {
    const drag = this.#dragging;
    if (drag.moved) return true;
    if (Math.hypot(...this.#distance(now)) < THRESHOLD) return false;
    drag.moved = true;
    this.#element.setPointerCapture(pointerId);
    if (drag.card) drag.card.setAttribute("data-dragging", "");
    else this.#element.setAttribute("data-panning", "");
    return true;
  }

  #distance({ x, y }) {
    return [x - this.#dragging.startX, y - this.#dragging.startY];
  }

  #pinch(pointerId, before, now) {
    const [, other] = [...this.#pointers].find(([id]) => id !== pointerId);
    const spread = (point) => Math.max(1, Math.hypot(point.x - other.x, point.y - other.y));
    const box = this.#element.getBoundingClientRect();
    const middle = { x: (now.x + other.x) / 2 - box.left, y: (now.y + other.y) / 2 - box.top };
    this.#handlers.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    this.#handlers.zoom(spread(now) / spread(before), middle);
    this.#suppressClick = true;
  }

  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    const drag = this.#dragging;
    if (!drag || drag.pointer !== event.pointerId) return;
    this.#dragging = null;
    if (!drag.moved) return;
    this.#suppressClick = true;
    this.#release(drag);
    if (drag.card) this.#handlers.drop(drag.card, event.clientX - drag.startX, event.clientY - drag.startY);
  }

  #cancel(event) {
    this.#pointers.delete(event.pointerId);
    if (this.#dragging?.pointer === event.pointerId) this.#giveUp();
  }

  #giveUp() {
    const drag = this.#dragging;
    this.#dragging = null;
    if (!drag?.moved) return;
    this.#suppressClick = true;
    this.#release(drag);
    if (drag.card) this.#handlers.drop(drag.card, 0, 0);
  }

  #release(drag) {
    drag.card?.removeAttribute("data-dragging");
    this.#element.removeAttribute("data-panning");
  }

  #click(event) {
    if (!this.#suppressClick) return;
    this.#suppressClick = false;
    event.stopPropagation();
    event.preventDefault();
  }

  #wheel(event) {
    event.preventDefault();
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? WHEEL_LINE : 1;
    const [dx, dy] = event.shiftKey && event.deltaX === 0 ? [event.deltaY, 0] : [event.deltaX, event.deltaY];
    if (event.ctrlKey || event.metaKey) {
      const box = this.#element.getBoundingClientRect();
      const limited = Math.max(-60, Math.min(60, event.deltaY * unit));
      this.#handlers.zoom(Math.exp(-limited * 0.006), { x: event.clientX - box.left, y: event.clientY - box.top });
    } else {
      this.#handlers.pan(-dx * unit, -dy * unit);
    }
  }
}
