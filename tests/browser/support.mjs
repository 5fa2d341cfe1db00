// A real daemon and a real Chromium, started once for a file of tests.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before } from "node:test";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

export const ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"];

export async function startDaemon(...more) {
  const daemon = spawn(process.env.TEST_TRMD, ["--port", "0", ...more], { stdio: ["ignore", "pipe", "ignore"] });
  const [line] = await once(createInterface({ input: daemon.stdout }), "line");
  const stop = async () => {
    daemon.kill("SIGTERM");
    const [code] = await once(daemon, "exit");
    assert.equal(code, 0);
  };
  return { url: line.replace("listening on ", ""), stop };
}

// use(): call it once at the top of a test file; open() then gives a page of its own context.
export function use(...daemonArgs) {
  let daemon, browser;
  before(async () => {
    daemon = await startDaemon(...daemonArgs);
    browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ARGS });
  });
  after(async () => {
    await browser?.close();
    await daemon?.stop();
  });
  return async function open(fragment = "", options = {}, url = daemon.url) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const errors = [];
    page.setDefaultTimeout(180000);
    page.on("pageerror", (e) => errors.push(e.message));
    page.on("console", (m) => /Content Security Policy|TrustedHTML/.test(m.text()) && errors.push(m.text()));
    page.on("request", (r) => r.url().startsWith(url) || errors.push(`a request to ${r.url()}`));
    await page.goto(`${url}/${fragment}`);
    await until(page, () => document.querySelector("#model").textContent || !document.querySelector("#missing").hidden);
    return { page, errors, url, close: () => context.close() };
  };
}

// Polls from outside: the page's policy forbids the eval of playwright's waitForFunction.
// What is never seen fails after a while that no busy machine needs.
export async function until(page, what, argument) {
  const began = Date.now();
  while (!(await page.evaluate(what, argument))) {
    if (Date.now() - began > 120000) throw new Error(`not seen in two minutes: ${what}`);
    await new Promise((r) => setTimeout(r, 20));
  }
}

export const sudoku = (page) =>
  page.locator("#sudoku-board .cell").evaluateAll((cells) => cells.map((c) => c.textContent || ".").join(""));

export const bad = (page, board) =>
  page.locator(`#${board}-board .cell`).evaluateAll((cells) => cells.flatMap((c, i) => (c.classList.contains("bad") ? [i] : [])));

// Waits for the verdict and gives its text.
export async function verdict(page) {
  await page.waitForSelector("#verdict strong");
  return page.textContent("#verdict strong");
}

// Opens <details>, fills one option.
export async function option(page, name, value) {
  await page.locator("#options").evaluate((d) => (d.open = true));
  const field = page.locator(`#option-${name}`);
  await (name === "halt" ? field.selectOption(value) : field.fill(value));
}
