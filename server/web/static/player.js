// Steps of a run: collects them as they arrive, shows them at a pace an eye can follow, and
// lets one walk back and forth through them. Steps of one attempt stay together.

import { $, count, still, svg } from "./dom.js";

const CALM = 160; // ms a step is shown when there is no hurry
const LAG = 1200; // ms that the show may be behind the daemon
const MOST = 5000; // steps kept; a longer run is shown as far as that
const BARS = 48; // height of the strip in its own units

export class Player {
  // show(frame): draws a step, null is the puzzle. describe(frame): {value 0..1, text}.
  // ended(): the show has reached the answer.
  constructor() {
    this.frames = [];
    $("step").addEventListener("input", (e) => this.#walk(Number(e.target.value)));
    $("back").addEventListener("click", () => this.#walk(this.index - 1));
    $("forward").addEventListener("click", () => this.#walk(this.index + 1));
    $("play").addEventListener("click", () => (this.timer ? this.#walk(this.index) : this.#replay()));
    $("strip").addEventListener("click", (e) => {
      const box = $("strip").getBoundingClientRect();
      this.#walk(Math.ceil(((e.clientX - box.left) / box.width) * this.frames.length));
    });
  }

  begin({ show, describe, ended }) {
    Object.assign(this, { show, describe, ended });
    this.clear();
    $("player").hidden = false;
    this.following = true;
    this.#controls();
  }

  clear() {
    clearTimeout(this.timer);
    Object.assign(this, { frames: [], index: 0, timer: 0, following: false, over: false, told: false });
    $("player").hidden = true;
    $("bars").replaceChildren();
  }

  add(frame) {
    let at = this.frames.length;
    if (at >= MOST && !frame.answer) return;
    while (at > 0 && this.frames[at - 1].attempt > frame.attempt) at--;
    this.frames.splice(at, 0, frame);
    frame.shown = this.describe(frame);
    frame.place = this.frames.filter((f) => f.attempt === frame.attempt).length;
    if (at < this.index) this.index++; // an attempt that the show has passed
    this.#controls();
    this.#strip();
    if (this.following && !this.timer) this.#tick();
  }

  // No more steps will come. Whoever walks by hand stays where he is.
  finish(answer) {
    this.over = true;
    this.hurry = this.frames.length - this.index;
    this.add({ ...answer, answer: true, attempt: Infinity });
    if (!this.following) this.#tell();
    else if (still()) this.#arrive();
  }

  // Cancelled: what came can be walked through.
  halt() {
    this.over = this.told = true;
    this.#walk(this.index);
  }

  #arrive() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.following = false;
    this.#go(this.frames.length);
    this.#tell();
  }

  #tell() {
    if (!this.told) this.ended();
    this.told = true;
  }

  // The further the show is behind, the faster it runs; a slow browser skips steps.
  #tick() {
    const now = performance.now();
    const left = this.frames.length - this.index;
    if (left > 0) {
      if (!this.over) this.hurry = left;
      const pace = Math.min(CALM, LAG / this.hurry);
      const due = this.timer ? Math.round((now - this.shownAt) / pace) : 1;
      this.shownAt = now;
      this.timer = setTimeout(() => this.#tick(), still() ? 250 : Math.max(16, pace));
      this.#go(this.index + Math.max(1, due));
    } else if (this.over) {
      this.#arrive();
    } else {
      this.timer = 0;
      this.#controls();
    }
  }

  // By hand: the show stops, and the verdict need not wait for it.
  #walk(to) {
    clearTimeout(this.timer);
    Object.assign(this, { timer: 0, following: !this.over && to >= this.frames.length });
    this.#go(Math.max(0, Math.min(this.frames.length, to)));
    if (this.over) this.#tell();
  }

  #replay() {
    this.following = true;
    if (this.index === this.frames.length) this.#go(0);
    this.hurry = (this.frames.length - this.index) / 4;
    this.#tick();
  }

  #go(index) {
    this.index = Math.min(index, this.frames.length);
    const frame = this.frames[this.index - 1] ?? null;
    this.show(frame);
    this.#controls();
    $("strip-now").setAttribute("x", Math.max(0, this.index - 1));
  }

  #controls() {
    const frame = this.frames[this.index - 1];
    const n = this.frames.length;
    const place = !frame ? "The puzzle" : frame.answer ? "The answer" : frame.shown.title ?? `Step ${frame.place} of attempt ${frame.attempt}`;
    $("place").textContent = place;
    $("detail").textContent = frame?.shown.text ?? count(n, "step");
    const step = $("step");
    Object.assign(step, { max: n, value: this.index });
    step.setAttribute("aria-valuetext", `${place}, ${this.index} of ${n}`);
    $("back").disabled = this.index === 0;
    $("forward").disabled = this.index === n;
    $("play").setAttribute("aria-label", this.timer ? "Pause" : "Play the steps");
    $("play").dataset.playing = Boolean(this.timer);
  }

  // One bar a step, as high as the step is good; attempts take turns in shade.
  #strip() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      const n = Math.max(this.frames.length, 16);
      const paths = [[], [], []];
      this.frames.forEach((f, i) => {
        const height = (0.06 + 0.94 * f.shown.value) * BARS;
        paths[f.answer ? 2 : f.attempt % 2].push(`M${i + 0.1} ${BARS}h.8v${-height.toFixed(1)}h-.8z`);
      });
      $("strip").setAttribute("viewBox", `0 0 ${n} ${BARS}`);
      $("bars").replaceChildren(...paths.map((p, i) => svg("path", { class: `bars-${i}`, d: p.join("") })), this.#line());
      $("strip-now").setAttribute("x", Math.max(0, this.index - 1));
    });
  }

  // A second figure of the steps, where they have one.
  #line() {
    const marks = this.frames.flatMap((f, i) => (f.shown.mark === undefined ? [] : [`${i + 0.5} ${((1 - f.shown.mark) * (BARS - 4) + 2).toFixed(1)}`]));
    return svg("path", { class: "marks", d: marks.length > 1 ? `M${marks.join("L")}` : "" });
  }
}
