// The page as a person uses it, against a real daemon with the shipped model.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

const NEWSPAPER = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79";
const SOLUTION = "534678912672195348198342567859761423426853791713924856961537284287419635345286179";
const EXTREME = ".9.7..1....4.8..2.5....3.....3.7..9..7.6..3..2....5.....64....19...6..8..2...76..";
const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"];
let daemon, browser, url;

before(async () => {
  daemon = spawn(process.env.TEST_TRMD, ["--port", "0"], { stdio: ["ignore", "pipe", "ignore"] });
  const [line] = await once(createInterface({ input: daemon.stdout }), "line");
  url = line.replace("listening on ", "");
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ARGS });
});

after(async () => {
  await browser?.close();
  daemon.kill("SIGTERM");
  const [code] = await once(daemon, "exit");
  assert.equal(code, 0);
});

async function open(options = {}, fragment = "") {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (e) => errors.push(e.message));
  page.on("console", (m) => m.text().includes("Content Security Policy") && errors.push(m.text()));
  await page.goto(url + "/" + fragment);
  return { page, errors, close: () => context.close() };
}

const grid = (page) => page.locator("#grid input").evaluateAll((cells) => cells.map((c) => c.value || ".").join(""));
const verdict = (page) => page.waitForFunction(() => /olved/.test(document.querySelector("#verdict").textContent));

test("a puzzle is solved step by step and can be stepped through", async () => {
  const { page, errors, close } = await open();
  assert.equal(await grid(page), NEWSPAPER);
  await page.click("#solve");
  await verdict(page);
  assert.match(await page.textContent("#verdict"), /Solved, and checked/);
  assert.equal(await grid(page), SOLUTION);
  await page.locator("#step").focus();
  await page.keyboard.press("Home");
  assert.equal(await grid(page), NEWSPAPER);
  await page.click("#forward");
  assert.notEqual(await grid(page), NEWSPAPER);
  assert.deepEqual(errors, []);
  await close();
});

test("steps arrive while the daemon is still thinking", async () => {
  const { page, close } = await open();
  const sizes = page.evaluate(async (puzzle) => {
    const r = await fetch("v1/sudoku", { method: "POST", headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
      body: JSON.stringify({ puzzle, halt: "fixed", max_steps: 200, attempts: 1 }) });
    const reader = r.body.getReader();
    const times = [];
    for (let chunk; !(chunk = await reader.read()).done;) times.push(performance.now());
    return times;
  }, NEWSPAPER);
  const times = await sizes;
  assert.ok(times.length > 20, `${times.length} pieces`);
  assert.ok(times.at(-1) - times[0] > 50);
  await close();
});

test("a contradiction is marked where it is", async () => {
  const { page, close } = await open();
  await page.locator("#grid input").nth(1).fill("5");
  await page.click("#solve");
  await page.waitForSelector("#error:not([hidden])");
  assert.equal(await page.textContent("#error"), "row 1 has two 5s, in columns 1 and 2");
  assert.deepEqual(await page.locator("#grid input").evaluateAll((c) => c.flatMap((x, i) => x.classList.contains("bad") ? [i] : [])), [0, 1]);
  await close();
});

test("a running request can be cancelled", async () => {
  const { page, close } = await open({}, "#" + EXTREME);
  await page.click("#solve");
  await page.click("#cancel");
  await page.waitForFunction(() => /Cancelled|olved/.test(document.querySelector("#verdict").textContent));
  assert.ok(await page.locator("#solve").isEnabled());
  await close();
});

test("the keyboard moves and types, and the link holds the puzzle", async () => {
  const { page, close } = await open();
  await page.click("#clear");
  await page.locator("#grid input").first().focus();
  for (const key of ["7", "ArrowRight", "x", "8", "ArrowDown", "9"]) await page.keyboard.press(key);
  const text = await grid(page);
  assert.equal(text.slice(0, 2) + text[10], "789");
  assert.equal(new URL(page.url()).hash, "#" + text);
  const other = await open({}, "#" + text);
  assert.equal(await grid(other.page), text);
  await other.close();
  await close();
});

for (const [name, options] of Object.entries({
  desktop: {},
  "phone in the dark": { viewport: { width: 360, height: 740 }, colorScheme: "dark", hasTouch: true },
})) {
  test(`nothing for axe to complain about, and nothing too wide: ${name}`, async () => {
    const { page, close } = await open(options);
    await page.click("#solve");
    await verdict(page);
    const { violations } = await new AxeBuilder({ page }).analyze();
    assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(" ")}`), []);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await close();
  });
}
