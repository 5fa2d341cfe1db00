// Sudoku: typing, what a step looks like, and what a text or a file holds.

import { Board } from "./board.js";
import { $, count, h, solved } from "./dom.js";

export const BLANK = ".".repeat(81);

const UNITS = Array.from({ length: 9 }, (_, u) => [
  Array.from({ length: 9 }, (_, i) => u * 9 + i),
  Array.from({ length: 9 }, (_, i) => i * 9 + u),
  Array.from({ length: 9 }, (_, i) => (Math.floor(u / 3) * 3 + Math.floor(i / 3)) * 9 + (u % 3) * 3 + (i % 3)),
]).flat();

// Cells that share a row, column or box with their own digit.
function conflicts(digits) {
  const bad = new Set();
  for (const unit of UNITS)
    for (const i of unit) for (const k of unit) if (i !== k && digits[i] && digits[i] === digits[k]) bad.add(i);
  return bad;
}

const textOf = (digits) => digits.map((d) => d || ".").join("");

function digitsOf(text) {
  const packed = text.replace(/\s/g, "");
  const odd = [...packed].findIndex((c) => !/[0-9._]/.test(c));
  if (odd >= 0) throw new Error(`Character ${odd + 1} is “${[...packed][odd]}”: a cell is 1 to 9, or “.”, “0” or “_” for blank.`);
  if (packed.length !== 81) throw new Error(`A Sudoku has 81 cells; this text has ${packed.length}.`);
  return [...packed].map((c) => Number(c) || 0);
}

export class Sudoku {
  id = "sudoku";
  title = "Sudoku";
  tagline = "Type a puzzle, or take one. The network fills all cells at once, then thinks again.";
  textHint = "81 characters: 1 to 9, and “.”, “0” or “_” for blank";

  // edited(): the puzzle is another one now.
  constructor(edited) {
    this.edited = edited;
    this.digits = digitsOf(BLANK);
    this.board = new Board($("sudoku-board"), "Sudoku, 9 rows of 9 cells", {
      key: (e, i) => this.#key(e, i),
      press: () => {},
    });
    this.board.size(9, 9);
    for (const cell of this.board.cells) cell.append(h("span"));
    for (const n of [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]) {
      const label = n ? `Write ${n}` : "Erase";
      $("digits").append(
        h("button", { type: "button", "aria-label": label, title: label, onclick: () => this.#write(this.board.at, n) }, n ? String(n) : "⌫"));
    }
    this.show(null);
  }

  #key(e, i) {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const digit = /^[1-9]$/.test(e.key) ? Number(e.key) : ["0", ".", "_", " ", "Backspace", "Delete"].includes(e.key) ? 0 : -1;
    if (digit < 0) return;
    e.preventDefault();
    this.#write(i, digit);
  }

  #write(i, digit) {
    this.digits[i] = digit;
    this.edited();
    this.board.focus(i);
  }

  text() {
    return textOf(this.digits);
  }

  set(text) {
    this.digits = digitsOf(text);
  }

  clear() {
    this.digits = digitsOf(BLANK);
  }

  body() {
    return { puzzle: this.text() };
  }

  // A file's or a clipboard's puzzles as [name, text]: one a line, or a CSV with them in its second column.
  puzzlesIn(text) {
    const found = text.split(/\r?\n/).flatMap((line) => line.split(",").find((f) => /^[0-9._]{81}$/.test(f.trim()))?.trim() ?? []);
    return found.length ? found.map((p) => ["", p]) : [["", text]];
  }

  link() {
    return this.text();
  }

  fromLink(text) {
    this.set(text);
  }

  frame(data) {
    return { ...data, digits: data.grid.flat(), sure: data.cell_confidence };
  }

  answer(data) {
    return { ...data, digits: data.grid.flat() };
  }

  describe(frame) {
    const bad = conflicts(frame.digits).size;
    return { value: 1 - bad / 81, text: bad ? `${count(bad, "cell")} in conflict` : "every rule holds" };
  }

  // A step against the one shown before it; null is the puzzle as it was typed.
  show(frame) {
    const digits = frame?.digits ?? this.digits;
    const before = this.shown ?? this.digits;
    const bad = frame ? conflicts(digits) : new Set();
    this.board.cells.forEach((cell, i) => {
      const given = this.digits[i] !== 0;
      const sure = given ? 1 : (frame?.sure?.[i] ?? 1);
      cell.firstChild.textContent = digits[i] || "";
      cell.className = "cell";
      cell.classList.toggle("given", given);
      cell.classList.toggle("unsure", !given && sure < 0.9);
      cell.classList.toggle("bad", bad.has(i));
      cell.classList.toggle("changed", Boolean(frame) && !frame.answer && digits[i] !== before[i]);
      cell.style.setProperty("--sure", sure);
      this.#label(cell, i, digits[i], [given && "given", bad.has(i) && "in conflict", sure < 0.9 && "unsure"]);
    });
    this.board.root.classList.toggle("done", Boolean(frame?.answer && frame.verified));
    this.shown = digits;
  }

  #label(cell, i, digit, notes) {
    const words = [`row ${Math.floor(i / 9) + 1} column ${(i % 9) + 1}`, digit || "blank", ...notes.filter(Boolean)];
    cell.setAttribute("aria-label", words.join(", "));
  }

  // Marks where the server found the fault.
  fault({ rule, pointer }) {
    const place = /^\/puzzle\/(\d+)$/.exec(pointer ?? "");
    const cells = rule?.cells?.map(([r, c]) => (r - 1) * 9 + c - 1) ?? (place ? [Number(place[1])] : []);
    for (const i of cells) {
      this.board.cells[i]?.classList.add("bad");
      this.#label(this.board.cells[i], i, this.digits[i], ["breaks a rule"]);
    }
  }

  verdict(a) {
    return solved(a, "Solved, and every rule checked.");
  }
}
