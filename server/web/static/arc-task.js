// An ARC task as data: from JSON, to JSON, in and out of links. Pairs of a test may know their
// output; it is never sent.

import { blank, check } from "./arc-grid.js";

function pairs(list, name, needsOutput) {
  if (!Array.isArray(list) || !list.length) throw new Error(`“${name}” must be a list of at least one pair of grids.`);
  return list.map((pair, i) => {
    check(pair?.input, `${name} ${i + 1}, input`);
    if (needsOutput || pair.output) check(pair.output, `${name} ${i + 1}, output`);
    return { input: pair.input, ...(pair.output ? { output: pair.output } : {}) };
  });
}

export const empty = () => ({ train: [{ input: blank(3, 3), output: blank(3, 3) }], test: [{ input: blank(3, 3) }] });

export function parse(text) {
  let task;
  try {
    task = JSON.parse(text);
  } catch (e) {
    throw new Error(`This is not JSON: ${e.message}.`);
  }
  return { train: pairs(task?.train, "train", true), test: pairs(task?.test, "test", false) };
}

// One row of a grid a line.
export function format(task) {
  const grid = (g) => `[${g.map((r) => JSON.stringify(r)).join(",\n   ")}]`;
  const pair = (p) => `{"input":\n   ${grid(p.input)}${p.output ? `,\n  "output":\n   ${grid(p.output)}` : ""}}`;
  return `{"train": [\n  ${task.train.map(pair).join(",\n  ")}],\n "test": [\n  ${task.test.map(pair).join(",\n  ")}]}`;
}

// A file: one task, or {"NAME": task, ...} as the ARC Prize gives them: [[name, text], ...].
export function tasksIn(text) {
  let all;
  try {
    all = JSON.parse(text);
  } catch {
    return [["", text]]; // parse() says what is wrong
  }
  if (all?.train || typeof all !== "object" || !all) return [["", text]];
  const named = Object.entries(all).filter(([, task]) => task?.train);
  return named.length ? named.map(([name, task]) => [name, JSON.stringify(task)]) : [["", text]];
}

// In links: digits, rows end in ".", an output follows its input after "-", pairs are joined by
// "_"; a pair without output is a test.
export function link(task) {
  const rows = (grid) => grid.map((r) => r.join("")).join(".");
  return [...task.train.map((p) => `${rows(p.input)}-${rows(p.output)}`), ...task.test.map((p) => rows(p.input))].join("_");
}

export function fromLink(text) {
  const grid = (s) => s.split(".").map((r) => [...r].map(Number));
  const all = text.split("_").map((p) => p.split("-").map(grid));
  const made = { train: [], test: [] };
  for (const [input, output] of all) made[output ? "train" : "test"].push(output ? { input, output } : { input });
  return { train: pairs(made.train, "train", true), test: pairs(made.test, "test", false) };
}
