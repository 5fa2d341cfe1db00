// ARC as a person demonstrates a rule and watches it being learned, with the shipped trunk.
import { readFileSync } from "node:fs";
import { test } from "node:test";
import assert from "node:assert/strict";
import { option, until, use, verdict } from "./support.mjs";

const open = use();
const [FILL, MIRROR] = ["fill", "mirror"].map((name) => JSON.parse(readFileSync(`${process.env.TEST_DATA}/arc/${name}.json`, "utf8")));
const link = (page) => page.evaluate(() => location.hash);
const cell = (page, i) => page.locator("#arc-board .cell").nth(i);
const metric = async (url, name) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(await (await fetch(`${url}/metrics`)).text())[1]);
const paste = (page, text) =>
  page.evaluate((t) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text", t);
    document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
  }, text);

test("a pasted task is learned while one watches, and what is said of its answer is true", async () => {
  const { page, errors, close } = await open("#arc");
  await paste(page, JSON.stringify(FILL));
  assert.equal(await page.locator("#arc-train .pair").count(), FILL.train.length);
  await option(page, "deadline_ms", "500000");
  await page.click("#solve");
  const seen = new Set();
  while ((await page.getAttribute("body", "data-state")) === "busy") {
    seen.add(await page.textContent("#detail"));
    await new Promise((r) => setTimeout(r, 20));
  }
  assert.ok(seen.size > 2, [...seen].join("\n")); // told of while it trained
  const said = await verdict(page); // the show may be behind the daemon
  // What a short training has learned is not the page's doing: it must say what the grids show. The
  // task's own answer has the size of its input, and one colour, that of any demonstration's output.
  const rights = await page.evaluate(() => {
    const pixels = (canvas) => [canvas.width, canvas.height, ...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data].join();
    const pixel = document.querySelector("#arc-train .pair").querySelectorAll("canvas")[1].getContext("2d").getImageData(0, 0, 1, 1).data;
    const input = document.querySelector("#arc-test canvas");
    const right = [input.width, input.height, ...Array(input.width * input.height).fill([...pixel]).flat()].join();
    return [...document.querySelectorAll("#arc-test .answer")].map((a) => [pixels(a.querySelector("canvas")) === right, a.classList.contains("right")]);
  });
  assert.ok(rights.length > 0);
  for (const [shown, marked] of rights) assert.equal(marked, shown);
  assert.equal(said, rights.some(([shown]) => shown) ? "Right: the task’s own answer is among the two."
    : "Wrong: the task’s own answer is another.");
  assert.match(await page.textContent("#verdict span"), /^[\d,]+ training steps · \d+ votes · [\d.]+ m?(s|in.*)$/);
  assert.match(await page.textContent("#arc-test .answer figcaption"), /^1st: \d+% of votes/);
  assert.match(await page.textContent("#detail"), /[0-4] of 4 demonstrations reproduced/);
  assert.match(await page.getAttribute("#bars .marks", "d"), /^M.*L/);
  assert.match(await page.getAttribute("#bars .bars-1", "d"), /^M/);
  await page.locator("#step").focus();
  await page.keyboard.press("Home");
  assert.equal(await page.locator("#arc-test .answer").count(), 0);
  await page.click("#forward");
  assert.equal(await page.textContent("#place"), "Training");
  assert.match(await page.textContent("#detail"), /^[\d,]+ training steps? · loss [\d.]+ · /);
  assert.deepEqual(errors, []);
  await close();
});

test("cancelling ends the training, in the daemon too", async () => {
  // two answers to one input, which no training reproduces: it does not end by itself
  const { page, url, close } = await open("#arc/12.34-43.21_12.34-11.22_12.34");
  await option(page, "deadline_ms", "500000");
  await page.click("#solve");
  await until(page, () => document.querySelector("#place").textContent === "Training");
  await page.click("#cancel");
  assert.equal(await verdict(page), "Cancelled.");
  while ((await metric(url, 'trmd_arc_tasks{state="running"}')) > 0) await new Promise((r) => setTimeout(r, 50));
  await page.locator("#step").focus();
  for (const key of ["Home", "ArrowRight"]) await page.keyboard.press(key);
  assert.equal(await page.textContent("#place"), "Training");
  await close();
});

test("grids are drawn with mouse, finger and keyboard, and the link holds the task", async () => {
  const touch = { hasTouch: true, isMobile: true, viewport: { width: 360, height: 740 } };
  const { page, errors, close } = await open("#arc", touch);
  await page.click("#clear");
  await page.fill("#arc-rows", "2");
  await page.fill("#arc-cols", "2");
  await page.keyboard.press("Tab");
  await page.locator("#arc-palette label").nth(3).click();
  await cell(page, 1).tap();
  await page.locator("#arc-train .pick").nth(1).click();
  await page.click("#arc-copy");
  await cell(page, 0).focus();
  for (const key of ["ArrowDown", "7", "ArrowRight", "Space"]) await page.keyboard.press(key);
  await page.locator("#arc-test .pick").first().click();
  await page.click("#arc-add-test");
  assert.equal(await link(page), "#arc/03.00-03.77_000.000.000_000.000.000");
  await page.click("#arc-remove");
  await page.click("#arc-add-train");
  assert.equal(await link(page), "#arc/03.00-03.77_00.00-00.00_000.000.000");
  const other = await open(await link(page));
  await other.page.click("#as-text summary");
  assert.deepEqual(JSON.parse(await other.page.inputValue("#text")).train[0], { input: [[0, 3], [0, 0]], output: [[0, 3], [7, 7]] });
  await other.close();
  assert.deepEqual(errors, []);
  await close();
});

test("a stroke of the mouse paints the cells it passes", async () => {
  const { page, close } = await open("#arc/000.000.000-000.000.000_0", { viewport: { width: 1280, height: 1400 } });
  const middle = async (i) => {
    const box = await cell(page, i).boundingBox();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  await page.mouse.move(...(await middle(0)));
  await page.mouse.down();
  await page.mouse.move(...(await middle(8)));
  await page.mouse.up();
  assert.equal(await link(page), "#arc/100.010.001-000.000.000_0");
  await close();
});

test("a file of many tasks is loaded, and what is wrong with a task is said", async () => {
  const { page, close } = await open("#arc");
  const two = { first: MIRROR, second: { train: [{ input: [[5]], output: [[6]] }], test: [{ input: [[5]] }] } };
  await page.setInputFiles("#file", { name: "tasks.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify(two)) });
  await until(page, () => document.querySelector("#example optgroup[label='tasks.json']"));
  await page.selectOption("#example", { label: "second" });
  assert.equal(await link(page), "#arc/5-6_5");
  await page.click("#as-text summary");
  for (const [text, says] of [["{", /not JSON/], ['{"train":[]}', /“train”/], ['{"train":[{"input":[[1]],"output":[[1],[2,3]]}],"test":[{"input":[[1]]}]}', /train 1, output: row 2 has 2 cells/],
    ['{"train":[{"input":[[1,12]],"output":[[1]]}],"test":[{"input":[[1]]}]}', /row 1, column 2 is not a colour/]]) {
    await page.fill("#text", text);
    assert.match(await page.textContent("#text-error"), says);
  }
  await close();
});

test("a refusal is shown at the grid or the field it is about", async () => {
  const { page, close } = await open("#arc/12.21-21.12_12");
  await option(page, "deadline_ms", "999999999");
  await page.click("#solve");
  await until(page, () => document.querySelector("#error-deadline_ms").textContent);
  assert.ok(await page.locator("#option-attempts").isHidden());
  await page.fill("#option-deadline_ms", "");
  // The daemon is stricter here than the page: as a newer daemon may be.
  await page.route("**/v1/arc", (r) => r.fulfill({ status: 422, contentType: "application/problem+json", body: JSON.stringify({ status: 422, title: "Bad", detail: "not this cell", pointer: "/train/0/output/1/0" }) }));
  await page.click("#solve");
  await page.waitForSelector("#fault:not([hidden])");
  assert.equal(await page.textContent("#fault"), "not this cell");
  assert.equal(await page.textContent("#arc-editing"), "Demonstration 1, output");
  assert.deepEqual(await page.locator("#arc-board .cell").evaluateAll((cells) => cells.flatMap((c, i) => (c.classList.contains("bad") ? [i] : []))), [2]);
  await close();
});

test("the request is copied as curl, without the answers that the task knows", async () => {
  const { page, url, close } = await open("#arc", { permissions: ["clipboard-read", "clipboard-write"] });
  await paste(page, JSON.stringify({ train: [{ input: [[1]], output: [[2]] }], test: [{ input: [[1]], output: [[2]] }] }));
  await page.click("#curl");
  await until(page, () => document.querySelector("#curl").textContent === "Copied");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()),
    `curl -s '${url}/v1/arc' -H 'Content-Type: application/json' -d '{"train":[{"input":[[1]],"output":[[2]]}],"test":[{"input":[[1]]}]}'`);
  await close();
});
