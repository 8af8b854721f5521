/** The measures of a drawing. Pure; the server's `flows/layout.py` draws by the same rules. */

export const CARD_WIDTH = 200;
export const CARD_HEIGHT = 72;
export const GRID = 10;

/** A coordinate as SVG wants it, without noise: "12", "12.5". */
export const number = (value) => String(Math.round(value * 100) / 100 || 0);

/** The path of an edge: leaves an output to the right, reaches an input from the left, also when it runs back. */
export function curve([x1, y1], [x2, y2]) {
  const across = x2 - x1;
  const reach = Math.min(across >= 0 ? Math.max(across / 2, 40) : 60 - across / 2, 240);
  const points = [[x1 + reach, y1], [x2 - reach, y2], [x2, y2]];
  return `M ${number(x1)} ${number(y1)} C ${points.map(([x, y]) => `${number(x)} ${number(y)}`).join(", ")}`;
}

export const onGrid = (value) => Math.round(value / GRID) * GRID;

/** The box around boxes {x, y, width, height}; null for none. */
export function around(boxes) {
  if (boxes.length === 0) return null;
  const x = Math.min(...boxes.map((box) => box.x));
  const y = Math.min(...boxes.map((box) => box.y));
  const right = Math.max(...boxes.map((box) => box.x + box.width));
  const bottom = Math.max(...boxes.map((box) => box.y + box.height));
  return { x, y, width: right - x, height: bottom - y };
}

/** Added to the distance of what is rather beside than ahead: it is met only when nothing else is. */
const OUT_OF_THE_WAY = 1e6;

/**
 * The nearest box in a direction, as the arrow keys go: what lies more sideways than ahead is farther, and what lies
 * behind is not met at all.
 *
 * @param {{x: number, y: number}} from
 * @param {Array<{id: string, x: number, y: number}>} others
 * @param {"left"|"right"|"up"|"down"} direction
 * @returns {?string} its id
 */
export function nearest(from, others, direction) {
  const [dx, dy] = { left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] }[direction];
  let best = null;
  let shortest = Infinity;
  for (const other of others) {
    const [x, y] = [other.x - from.x, other.y - from.y];
    const ahead = x * dx + y * dy;
    const aside = Math.abs(x * dy) + Math.abs(y * dx);
    const distance = ahead + aside * 2 + (aside > ahead * 2 ? OUT_OF_THE_WAY : 0);
    if (ahead > 1 && distance < shortest) [best, shortest] = [other.id, distance];
  }
  return best;
}

/**
 * What part of the drawing is seen, and how large.
 *
 * `zoom` is in pixels of the screen to a unit of the drawing; `x` and `y` are the drawing's point at the left top.
 */
export class Viewport {
  static SMALLEST = 0.1;
  static LARGEST = 2.5;

  constructor({ x = 0, y = 0, zoom = 1 } = {}) {
    Object.assign(this, { x, y, zoom });
  }

  /** The view that shows a whole box in a room of that size, in its middle, not blown up. */
  static fitting(box, room, { margin = 40, largest = 1 } = {}) {
    const wanted = Math.min((room.width - 2 * margin) / box.width, (room.height - 2 * margin) / box.height, largest);
    const zoom = Math.max(Viewport.SMALLEST, wanted);
    return new Viewport({
      zoom,
      x: box.x + box.width / 2 - room.width / zoom / 2,
      y: box.y + box.height / 2 - room.height / zoom / 2,
    });
  }

  /** Moved by pixels of the screen. */
  panned(dx, dy) {
    return new Viewport({ zoom: this.zoom, x: this.x - dx / this.zoom, y: this.y - dy / this.zoom });
  }

  /** Zoomed by a factor round a point of the screen, which stays where it is. */
  zoomed(factor, { x, y }) {
    const zoom = Math.min(Viewport.LARGEST, Math.max(Viewport.SMALLEST, this.zoom * factor));
    const at = this.toDrawing({ x, y });
    return new Viewport({ zoom, x: at.x - x / zoom, y: at.y - y / zoom });
  }

  /** Moved no farther than is needed for a box to be seen in a room, with a margin in pixels. */
  showing(box, room, margin = 24) {
    const left = (box.x - this.x) * this.zoom;
    const top = (box.y - this.y) * this.zoom;
    const dx = shift(left, left + box.width * this.zoom, room.left ?? 0, room.width, margin);
    const dy = shift(top, top + box.height * this.zoom, room.top ?? 0, room.height, margin);
    return this.panned(dx, dy);
  }

  toDrawing({ x, y }) {
    return { x: this.x + x / this.zoom, y: this.y + y / this.zoom };
  }

  /** The SVG viewBox for a room of that size. */
  viewBox(room) {
    return [this.x, this.y, room.width / this.zoom, room.height / this.zoom].map(number).join(" ");
  }
}

function shift(start, end, roomStart, roomEnd, margin) {
  if (start < roomStart + margin || end - start > roomEnd - roomStart - 2 * margin) return roomStart + margin - start;
  return Math.min(0, roomEnd - margin - end);
}
