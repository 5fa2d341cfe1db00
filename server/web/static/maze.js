// Mazes: drawing, what a step looks like, and what a text or a file holds.

import { Board } from "./board.js";
import { $, count, solved, svg } from "./dom.js";
import { carve } from "./maze-maker.js";

const NAMES = { "#": "wall", " ": "open", S: "start", G: "goal", o: "path" };
const SIDE = 30;

// Rows of equal length; "." is open too. 900 characters in one line are 30x30.
function rowsOf(text) {
  const flat = text.replace(/\r/g, "").replace(/\n+$/, "");
  const rows = flat.length === 900 && !flat.includes("\n") ? flat.match(/.{30}/gs) : flat.split("\n");
  const clean = rows.map((r) => r.replaceAll(".", " "));
  clean.forEach((row, r) => {
    const odd = [...row].findIndex((c) => !"# SG".includes(c));
    if (odd >= 0) throw new Error(`Row ${r + 1}, column ${odd + 1} is “${[...row][odd]}”: a maze has “#”, space or “.”, “S” and “G”.`);
    if (row.length !== clean[0].length) throw new Error(`Row ${r + 1} has ${row.length} cells, the first has ${clean[0].length}.`);
  });
  if (!clean[0].length) throw new Error("The maze is empty.");
  if (clean.length > SIDE || clean[0].length > SIDE) throw new Error(`This maze has ${clean.length} rows of ${clean[0].length}; at most ${SIDE} by ${SIDE} are possible.`);
  return clean;
}

// Cells reached from some others over cells that pass, with their distance.
function flood(cells, cols, from, passes) {
  const reached = new Map(from.map((i) => [i, 0]));
  for (const [i, far] of reached) {
    const near = [i - cols, i + cols, ...(i % cols ? [i - 1] : []), ...((i + 1) % cols ? [i + 1] : [])];
    for (const k of near) if (!reached.has(k) && cells[k] && passes(cells[k])) reached.set(k, far + 1);
  }
  return reached;
}

export class Maze {
  id = "maze";
  title = "Maze";
  tagline = "Draw walls, or take a maze. Watch the way from start to goal appear.";
  textHint = "“#” wall, space or “.” open, one “S”, one “G”; up to 30 by 30";

  constructor(edited) {
    this.edited = edited;
    this.rows = ["S ", " G"];
    this.board = new Board($("maze-board"), "Maze", {
      key: (e, i) => this.#key(e, i),
      press: (i) => this.#press(i),
      drag: (i) => this.#paint(i),
      release: () => this.edited(),
    });
    $("maze-rows").addEventListener("change", (e) => this.#resize(Number(e.target.value), this.rows[0].length));
    $("maze-cols").addEventListener("change", (e) => this.#resize(this.rows.length, Number(e.target.value)));
    $("maze-new").addEventListener("click", () => {
      this.rows = carve(this.rows.length, this.rows[0].length);
      this.edited();
    });
    this.show(null);
  }

  at(i) {
    return this.rows[Math.floor(i / this.board.cols)][i % this.board.cols];
  }

  // There is one start and one goal: the old one becomes open.
  #put(i, mark) {
    const cells = [...this.rows.join("")];
    if ("SG".includes(mark) && cells.includes(mark)) cells[cells.indexOf(mark)] = " ";
    cells[i] = mark;
    this.rows = cells.join("").match(new RegExp(`.{${this.board.cols}}`, "g"));
  }

  #tool() {
    return document.querySelector("input[name=maze-tool]:checked").value;
  }

  // The pen draws walls where it starts on floor and floor where it starts on a wall; on start
  // or goal it drags them along.
  #press(i) {
    const tool = this.#tool();
    const here = this.at(i);
    this.pen = tool !== "auto" ? tool : "SG".includes(here) ? here : here === "#" ? " " : "#";
    this.#paint(i);
  }

  #paint(i) {
    const here = this.at(i);
    if (here === this.pen || ("SG".includes(here) && !"SG".includes(this.pen))) return;
    this.#put(i, this.pen);
    this.edited(true);
  }

  #key(e, i) {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const here = this.at(i);
    const mark = { " ": here === "#" ? " " : "#", Enter: here === "#" ? " " : "#", "#": "#", ".": " ", s: "S", g: "G" }[e.key.length === 1 ? e.key.toLowerCase() : e.key];
    if (mark === undefined) return;
    e.preventDefault();
    this.#put(i, mark);
    this.edited();
    this.board.focus(i);
  }

  #resize(rows, cols) {
    const fit = (n) => Math.max(2, Math.min(SIDE, Math.round(n) || 2));
    const row = (r) => (this.rows[r] ?? "").padEnd(fit(cols), " ").slice(0, fit(cols));
    this.rows = Array.from({ length: fit(rows) }, (_, r) => row(r));
    this.edited();
  }

  text() {
    return this.rows.join("\n");
  }

  set(text) {
    this.rows = rowsOf(text);
  }

  clear() {
    const cells = this.rows.map((r) => [..." ".repeat(r.length)]);
    cells[0][0] = "S";
    cells.at(-1)[cells.at(-1).length - 1] = "G";
    this.rows = cells.map((r) => r.join(""));
  }

  body() {
    return { puzzle: this.rows };
  }

  // A file's mazes as [name, text]: one as it looks, or one a line as a CSV's second column.
  puzzlesIn(text) {
    const found = text.split(/\r?\n/).flatMap((line) => line.split(",").find((f) => /^[# .SG]{900}$/.test(f)) ?? []);
    return found.length ? found.map((p) => ["", p]) : [["", text]];
  }

  // In links rows are separated by slashes, walls are X.
  link() {
    return this.rows.map((r) => r.replaceAll("#", "X").replaceAll(" ", ".")).join("/");
  }

  fromLink(text) {
    this.set(text.replaceAll("/", "\n").replaceAll("X", "#"));
  }

  frame(data) {
    return { ...data, cells: data.grid.join(""), sure: data.cell_confidence };
  }

  answer(data) {
    return { ...data, cells: data.grid.join("") };
  }

  // A step is as good as much of the way is marked, from start and goal on without a gap.
  describe(frame) {
    const marked = [...frame.cells].filter((c) => c === "o").length;
    const ends = ["S", "G"].map((mark) => frame.cells.indexOf(mark));
    const joined = flood(frame.cells, this.board.cols, ends, (c) => c === "o").size - 2;
    this.between ??= flood(this.rows.join(""), this.board.cols, ends.slice(0, 1), (c) => c !== "#").get(ends[1]) - 1;
    const value = frame.verified ? 1 : Math.min(0.95, joined / Math.max(1, this.between));
    if (frame.answer && frame.length) return { value, text: `${count(frame.length, "move")}${frame.optimal ? ", none shorter exists" : ""}` };
    return { value, text: marked ? `${marked} marked, ${joined} joined to start or goal` : "nothing marked yet" };
  }

  show(frame) {
    const [rows, cols] = [this.rows.length, this.rows[0].length];
    const cells = frame?.cells ?? this.rows.join("");
    this.board.size(rows, cols);
    if (!frame) this.between = undefined;
    const before = this.shown?.length === cells.length ? this.shown : cells;
    this.board.cells.forEach((cell, i) => {
      const mark = cells[i];
      const name = NAMES[mark];
      const sure = frame?.sure?.[i] ?? 1;
      cell.className = `cell ${name}`;
      cell.classList.toggle("changed", Boolean(frame) && !frame.answer && mark !== before[i]);
      cell.classList.toggle("leaning", Boolean(frame?.sure) && mark === " " && sure < 0.75);
      cell.style.setProperty("--sure", sure.toFixed(2));
      cell.setAttribute("aria-label", `row ${Math.floor(i / cols) + 1} column ${(i % cols) + 1}, ${name}`);
    });
    this.board.root.setAttribute("aria-label", `Maze, ${rows} rows of ${cols} cells`);
    this.shown = cells;
    $("maze-rows").value = rows;
    $("maze-cols").value = cols;
    this.#draw(frame?.answer && frame.verified ? frame.path : []);
  }

  // The proven way, drawn as one line over the cells.
  #draw(path) {
    const [rows, cols] = [this.rows.length, this.rows[0].length];
    const over = $("maze-path");
    over.setAttribute("viewBox", `0 0 ${cols} ${rows}`);
    const points = path.map(([r, c]) => `${c + 0.5} ${r + 0.5}`);
    over.replaceChildren(...(points.length ? [svg("path", { d: `M${points.join("L")}`, pathLength: 1 })] : []));
    this.board.root.classList.toggle("done", points.length > 0);
  }

  fault({ rule, pointer }) {
    const row = /^\/puzzle\/(\d+)$/.exec(pointer ?? "");
    const { cols } = this.board;
    const cells = rule?.cells?.length
      ? rule.cells.map(([r, c]) => (r - 1) * cols + c - 1)
      : row ? Array.from({ length: cols }, (_, c) => Number(row[1]) * cols + c) : [];
    for (const i of cells) this.board.cells[i]?.classList.add("bad");
  }

  verdict(a) {
    const way = a.optimal ? "a shortest way" : "a way";
    return solved(a, `Solved: ${way}, ${count(a.length, "move")}, checked.`);
  }
}
