// README's pictures, taken from the page at work: tests/browser/run TRMD CACHE shots
import { chromium } from "playwright-core";
import { ARGS, startDaemon, verdict } from "./support.mjs";

const SEVENTEEN = "sudoku/................12..3..4........53...1........67...89.....6.......21......9...7.5";
const WIDE = { viewport: { width: 1080, height: 840 } };
const PHONE = { viewport: { width: 360, height: 840 }, isMobile: true, hasTouch: true };
const daemon = await startDaemon();
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ARGS });

// Solves the puzzle, goes to a step (the answer where none is given) and takes the picture.
async function shoot(name, fragment, options, step) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  await page.goto(`${daemon.url}/#${fragment}`);
  await page.click("#solve");
  await verdict(page);
  if (step) await page.locator("#step").fill(String(step));
  await page.waitForTimeout(1500); // until what moves has come to rest
  await page.screenshot({ path: `${process.env.TEST_SHOTS}/${name}.png` });
  await context.close();
}

await shoot("sudoku", SEVENTEEN, WIDE, 4);
await shoot("maze", "maze", { ...WIDE, colorScheme: "dark" });
await shoot("arc", "arc", WIDE);
await shoot("phone", SEVENTEEN, PHONE);
await browser.close();
await daemon.stop();
