// Sudoku as a person uses the page, with the shipped model.
import { test } from "node:test";
import assert from "node:assert/strict";
import { bad, option, sudoku, until, use, verdict } from "./support.mjs";

const NEWSPAPER = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79";
const SOLUTION = "534678912672195348198342567859761423426853791713924856961537284287419635345286179";
const EXTREME = ".9.7..1....4.8..2.5....3.....3.7..9..7.6..3..2....5.....64....19...6..8..2...76..";
// One clue: to the shipped model, which knows no digit from another, the other eight stay alike for ever.
const ENDLESS = "5" + ".".repeat(80);
const open = use();

test("a puzzle is solved step by step and can be stepped through", async () => {
  const { page, errors, close } = await open();
  assert.equal(await sudoku(page), NEWSPAPER);
  await page.click("#solve");
  assert.equal(await verdict(page), "Solved, and every rule checked.");
  assert.equal(await sudoku(page), SOLUTION);
  assert.match(await page.textContent("#verdict span"), /^\d+ steps? · \d+ attempts? · [\d.]+ m?s$/);
  await page.locator("#step").focus();
  await page.keyboard.press("Home");
  assert.equal(await sudoku(page), NEWSPAPER);
  assert.equal(await page.textContent("#place"), "The puzzle");
  await page.click("#forward");
  assert.notEqual(await sudoku(page), NEWSPAPER);
  await page.click("#back");
  await page.click("#play");
  await until(page, () => document.querySelector("#place").textContent === "The answer");
  assert.equal(await sudoku(page), SOLUTION);
  assert.deepEqual(errors, []);
  await close();
});

test("steps are shown while the daemon is still thinking, and cancelling stops it", async () => {
  const { page, url, close } = await open(`#sudoku/${ENDLESS}`);
  await option(page, "halt", "fixed");
  for (const [name, value] of [["max_steps", "1024"], ["attempts", "64"], ["deadline_ms", "600000"]]) await option(page, name, value);
  await page.click("#solve");
  const shown = new Set();
  while (shown.size < 5) {
    await until(page, (seen) => !seen.includes(document.querySelector("#place").textContent), [...shown]);
    assert.equal(await page.getAttribute("body", "data-state"), "busy");
    shown.add(await page.textContent("#place"));
  }
  await page.click("#cancel");
  assert.equal(await verdict(page), "Cancelled.");
  assert.ok(await page.locator("#solve").isVisible());
  // The daemon heard of it too: it does not work on for the 65536 steps that were asked for.
  const inFlight = async () => Number(/^trmd_requests_in_flight (\d+)$/m.exec(await (await fetch(`${url}/metrics`)).text())[1]);
  while ((await inFlight()) > 1) await new Promise((r) => setTimeout(r, 50));
  await page.locator("#step").focus();
  for (const key of ["Home", "ArrowRight"]) await page.keyboard.press(key);
  assert.equal(await page.textContent("#place"), "Step 1 of attempt 1");
  assert.ok((await page.locator("#sudoku-board .changed").count()) > 0);
  await close();
});

test("a contradiction is marked where it is", async () => {
  const { page, close } = await open();
  await page.locator("#sudoku-board .cell").nth(1).click();
  await page.keyboard.press("5");
  await page.click("#solve");
  await page.waitForSelector("#fault:not([hidden])");
  assert.equal(await page.textContent("#fault"), "row 1 has two 5s, in columns 1 and 2");
  assert.deepEqual(await bad(page, "sudoku"), [0, 1]);
  assert.match(await page.locator("#sudoku-board .cell").nth(1).getAttribute("aria-label"), /breaks a rule/);
  await page.keyboard.press("Tab");
  await page.locator("#sudoku-board .cell").nth(1).click();
  await page.click("#digits button[aria-label=Erase]");
  assert.ok(await page.locator("#fault").isHidden());
  assert.deepEqual(await bad(page, "sudoku"), []);
  await close();
});

test("an option the server refuses is marked at its field", async () => {
  const { page, close } = await open();
  await option(page, "attempts", "100000");
  await page.click("#solve");
  await until(page, () => document.querySelector("#error-attempts").textContent);
  assert.match(await page.textContent("#error-attempts"), /must be an integer from 1 to \d+/);
  assert.equal(await page.getAttribute("#option-attempts", "aria-invalid"), "true");
  assert.ok(await page.locator("#fault").isHidden());
  await close();
});

test("all is done with the keyboard alone, and the link holds the puzzle", async () => {
  const { page, close } = await open(`#sudoku/..${NEWSPAPER.slice(2, 72)}${".".repeat(9)}`);
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute("aria-label"));
  for (let i = 0; i < 20 && !/^row 1 column 1,/.test(await focused()); i++) await page.keyboard.press("Tab");
  for (const key of ["5", "ArrowRight", "x", "3", "Control+End", "1", "Backspace", "9", "ArrowLeft", "7", "Home", "ArrowUp", "ArrowDown"]) await page.keyboard.press(key);
  for (const key of ["End", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft", "8"]) await page.keyboard.press(key);
  const text = await sudoku(page);
  assert.equal(text, NEWSPAPER);
  assert.equal(await page.evaluate(() => location.hash), `#sudoku/${text}`);
  for (let i = 0; i < 20 && (await focused()) !== "solve"; i++) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await verdict(page);
  for (let i = 0; i < 20 && (await focused()) !== "step"; i++) await page.keyboard.press("Tab");
  await page.keyboard.press("Home");
  assert.equal(await sudoku(page), text);
  const other = await open(`#sudoku/${text}`);
  assert.equal(await sudoku(other.page), text);
  await other.close();
  await close();
});

test("a puzzle is pasted, typed as text, loaded from a file, and a bad one is explained", async () => {
  const { page, close } = await open();
  await page.evaluate((text) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text", text);
    document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
  }, EXTREME.replace(/(.{9})/g, "$1\n"));
  assert.equal(await sudoku(page), EXTREME);
  await page.setInputFiles("#file", { name: "two.csv", mimeType: "text/csv", buffer: Buffer.from(`source,question,answer,rating\na,${NEWSPAPER},${SOLUTION},1\nb,${EXTREME},,2\n`) });
  await until(page, () => document.querySelector("#example optgroup[label='two.csv']"));
  assert.equal(await sudoku(page), NEWSPAPER);
  await page.selectOption("#example", { label: "two.csv, puzzle 2" });
  assert.equal(await sudoku(page), EXTREME);
  await page.click("#as-text summary");
  await page.fill("#text", "12x");
  assert.match(await page.textContent("#text-error"), /Character 3 is “x”/);
  await page.fill("#text", NEWSPAPER);
  assert.equal(await page.textContent("#text-error"), "");
  assert.equal(await sudoku(page), NEWSPAPER);
  await close();
});

test("a link with a broken percent sign opens the page all the same", async () => {
  const { page, errors, close } = await open("#sudoku/%zz");
  assert.match(await page.textContent("#fault"), /The link's puzzle cannot be read\. Character 1 is “%”/);
  assert.ok(await page.locator("#example option").count() > 1);
  assert.deepEqual(errors, []);
  await close();
});

test("the request is copied as curl and the puzzle as a link", async () => {
  const { page, url, close } = await open("", { permissions: ["clipboard-read", "clipboard-write"] });
  const copied = async (button) => {
    await page.click(button);
    await until(page, (b) => document.querySelector(b).textContent === "Copied", button);
    return page.evaluate(() => navigator.clipboard.readText());
  };
  assert.equal(await copied("#link"), `${url}/#sudoku/${NEWSPAPER}`);
  assert.equal(await copied("#curl"), `curl -s '${url}/v1/sudoku' -H 'Content-Type: application/json' -d '{"puzzle":"${NEWSPAPER}"}'`);
  await close();
});
