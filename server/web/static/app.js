// The page: a grid that is typed, pasted or linked, sent to /v1/sudoku as an event stream, and
// shown step by step. No state but this module's.

const $ = (id) => document.getElementById(id);
const cells = [];
let steps = []; // what each step showed: {grid, changed, cell_confidence, confidence, ...}
let puzzle = null; // 81 numbers that the steps belong to
let running = null; // AbortController of the request

function buildGrid() {
  for (let r = 0; r < 9; r++) {
    const row = document.createElement("div");
    for (let c = 0; c < 9; c++) {
      const input = document.createElement("input");
      input.setAttribute("aria-label", `row ${r + 1} column ${c + 1}`);
      input.inputMode = "numeric";
      input.maxLength = 1;
      input.autocomplete = "off";
      input.addEventListener("input", () => typed(input));
      input.addEventListener("keydown", (e) => moved(e, r * 9 + c));
      cells.push(input);
      row.append(input);
    }
    $("grid").append(row);
  }
}

function typed(input) {
  const value = input.value.replace(/[^1-9]/g, "");
  if (steps.length) show(-1); // typing goes back to the puzzle
  input.value = value;
  input.className = input.value ? "clue" : "";
  forget();
}

function moved(e, i) {
  const by = { ArrowUp: -9, ArrowDown: 9, ArrowLeft: -1, ArrowRight: 1 }[e.key];
  if (by === undefined) return;
  e.preventDefault();
  cells[(i + by + 81) % 81].focus();
}

function readGrid() {
  return cells.map((c) => Number(c.value) || 0);
}

function setPuzzle(text) {
  const digits = [...text].map((c) => (/[1-9]/.test(c) ? Number(c) : /[.0_]/.test(c) ? 0 : -1));
  if (digits.length !== 81 || digits.includes(-1)) {
    showError(`A puzzle is 81 characters, 1 to 9 and '.', '0' or '_' for blank; this has ${digits.length}.`);
    return;
  }
  forget();
  cells.forEach((cell, i) => {
    cell.value = digits[i] || "";
    cell.className = digits[i] ? "clue" : "";
  });
}

// Results that no longer belong to what is in the grid.
function forget() {
  steps = [];
  puzzle = null;
  $("player").hidden = true;
  $("error").hidden = true;
  $("verdict").textContent = "";
  cells.forEach((c) => c.classList.remove("bad"));
  history.replaceState(null, "", "#" + readGrid().map((d) => d || ".").join(""));
}

function showError(text, problem) {
  $("error").textContent = text;
  $("error").hidden = false;
  for (const [r, c] of problem?.rule?.cells ?? []) cells[(r - 1) * 9 + c - 1].classList.add("bad");
}

// Step i of the run; -1 is the puzzle itself.
function show(i) {
  const step = steps[i];
  const changed = new Set((step?.changed ?? []).map(([r, c]) => r * 9 + c));
  cells.forEach((cell, k) => {
    const digit = step ? step.grid[Math.floor(k / 9)][k % 9] : puzzle[k];
    cell.value = digit || "";
    const sure = step ? step.cell_confidence[k] >= 0.9 : true;
    cell.className = puzzle[k] ? "clue" : [sure ? "" : "unsure", i > 0 && changed.has(k) ? "changed" : ""].join(" ").trim();
  });
  $("at").textContent = step ? `${i + 1} of ${steps.length}, attempt ${step.attempt}` : `0 of ${steps.length}`;
  $("step").max = steps.length;
  $("step").value = i + 1;
}

function verdict(a) {
  const time = `${a.steps} steps, ${a.attempts} ${a.attempts === 1 ? "attempt" : "attempts"}, ${a.timing_ms.total.toFixed(1)} ms`;
  $("verdict").className = a.verified ? "good" : "poor";
  $("verdict").textContent = a.verified
    ? `Solved, and checked.\n${time}`
    : `Not solved${a.status === "deadline" ? " within the deadline" : ""}: this is the best try so far.\n${time}`;
  steps.push({
    grid: a.grid,
    changed: [],
    attempt: a.attempts,
    cell_confidence: Array(81).fill(1),
  });
  show(steps.length - 1);
}

// Server-sent events of a POST: EventSource can only GET.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const block = text.slice(0, end);
      const name = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (name && data) yield { name, data: JSON.parse(data) };
    }
  }
}

async function solve() {
  const asked = steps.length ? puzzle : readGrid();
  if (steps.length) show(-1);
  forget();
  puzzle = asked;
  running = new AbortController();
  $("solve").disabled = true;
  $("cancel").disabled = false;
  $("verdict").className = "";
  $("verdict").textContent = "Thinking…";
  try {
    const response = await fetch("v1/sudoku", {
      method: "POST",
      signal: running.signal,
      headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
      body: JSON.stringify({ puzzle: asked.map((d) => d || ".").join("") }),
    });
    if (!response.ok) {
      const problem = await response.json();
      $("verdict").textContent = "";
      showError(problem.detail, problem);
      return;
    }
    $("player").hidden = false;
    for await (const { name, data } of events(response.body)) {
      if (name === "done") {
        verdict(data);
      } else {
        steps.push(data);
        show(steps.length - 1);
      }
    }
  } catch (e) {
    $("verdict").textContent = e.name === "AbortError" ? "Cancelled." : "";
    if (e.name !== "AbortError") showError("The server cannot be reached.");
  } finally {
    running = null;
    $("solve").disabled = false;
    $("cancel").disabled = true;
  }
}

async function copy(text, button) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Cannot copy here";
  }
  setTimeout(() => (button.textContent = label), 1500);
}

function currentPuzzle() {
  return (puzzle ?? readGrid()).map((d) => d || ".").join("");
}

async function showModel() {
  try {
    const { models } = await (await fetch("v1/models")).json();
    const m = models.find((x) => x.kind === "sudoku");
    $("solve").disabled = !m;
    $("model").textContent = m
      ? `Model ${m.name}: ${m.parameters.toLocaleString("en")} parameters, ${m.backend}.`
      : "This server has no Sudoku model.";
  } catch {
    $("model").textContent = "";
  }
}

buildGrid();
$("solve").addEventListener("click", solve);
$("cancel").addEventListener("click", () => running?.abort());
$("clear").addEventListener("click", () => setPuzzle(".".repeat(81)));
$("example").addEventListener("change", (e) => e.target.value && setPuzzle(e.target.value));
$("paste").addEventListener("input", (e) => {
  const text = e.target.value.replace(/\s/g, "");
  if (text.length >= 81) setPuzzle(text);
});
$("step").addEventListener("input", (e) => show(Number(e.target.value) - 1));
$("back").addEventListener("click", () => show(Math.max(-1, Number($("step").value) - 2)));
$("forward").addEventListener("click", () => show(Math.min(steps.length - 1, Number($("step").value))));
$("link").addEventListener("click", (e) => copy(location.href.split("#")[0] + "#" + currentPuzzle(), e.target));
$("curl").addEventListener("click", (e) =>
  copy(
    `curl -s ${new URL("v1/sudoku", location.href)} -H 'Content-Type: application/json' -d '{"puzzle": "${currentPuzzle()}"}'`,
    e.target,
  ),
);
setPuzzle(/^#[1-9.]{81}$/.test(location.hash) ? location.hash.slice(1) : $("example").options[1].value);
showModel();
