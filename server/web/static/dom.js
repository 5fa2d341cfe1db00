// Small helpers to build elements and to speak to screen readers. No state.

export const $ = (id) => document.getElementById(id);

// h("p", {class: "x", onclick: f}, "text", child): an element. Names that begin with "on" are
// listeners, "class" and those with a dash are attributes, the rest are properties.
export function h(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else if (name === "class" || name === "role" || name.includes("-")) e.setAttribute(name, value);
    else e[name] = value;
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

export function svg(tag, attributes = {}, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

// Says it politely to a screen reader, also when it said the same before.
export function announce(text) {
  const live = $("announce");
  live.textContent = "";
  requestAnimationFrame(() => (live.textContent = text));
}

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export const count = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

export function duration(ms) {
  if (ms < 1000) return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
  return ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60000)} min ${Math.round((ms % 60000) / 1000)} s`;
}

// The verdict on a puzzle that a checker has looked at.
export function solved(a, title) {
  const late = a.status === "deadline" ? "Not solved in time" : "Not solved";
  return {
    good: a.verified,
    title: a.verified ? title : `${late}: this is the best try.`,
    facts: [count(a.steps, "step"), count(a.attempts, "attempt")],
  };
}
