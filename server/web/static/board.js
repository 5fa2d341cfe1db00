// A grid of cells that is worked with mouse, touch or keyboard: one tab stop, arrow keys move,
// a held pointer paints. What cells mean is its owner's business.

import { h } from "./dom.js";

// The cells on a straight line, so that a quick stroke leaves no gaps.
function line(from, to) {
  const n = Math.max(Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]));
  return Array.from({ length: n }, (_, i) => [
    Math.round(from[0] + ((to[0] - from[0]) * (i + 1)) / n),
    Math.round(from[1] + ((to[1] - from[1]) * (i + 1)) / n),
  ]);
}

export class Board {
  // on.key(event, i): a key that does not move. on.press(i), on.drag(i), on.release(): a pointer.
  constructor(root, label, on) {
    this.root = root;
    this.on = on;
    this.cells = [];
    this.at = 0;
    root.setAttribute("role", "grid");
    root.setAttribute("aria-label", label);
    root.addEventListener("keydown", (e) => this.#key(e));
    root.addEventListener("focusin", (e) => this.#select(this.cells.indexOf(e.target)));
    root.addEventListener("pointerdown", (e) => this.#down(e));
    root.addEventListener("pointermove", (e) => this.#move(e));
    for (const end of ["pointerup", "pointercancel"]) root.addEventListener(end, () => this.#up());
  }

  size(rows, cols) {
    if (rows === this.rows && cols === this.cols) return;
    Object.assign(this, { rows, cols });
    this.root.style.setProperty("--rows", rows);
    this.root.style.setProperty("--cols", cols);
    this.cells = [];
    this.root.replaceChildren(
      ...Array.from({ length: rows }, (_, r) =>
        h("div", { role: "row" }, ...Array.from({ length: cols }, (_, c) => this.#cell(r, c)))),
    );
    this.#select(0);
  }

  #cell(r, c) {
    const cell = h("div", { role: "gridcell", tabIndex: -1, class: "cell" });
    cell.style.setProperty("--i", r + c); // animations run along diagonals
    this.cells.push(cell);
    return cell;
  }

  #select(i) {
    if (i < 0) return;
    this.cells[this.at]?.setAttribute("tabindex", "-1");
    this.cells[this.at]?.removeAttribute("data-here");
    this.at = i;
    this.cells[i].setAttribute("tabindex", "0");
    this.cells[i].setAttribute("data-here", "");
  }

  focus(i = this.at) {
    this.cells[i].focus({ preventScroll: true });
  }

  #key(e) {
    const { at, cols, rows } = this;
    const [r, c] = [Math.floor(at / cols), at % cols];
    const to = {
      ArrowUp: r > 0 ? at - cols : at,
      ArrowDown: r < rows - 1 ? at + cols : at,
      ArrowLeft: c > 0 ? at - 1 : at,
      ArrowRight: c < cols - 1 ? at + 1 : at,
      Home: e.ctrlKey ? 0 : r * cols,
      End: e.ctrlKey ? rows * cols - 1 : r * cols + cols - 1,
    }[e.key];
    if (to === undefined) return void this.on.key?.(e, at);
    if (e.altKey || e.metaKey) return;
    e.preventDefault();
    this.focus(to);
  }

  #under(e) {
    return this.cells.indexOf(document.elementFromPoint(e.clientX, e.clientY)?.closest(".cell"));
  }

  #down(e) {
    const i = this.#under(e);
    if (i < 0 || e.button !== 0) return;
    e.preventDefault();
    this.focus(i);
    if (!this.on.drag) return void this.on.press?.(i);
    this.root.setPointerCapture(e.pointerId);
    this.held = i;
    this.on.press(i);
  }

  #move(e) {
    if (this.held === undefined) return;
    const i = this.#under(e);
    if (i < 0 || i === this.held) return;
    const place = (k) => [Math.floor(k / this.cols), k % this.cols];
    for (const [r, c] of line(place(this.held), place(i))) this.on.drag(r * this.cols + c);
    this.held = i;
    this.focus(i);
  }

  #up() {
    if (this.held === undefined) return;
    this.held = undefined;
    this.on.release?.();
  }
}
