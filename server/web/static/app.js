// Puts the page together: which kind is open, what is asked, how it went. The kinds know their
// puzzles, the player knows the steps, this module knows the run.

import { apiKey, curl, models, Problem, setApiKey, solve } from "./api.js";
import { Arc } from "./arc.js";
import { $, announce, count, duration, h } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { Maze } from "./maze.js";
import { Options } from "./options.js";
import { Player } from "./player.js";
import { Sudoku } from "./sudoku.js";

const player = new Player();
const options = new Options();
const kinds = Object.fromEntries([new Sudoku(edited), new Maze(edited), new Arc(edited)].map((k) => [k.id, k]));
let kind = kinds.sudoku;
let running = null; // AbortController of the request
let loaded = null; // the daemon's models, null while it has not told

const setState = (state) => (document.body.dataset.state = state);

// The puzzle in the grid changed: what is on show of an older one goes.
function edited(more = false) {
  forget();
  kind.show(null);
  if (!more) keepLink();
  if (document.activeElement !== $("text")) $("text").value = kind.text();
}

function forget() {
  running?.abort();
  player.clear();
  $("verdict").replaceChildren();
  setState("edit");
  showFault(null);
}

function keepLink() {
  history.replaceState(null, "", `#${kind.id}/${kind.link()}`);
}

function showFault(problem) {
  $("fault").hidden = !problem;
  $("text-error").textContent = "";
  $("text").removeAttribute("aria-invalid");
  options.fault(null);
  $("key-form").hidden = problem?.status !== 401 && !apiKey();
  if (!problem) return;
  const wait = problem.retry_after ? ` Try again in ${count(problem.retry_after, "second")}.` : "";
  $("fault").textContent = (problem.detail || problem.title) + wait;
  if (options.fault(problem)) $("fault").hidden = true;
  else kind.fault(problem);
  if (problem.status === 401) $("key").focus();
}

function setPuzzle(text) {
  try {
    kind.set(text);
    edited();
    return true;
  } catch (e) {
    forget();
    $("text-error").textContent = e.message;
    $("text").setAttribute("aria-invalid", "true");
    $("text").value = text;
    $("as-text").open = true;
    return false;
  }
}

async function run() {
  const k = kind;
  forget();
  k.show(null);
  keepLink();
  running = new AbortController();
  const { signal } = running;
  setState("busy");
  announce("Thinking");
  try {
    for await (const { name, data } of solve(k.id, { ...k.body(), ...options.body() }, signal)) {
      if (signal.aborted) break;
      if (name === "step" || name === "progress") {
        if (!player.frames.length) begin(k);
        player.add(k.frame(data));
      } else if (name === "done") {
        if (!player.frames.length) begin(k);
        ended = () => verdict(k, data);
        setState("shown");
        player.finish(k.answer(data));
      }
    }
  } catch (e) {
    if (signal.aborted) return;
    player.clear();
    setState("edit");
    if (!(e instanceof Problem)) throw e;
    showFault(e.details);
  } finally {
    if (running?.signal === signal) running = null;
  }
}

let ended = () => {};

function begin(k) {
  player.begin({ show: (f) => k.show(f), describe: (f) => k.describe(f), ended: () => ended() });
}

function cancel() {
  if (!running) return;
  running.abort();
  running = null;
  setState("edit");
  if (player.frames.length) player.halt();
  tell("poor", "Cancelled.", ["what was found until then can be stepped through"]);
}

function tell(mood, title, facts) {
  $("verdict").dataset.mood = mood;
  $("verdict").replaceChildren(h("strong", {}, title), h("span", {}, facts.join(" · ")));
  announce(title + " " + facts.join(", "));
}

function verdict(k, a) {
  const { good, title, facts } = k.verdict(a);
  tell(good ? "good" : "poor", title, [...facts, duration(a.timing_ms.total)]);
}

// Whether a model serves this kind, or why none does.
function showModel() {
  if (!loaded) return;
  for (const link of document.querySelectorAll("#kinds a"))
    link.classList.toggle("missing", !loaded.some((m) => m.kind === link.hash.slice(1)));
  const mine = loaded.filter((m) => m.kind === kind.id);
  options.offer(kind, mine);
  $("solve").disabled = !mine.length;
  $("missing").hidden = mine.length > 0;
  $("missing").textContent = `This server has no ${kind.title.toLowerCase()} model loaded, so it cannot solve this one. Start trmd with --model FILE; trm train makes one.`;
  $("model").textContent = mine.map((m) => `${m.name}: ${m.parameters.toLocaleString("en")} parameters on ${m.backend}`).join("; ");
}

async function askModels() {
  try {
    loaded = await models();
    showModel();
  } catch (e) {
    if (!(e instanceof Problem)) throw e;
    showFault(e.details);
  }
}

function fillExamples(name, list) {
  const group = h("optgroup", { label: name }, ...list.map(([label, value]) => h("option", { value }, label)));
  $("example").append(group);
}

// A broken "%" is left for the puzzle's reader to name.
function fragment() {
  try {
    return decodeURIComponent(location.hash);
  } catch {
    return location.hash;
  }
}

// #KIND or #KIND/PUZZLE
function route() {
  const [, id, puzzle] = /^#?([^/]*)\/?(.*)$/s.exec(fragment());
  const next = kinds[id] ?? kinds.sudoku;
  if (next !== kind) forget();
  kind = next;
  document.title = `${kind.title}: trmd`;
  $("title").textContent = kind.title;
  $("tagline").textContent = kind.tagline;
  $("text-hint").textContent = kind.textHint;
  for (const area of document.querySelectorAll("[data-kind]")) area.hidden = area.dataset.kind !== kind.id;
  for (const link of document.querySelectorAll("#kinds a")) {
    if (link.hash === `#${kind.id}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  $("example").replaceChildren(h("option", { value: "" }, "Choose…"));
  fillExamples("Examples", EXAMPLES[kind.id]);
  showModel();
  openPuzzle(puzzle);
}

function openPuzzle(puzzle) {
  try {
    if (puzzle) kind.fromLink(puzzle);
    else if (!kind.touched) kind.fromLink(EXAMPLES[kind.id][0][1]);
    kind.touched = true;
    edited();
  } catch (e) {
    edited();
    showFault({ detail: `The link's puzzle cannot be read. ${e.message}` });
  }
}

// A file or a clipboard may hold many: the first is opened, all can be chosen.
function open(text, from) {
  const found = kind.puzzlesIn(text);
  if (found.length > 1) {
    [...$("example").querySelectorAll("optgroup")].slice(1).forEach((g) => g.remove());
    const list = found.slice(0, 500).map(([name, p], i) => [name || `${from}, puzzle ${i + 1}`, p]);
    fillExamples(from, list);
    $("example").value = found[0][1];
  }
  if (setPuzzle(found[0][1])) announce(`${count(found.length, "puzzle")} from ${from}`);
}

async function openFile(file) {
  if (file) open(await file.text(), file.name);
}

async function copy(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Without a secure context there is no clipboard: show it, selected.
    $("copy-out").hidden = false;
    $("copy-out").value = text;
    $("copy-out").select();
    button.textContent = "Below";
  }
  announce(button.textContent);
  setTimeout(() => (button.textContent = label), 1500);
}

const inField = (e) => e.target.matches("input, textarea, select");

$("solve").addEventListener("click", run);
$("cancel").addEventListener("click", cancel);
$("clear").addEventListener("click", () => {
  kind.clear();
  edited();
});
$("example").addEventListener("change", (e) => {
  if (!e.target.value) return;
  if (EXAMPLES[kind.id].some(([, p]) => p === e.target.value)) openPuzzle(e.target.value);
  else setPuzzle(e.target.value);
});
$("text").addEventListener("input", (e) => open(e.target.value, "the text"));
$("file").addEventListener("change", async (e) => {
  await openFile(e.target.files[0]);
  e.target.value = "";
});
$("link").addEventListener("click", (e) => copy(location.href, e.target));
$("curl").addEventListener("click", (e) => copy(curl(kind.id, { ...kind.body(), ...options.body() }), e.target));
$("key-form").addEventListener("submit", (e) => {
  e.preventDefault();
  setApiKey($("key").value.trim());
  showFault(null);
  askModels();
});
document.addEventListener("paste", (e) => {
  if (inField(e)) return;
  e.preventDefault();
  const [file] = e.clipboardData.files;
  if (file) openFile(file);
  else open(e.clipboardData.getData("text"), "the clipboard");
});
document.addEventListener("dragover", (e) => e.preventDefault());
document.addEventListener("drop", (e) => {
  e.preventDefault();
  openFile(e.dataTransfer.files[0]);
});
addEventListener("hashchange", route);

route();
askModels();
