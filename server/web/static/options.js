// The request's options, and the server's complaints about them beside their fields.

import { $, h } from "./dom.js";

const NUMBERS = ["deadline_ms", "max_steps", "attempts"];
const CHOICES = ["halt", "model"];

export class Options {
  constructor() {
    for (const name of [...NUMBERS, ...CHOICES])
      $(`option-${name}`).addEventListener("input", () => this.fault(null));
  }

  // Only what was set: the server has its own defaults.
  body() {
    const all = [...NUMBERS.map((n) => [n, Number($(`option-${n}`).value)]), ...CHOICES.map((n) => [n, $(`option-${n}`).value])];
    return Object.fromEntries(all.filter(([name, value]) => value && this.#offered(name)));
  }

  #offered(name) {
    return !this.kind?.options || this.kind.options.includes(name);
  }

  // The options that this kind of puzzle has, and the models there are for it.
  offer(kind, list) {
    this.kind = kind;
    for (const name of [...NUMBERS, ...CHOICES]) $(`option-${name}`).closest("div").hidden = !this.#offered(name);
    $("option-deadline_ms").placeholder = kind.deadline ?? 10000;
    $("option-model").replaceChildren(h("option", { value: "" }, "the default"), ...list.map((m) => h("option", { value: m.name }, m.name)));
    $("option-model").closest("div").hidden = list.length < 2;
  }

  // Shows the problem at the field it points to; false if it points elsewhere.
  fault(problem) {
    const at = problem?.pointer?.slice(1);
    for (const name of [...NUMBERS, ...CHOICES]) {
      const here = name === at;
      $(`error-${name}`).textContent = here ? problem.detail : "";
      if (here) $(`option-${name}`).setAttribute("aria-invalid", "true");
      else $(`option-${name}`).removeAttribute("aria-invalid");
    }
    const found = [...NUMBERS, ...CHOICES].includes(at);
    if (found) {
      $("options").open = true;
      $(`option-${at}`).focus();
    }
    return found;
  }
}
