// ARC: the task's pairs on show, one of them open for drawing, what training looks like, and the
// two answers to each test.

import { ArcEditor } from "./arc-editor.js";
import { blank, picture, same, sizeOf } from "./arc-grid.js";
import { empty, format, fromLink, link, parse, tasksIn } from "./arc-task.js";
import { $, count, h } from "./dom.js";

const NAMES = { train: "Demonstration", test: "Test" };

function facts({ steps, loss, demonstrations, held_out, votes, predictions }) {
  return [
    count(steps, "training step"),
    `loss ${loss.toPrecision(2)}`,
    `${demonstrations.reproduced} of ${count(demonstrations.given, "demonstration")} reproduced`,
    ...(held_out.tried ? [`${held_out.right} of ${held_out.tried} it was not shown`] : []),
    ...(predictions.done ? [`${count(votes, "vote")} of ${predictions.wanted}`] : []),
  ];
}

export class Arc {
  id = "arc";
  options = ["deadline_ms", "model"];
  deadline = 60000;
  title = "ARC";
  tagline = "Demonstrate a rule on a few grids. A copy of the network trains on them, here and now, then answers the test by vote: no checker can prove such an answer.";
  textHint = "the task as JSON: “train” has pairs of “input” and “output”, “test” has inputs";

  constructor(edited) {
    this.edited = edited;
    this.task = empty();
    this.open = { list: "train", at: 0, side: "input" };
    this.editor = new ArcEditor((grid, more) => {
      this.#pair()[this.open.side] = grid;
      if (this.open.list === "test") delete this.#pair().output; // was the answer to another input
      this.edited(more);
    });
    $("arc-add-train").addEventListener("click", () => this.#add("train"));
    $("arc-add-test").addEventListener("click", () => this.#add("test"));
    $("arc-remove").addEventListener("click", () => this.#remove());
    $("arc-copy").addEventListener("click", () => {
      this.#pair().output = structuredClone(this.#pair().input);
      this.edited();
    });
    this.show(null);
  }

  #pair() {
    return this.task[this.open.list][this.open.at];
  }

  #add(list) {
    const { input } = this.task[list].at(-1);
    const pair = { input: blank(input.length, input[0].length) };
    if (list === "train") pair.output = structuredClone(pair.input);
    this.task[list].push(pair);
    this.open = { list, at: this.task[list].length - 1, side: "input" };
    this.edited();
  }

  #remove() {
    const list = this.task[this.open.list];
    list.splice(this.open.at, 1);
    this.open = { ...this.open, at: Math.max(0, this.open.at - 1), side: "input" };
    this.edited();
  }

  text() {
    return format(this.task);
  }

  set(text) {
    this.task = parse(text);
    this.open = { list: "train", at: 0, side: "input" };
  }

  clear() {
    this.task = empty();
    this.open = { list: "train", at: 0, side: "input" };
  }

  // What the test's outputs are, where the task knows them, stays here.
  body() {
    return { train: this.task.train, test: this.task.test.map(({ input }) => ({ input })) };
  }

  puzzlesIn(text) {
    return tasksIn(text);
  }

  link() {
    return link(this.task);
  }

  fromLink(text) {
    this.task = fromLink(text);
    this.open = { list: "train", at: 0, side: "input" };
  }

  frame(data) {
    return { ...data, attempt: 1 };
  }

  answer(data) {
    return data;
  }

  // Bars: the loss, against the first one told. Line: demonstrations that come out right.
  describe(frame) {
    if (!frame.answer) {
      this.firstLoss ||= frame.loss;
      this.last = { value: Math.min(1, frame.loss / (this.firstLoss || 1)), mark: frame.demonstrations.reproduced / frame.demonstrations.given };
    }
    return { value: 0, mark: 0, ...this.last, title: frame.answer ? undefined : frame.phase === "training" ? "Training" : "Voting", text: facts(frame).join(" · ") };
  }

  show(frame) {
    this.shown = frame;
    if (!frame) this.firstLoss = undefined;
    for (const list of ["train", "test"]) {
      const cards = this.task[list].map((pair, at) => this.#card(list, at, pair, frame?.tests?.[at]));
      $(`arc-${list}`).replaceChildren(...cards);
    }
    const { list, at, side } = this.open;
    this.editor.open(this.#pair()[side], this.#name(list, at, side));
    $("arc-copy").hidden = side !== "output";
    $("arc-remove").disabled = this.task[list].length < 2;
    $("arc-remove").textContent = `Remove ${NAMES[list].toLowerCase()} ${at + 1}`;
  }

  #name(list, at, side) {
    return `${NAMES[list]} ${at + 1}, ${side}`;
  }

  #thumb(list, at, side, grid) {
    const here = this.open.list === list && this.open.at === at && this.open.side === side;
    const choose = () => {
      this.open = { list, at, side };
      this.show(this.shown);
      $("arc-board").scrollIntoView({ block: "nearest" });
      this.editor.board.focus(0);
    };
    return h("button", { type: "button", class: "pick", "aria-pressed": String(here), "aria-label": `${this.#name(list, at, side)}, ${sizeOf(grid)}: draw`, onclick: choose }, picture(grid));
  }

  #card(list, at, pair, answers) {
    const known = list === "test" ? pair.output : undefined;
    const right = list === "train" ? [this.#thumb(list, at, "output", pair.output)] : this.#answers(answers, known);
    return h("li", { class: "pair" }, this.#thumb(list, at, "input", pair.input), h("span", { class: "arrow", "aria-hidden": "true" }, "→"), ...right);
  }

  // Two attempts count, as in the ARC Prize.
  #answers(answers, known) {
    const attempts = (answers?.attempts ?? []).filter((a) => a.votes);
    if (!attempts.length) return [h("span", { class: "unknown" }, "?")];
    return attempts.map((a, i) => {
      const right = known && same(a.grid, known);
      const words = `${i ? "2nd" : "1st"}: ${Math.round(a.share * 100)}% of votes${right ? ", right" : ""}`;
      return h("figure", { class: right ? "answer right" : "answer" }, picture(a.grid), h("figcaption", {}, words));
    });
  }

  fault({ pointer }) {
    const place = /^\/(train|test)\/(\d+)\/(input|output)(?:\/(\d+))?(?:\/(\d+))?/.exec(pointer ?? "");
    const [, list, at, side, row, col] = place ?? [];
    if (!place || !this.task[list][at]?.[side]) return;
    this.open = { list, at: Number(at), side };
    this.show(null);
    if (row !== undefined) this.editor.mark(Number(row), col === undefined ? undefined : Number(col));
  }

  // Nothing can check an answer but the task's own, where it is known.
  verdict(a) {
    const known = this.task.test.every((t) => t.output);
    const right = known && this.task.test.every((t, i) => a.tests[i].attempts.some((x) => x.votes && same(x.grid, t.output)));
    const { given, reproduced } = a.demonstrations;
    const title = right ? "Right: the task’s own answer is among the two."
      : known ? "Wrong: the task’s own answer is another."
      : reproduced === given ? "Answered by vote; every demonstration comes out right."
      : `Answered by vote, but ${given - reproduced} of ${count(given, "demonstration")} not learned.`;
    return { good: right || (!known && reproduced === given), title, facts: [count(a.steps, "training step"), count(a.votes, "vote")] };
  }
}
