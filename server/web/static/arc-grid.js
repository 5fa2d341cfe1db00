// ARC grids: arrays of rows of colours 0 to 9, how they are drawn small, and their names.

import { h } from "./dom.js";

export const SIDE = 30;
export const COLOURS = ["black", "blue", "red", "green", "yellow", "grey", "magenta", "orange", "cyan", "maroon"];
const RGB = ["#000000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00", "#aaaaaa", "#f012be", "#ff851b", "#7fdbff", "#870c25"];

export const blank = (rows, cols) => Array.from({ length: rows }, () => Array(cols).fill(0));
export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
export const sizeOf = (grid) => `${grid.length} by ${grid[0].length}`;

// Throws a sentence that begins with `where`.
export function check(grid, where) {
  const rows = Array.isArray(grid) ? grid.length : 0;
  const cols = Array.isArray(grid?.[0]) ? grid[0].length : 0;
  if (!rows || !cols || rows > SIDE || cols > SIDE) throw new Error(`${where} must be rows of colours, 1 by 1 to ${SIDE} by ${SIDE}.`);
  grid.forEach((row, r) => {
    if (row.length !== cols) throw new Error(`${where}: row ${r + 1} has ${row.length} cells, the first has ${cols}.`);
    const odd = row.findIndex((c) => !Number.isInteger(c) || c < 0 || c > 9);
    if (odd >= 0) throw new Error(`${where}: row ${r + 1}, column ${odd + 1} is not a colour from 0 to 9.`);
  });
}

// One pixel a cell, scaled up by the style sheet.
export function picture(grid) {
  const [rows, cols] = [grid.length, grid[0].length];
  const canvas = h("canvas", { width: cols, height: rows, "aria-hidden": "true" });
  const paint = canvas.getContext("2d");
  grid.forEach((row, r) =>
    row.forEach((colour, c) => {
      paint.fillStyle = RGB[colour];
      paint.fillRect(c, r, 1, 1);
    }));
  const frame = h("span", { class: "thumb" }, canvas);
  for (const [name, value] of [["--rows", rows], ["--cols", cols], ["--most", Math.max(rows, cols)]]) frame.style.setProperty(name, value);
  return frame;
}
