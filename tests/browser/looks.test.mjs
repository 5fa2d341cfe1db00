// What everyone may expect of a page: accessible, never too wide, calm where asked, private.
import { createHash } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { test } from "node:test";
import assert from "node:assert/strict";
import { AxeBuilder } from "@axe-core/playwright";
import { option, startDaemon, sudoku, until, use, verdict } from "./support.mjs";

const open = use();
const RULE = "12.00-21.00_10.03-01.30_20";
const violations = async (page) =>
  (await new AxeBuilder({ page }).setLegacyMode().analyze()).violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target).join(" ")}`);

for (const [name, [fragment, options]] of Object.entries({
  "Sudoku on a desktop, light": ["", { reducedMotion: "reduce" }],
  "maze on a phone, dark": ["#maze/S.X./X..X/..X./X..G", { viewport: { width: 320, height: 640 }, colorScheme: "dark", hasTouch: true, isMobile: true, reducedMotion: "reduce" }],
  "ARC on a phone, light": [`#arc/${RULE}`, { viewport: { width: 320, height: 640 }, hasTouch: true, isMobile: true, reducedMotion: "reduce" }],
  "ARC on a desktop, dark": [`#arc/${RULE}`, { colorScheme: "dark", reducedMotion: "reduce" }],
})) {
  test(`nothing for axe to complain about, nothing too wide: ${name}`, async () => {
    const { page, errors, close } = await open(fragment, options);
    if (fragment.startsWith("#arc")) await option(page, "deadline_ms", "2000");
    await page.click("#solve");
    await verdict(page);
    for (const details of ["as-text", "options"]) await page.locator(`#${details}`).evaluate((d) => (d.open = true));
    assert.deepEqual(await violations(page), []);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    assert.deepEqual(errors, []);
    await close();
  });
}

test("colours follow the system until the visitor chooses, and the choice is kept", async () => {
  const { page, close } = await open("", { colorScheme: "dark" });
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await paper();
  await page.click("#theme");
  const light = await paper();
  assert.notEqual(light, dark);
  await page.reload();
  assert.equal(await paper(), light);
  await page.emulateMedia({ colorScheme: "light" });
  await page.evaluate(() => localStorage.clear());
  await page.reload();
  assert.equal(await paper(), light);
  await close();
});

test("who asks for less motion gets none", async () => {
  const { page, close } = await open("", { reducedMotion: "reduce" });
  await page.click("#solve");
  await verdict(page);
  assert.equal(await page.evaluate(() => document.getAnimations().length), 0);
  await close();
});

test("assets are asked for again by their tag, and nothing inline is allowed", async () => {
  const { url, close } = await open();
  const first = await fetch(`${url}/app.js`);
  const tag = first.headers.get("etag");
  assert.match(tag, /^"[0-9a-f]{16}"$/);
  for (const list of [tag, `W/${tag}`, `"other", ${tag}`, "*"])
    assert.equal((await fetch(`${url}/app.js`, { headers: { "If-None-Match": list } })).status, 304);
  assert.equal((await fetch(`${url}/app.js`, { headers: { "If-None-Match": '"other"' } })).status, 200);
  const policy = (await fetch(`${url}/`)).headers.get("content-security-policy");
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
  await close();
});

test("a daemon with keys asks for one", async () => {
  const file = join(mkdtempSync(join(tmpdir(), "trmd-")), "keys");
  writeFileSync(file, `me:${createHash("sha256").update("secret").digest("hex")}\n`, { mode: 0o600 });
  const guarded = await startDaemon("--api-keys-file", file);
  const { page, close } = await open();
  await page.goto(guarded.url);
  await page.waitForSelector("#key-form:not([hidden])");
  await page.fill("#key", "secret");
  await page.keyboard.press("Enter");
  await until(page, () => document.querySelector("#model").textContent);
  await page.click("#solve");
  assert.match(await verdict(page), /^Solved/);
  assert.notEqual(await sudoku(page), "");
  await close();
  await guarded.stop();
});
