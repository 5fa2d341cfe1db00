// Mazes as a person draws and solves them, with the shipped model.
import { test } from "node:test";
import assert from "node:assert/strict";
import { bad, startDaemon, use, verdict } from "./support.mjs";

const open = use();
const MAZE = "S.X./X..X/..X./X..G";
const link = (page) => page.evaluate(() => location.hash);
const cell = (page, i) => page.locator("#maze-board .cell").nth(i);

test("the smallest mazes are cleared and made", async () => {
  const { page, errors, close } = await open("#maze/S/./G");
  await page.click("#clear");
  assert.equal(await link(page), "#maze/S/./G");
  await page.fill("#maze-rows", "2");
  await page.press("#maze-rows", "Enter");
  await page.fill("#maze-cols", "2");
  await page.press("#maze-cols", "Enter");
  await page.click("#maze-new");
  assert.match(await link(page), /^#maze\/S\.\/[X.]G$/);
  assert.deepEqual(errors, []);
  await close();
});

test("a maze is solved, its way grows and is drawn", async () => {
  const { page, errors, close } = await open(`#maze/${MAZE}`);
  await page.click("#solve");
  assert.equal(await verdict(page), "Solved: a shortest way, 6 moves, checked.");
  assert.equal(await page.locator("#maze-board .path").count(), 5);
  assert.match(await page.getAttribute("#maze-path path", "d"), /^M0\.5 0\.5L.*L3\.5 3\.5$/);
  await page.locator("#step").focus();
  await page.keyboard.press("Home");
  assert.equal(await page.locator("#maze-board .path").count(), 0);
  assert.equal(await page.locator("#maze-path path").count(), 0);
  await page.click("#forward");
  assert.match(await page.textContent("#detail"), /marked/);
  assert.deepEqual(errors, []);
  await close();
});

test("walls are drawn with the mouse, start and goal are dragged", async () => {
  const { page, close } = await open("#maze/S.../..../...G");
  const middle = async (i) => {
    const box = await cell(page, i).boundingBox();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  const stroke = async (from, to) => {
    await page.mouse.move(...(await middle(from)));
    await page.mouse.down();
    await page.mouse.move(...(await middle(to)));
    await page.mouse.up();
  };
  await stroke(4, 6);
  assert.equal(await link(page), "#maze/S.../XXX./...G");
  await stroke(5, 5);
  assert.equal(await link(page), "#maze/S.../X.X./...G");
  await stroke(0, 2);
  assert.equal(await link(page), "#maze/..S./X.X./...G");
  await page.click("input[value=G]");
  await cell(page, 8).click();
  assert.equal(await link(page), "#maze/..S./X.X./G...");
  await close();
});

test("walls are drawn with a finger", async () => {
  const { page, close } = await open("#maze/S.../..../...G", { hasTouch: true, isMobile: true, viewport: { width: 360, height: 740 } });
  await cell(page, 5).tap();
  assert.equal(await link(page), "#maze/S.../.X../...G");
  await close();
});

test("the keyboard draws, sizes change, and a maze without a way is refused", async () => {
  const { page, close } = await open("#maze/S.../..../...G");
  await cell(page, 0).focus();
  for (const key of ["ArrowDown", "Space", "ArrowRight", "Enter", "ArrowRight", "#", "ArrowRight", "Space", "ArrowDown", "ArrowLeft", "g"]) await page.keyboard.press(key);
  assert.equal(await link(page), "#maze/S.../XXXX/..G.");
  await page.click("#solve");
  await page.waitForSelector("#fault:not([hidden])");
  assert.match(await page.textContent("#fault"), /no path|not connected|way/i);
  await page.fill("#maze-cols", "6");
  await page.keyboard.press("Tab");
  assert.equal(await link(page), "#maze/S...../XXXX../..G...");
  await page.click("#maze-new");
  assert.match(await link(page), /^#maze\/S[.X]{5}\/[.X]{6}\/[.X]{4}G[.X]$/);
  await close();
});

test("two starts are marked", async () => {
  const { page, close } = await open("#maze/S..S/...G");
  await page.click("#solve");
  await page.waitForSelector("#fault:not([hidden])");
  assert.deepEqual(await bad(page, "maze"), [3]);
  await close();
});

test("a kind without a model says so and cannot be sent", async () => {
  const daemon = await startDaemon("--model", process.env.TEST_SUDOKU_MODEL);
  const { page, close } = await open("#maze", {}, daemon.url);
  assert.match(await page.textContent("#missing"), /no maze model loaded/);
  assert.ok(await page.locator("#solve").isDisabled());
  await page.click("nav a[href='#sudoku']");
  assert.ok(await page.locator("#missing").isHidden());
  assert.ok(await page.locator("#solve").isEnabled());
  await close();
  await daemon.stop();
});
