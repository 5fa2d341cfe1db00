// Draws one ARC grid: a palette, a board, a size. Which grid it is the task decides.

import { Board } from "./board.js";
import { blank, COLOURS, SIDE } from "./arc-grid.js";
import { $, h } from "./dom.js";

export class ArcEditor {
  // changed(grid, more): the grid was drawn on; more: the stroke goes on.
  constructor(changed) {
    this.changed = changed;
    this.colour = 1;
    this.board = new Board($("arc-board"), "Grid", {
      key: (e, i) => this.#key(e, i),
      press: (i) => this.#paint(i, true),
      drag: (i) => this.#paint(i, true),
      release: () => this.changed(this.grid),
    });
    COLOURS.forEach((name, n) => {
      const input = h("input", { type: "radio", name: "arc-colour", value: String(n), checked: n === this.colour, "aria-label": `${n}: ${name}`, onchange: () => (this.colour = n) });
      $("arc-palette").append(h("label", { class: "swatch", title: `${n}: ${name}` }, input, h("span", { class: `c${n}` }, String(n))));
    });
    $("arc-rows").addEventListener("change", () => this.#resize());
    $("arc-cols").addEventListener("change", () => this.#resize());
  }

  open(grid, title) {
    this.grid = grid;
    const [rows, cols] = [grid.length, grid[0].length];
    $("arc-editing").textContent = title;
    this.board.root.setAttribute("aria-label", `${title}, ${rows} rows of ${cols} cells`);
    this.board.size(rows, cols);
    $("arc-rows").value = rows;
    $("arc-cols").value = cols;
    this.board.cells.forEach((_, i) => this.#show(i));
  }

  mark(row, col) {
    const inRow = (i) => Math.floor(i / this.board.cols) === row && (col === undefined || i % this.board.cols === col);
    this.board.cells.forEach((cell, i) => cell.classList.toggle("bad", inRow(i)));
  }

  #show(i) {
    const [r, c] = [Math.floor(i / this.board.cols), i % this.board.cols];
    this.board.cells[i].className = `cell c${this.grid[r][c]}`;
    this.board.cells[i].setAttribute("aria-label", `row ${r + 1} column ${c + 1}, ${COLOURS[this.grid[r][c]]}`);
  }

  #paint(i, more = false) {
    this.grid[Math.floor(i / this.board.cols)][i % this.board.cols] = this.colour;
    this.#show(i);
    this.changed(this.grid, more);
  }

  // A digit chooses its colour and writes it; space and Enter write the chosen one.
  #key(e, i) {
    if (e.ctrlKey || e.metaKey || e.altKey || !/^([0-9 ]|Enter|Backspace|Delete)$/.test(e.key)) return;
    e.preventDefault();
    const chosen = this.colour;
    if (/^[0-9]$/.test(e.key)) {
      this.colour = Number(e.key);
      $("arc-palette").querySelector(`[value="${this.colour}"]`).checked = true;
    }
    if (/Backspace|Delete/.test(e.key)) this.colour = 0;
    this.#paint(i);
    if (/Backspace|Delete/.test(e.key)) this.colour = chosen;
    this.board.focus(i);
  }

  #resize() {
    const fit = (id) => Math.max(1, Math.min(SIDE, Math.round(Number($(id).value)) || 1));
    const grid = blank(fit("arc-rows"), fit("arc-cols"));
    grid.forEach((row, r) => row.forEach((_, c) => (row[c] = this.grid[r]?.[c] ?? 0)));
    this.grid = grid;
    this.changed(grid);
  }
}
