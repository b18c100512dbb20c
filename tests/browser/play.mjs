// A real browser with real players: the enhanced rendition plays for ten seconds of media, and the player goes back
// and forth between original and enhanced. No error event, no stall once it plays, the advertised picture size.
//   node play.mjs           through the edge (target/release/acuity)
//   node play.mjs --plain   the sample origin alone: tests this test
// Needs Debian's chromium; CHROMIUM names another one.

import assert from "node:assert/strict";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

import { hlsDriver, look, shakaDriver, watch } from "./drivers.mjs";
import { playerSource, startServers, stopServers } from "./servers.mjs";

const plain = process.argv.includes("--plain");
const mediaSeconds = 10;
const shots = await mkdtemp(join(tmpdir(), "acuity-browser-"));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Looks at the picture until it is as wanted. */
async function until(page, what, wanted, seconds) {
  const end = Date.now() + seconds * 1000;
  let seen;
  do {
    seen = await page.evaluate(look);
    assert.deepEqual(seen.errors, [], `error events while waiting for ${what}`);
    if (wanted(seen)) return seen;
    await sleep(100);
  } while (Date.now() < end);
  throw new Error(`${what} did not come within ${seconds} s: ${JSON.stringify(seen)}`);
}

async function playAndSwitch(browser, addresses, name, source, driver) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 760 } });
  try {
    await page.setContent('<video muted playsinline width="1280" height="720"></video>');
    await page.addScriptTag({ content: await playerSource(source) });
    await page.evaluate(watch);
    await page.evaluate(driver);
    await page.evaluate((url) => window.driver.load(url), `${addresses.edge}/sample/master.m3u8`);
    const levels = await page.evaluate(() => window.driver.levels());
    const [low, high] = [levels.findIndex((l) => l.height === 360), levels.findIndex((l) => l.height === 720)];
    assert.equal(levels.length, 2, `the ladder is ${JSON.stringify(levels)}`);
    assert.ok(low >= 0 && high >= 0, `the ladder is ${JSON.stringify(levels)}`);
    if (!plain && levels[high].url) assert.match(levels[high].url, /\/~acuity\//, "720p is not the enhanced one");

    await page.evaluate((at) => window.driver.start(at), high);
    await page.evaluate(() => document.querySelector("video").play());
    const first = await until(page, "the first picture", (seen) => seen.started && seen.time > 0, 20);
    const startedAt = Date.now();
    const end = first.time + mediaSeconds;
    const played = await until(page, `${mediaSeconds} s of media`, (seen) => seen.time >= end, 3 * mediaSeconds);
    const pace = (played.time - first.time) / ((Date.now() - startedAt) / 1000);
    assert.deepEqual([played.width, played.height], [1280, 720], "not the advertised picture");
    assert.equal(played.stalls, 0, "it stalled");
    assert.ok(pace > 0.9, `it played at ${pace.toFixed(2)} of real time`);
    await page.screenshot({ path: join(shots, `${name}-enhanced.png`) });

    for (const [at, height] of [[low, 360], [high, 720], [low, 360], [high, 720]]) {
      await page.evaluate((level) => window.driver.change(level), at);
      const switched = await until(page, `${height} lines after a switch`, (seen) => seen.height === height, 15);
      await until(page, "time going on after a switch", (seen) => seen.time > switched.time + 1, 10);
    }
    const last = await until(page, "the last look", () => true, 1);
    assert.equal(last.stalls, 0, "it stalled at a switch");
    await page.screenshot({ path: join(shots, `${name}-switched.png`) });
    await page.evaluate(() => window.driver.stop());
    return `${last.total} frames, ${last.dropped} dropped`;
  } finally {
    await page.close();
  }
}

/** The page of `make run`: both renditions play, in step, each in its size. */
async function comparisonPage(browser, addresses) {
  const page = await browser.newPage({ viewport: { width: 1366, height: 768 } });
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") problems.push(message.text()); });
  try {
    await page.goto(`${addresses.origin}/`);
    const state = () => window.acuity?.sides.map(({ video }) => ({ time: video.currentTime, height: video.videoHeight }));
    const end = Date.now() + 30_000;
    let sides;
    do {
      await sleep(250);
      sides = await page.evaluate(state);
    } while (!(sides?.every((side) => side.time > 5)) && Date.now() < end);
    assert.deepEqual(problems, []);
    assert.ok(sides?.every((side) => side.time > 5), `the page does not play: ${JSON.stringify(sides)}`);
    assert.deepEqual(sides.map((side) => side.height), [360, 720]);
    assert.ok(Math.abs(sides[0].time - sides[1].time) < 0.2, `out of step: ${JSON.stringify(sides)}`);
    const box = await page.locator("table").boundingBox();
    assert.ok(box.y + box.height <= 768, "the table is below the fold of a laptop's screen");
    for (const mode of ["split", "beside", "zoom"]) {
      await page.click(`[data-mode=${mode}]`);
      if (mode === "zoom") await page.mouse.move(683, 380);
      await sleep(300);
      await page.screenshot({ path: join(shots, `page-${mode}.png`) });
    }
    return `apart by ${Math.round(1000 * Math.abs(sides[0].time - sides[1].time))} ms`;
  } finally {
    await page.close();
  }
}

const tests = {
  "hls.js plays and switches": (b, a) => playAndSwitch(b, a, "hls", "hls.js/dist/hls.min.js", hlsDriver),
  "Shaka plays and switches": (b, a) => playAndSwitch(b, a, "shaka", "shaka-player/dist/shaka-player.compiled.js", shakaDriver),
  "the comparison page plays in step": (b, a) => comparisonPage(b, a),
};
// The edge finds nothing enhanced behind the plain origin's address, and neither would the page.
if (plain) delete tests["the comparison page plays in step"];

let failed = 0;
try {
  const addresses = await startServers({ plain });
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
  });
  for (const [name, test] of Object.entries(tests)) {
    // Browser, edge and network share two cores with whatever else the machine does, and a stall is a matter of time. What
    // fails is shown and tried once more; what fails twice has failed.
    for (const attempt of [1, 2]) {
      const start = Date.now();
      try {
        const told = await test(browser, addresses);
        console.log(`ok - ${name} (${((Date.now() - start) / 1000).toFixed(1)} s; ${told}${attempt > 1 ? "; at the second try" : ""})`);
        break;
      } catch (error) {
        if (attempt > 1) failed += 1;
        console.log(`${attempt > 1 ? "FAILED" : "failed at the first try"} - ${name}\n${error.stack}`);
      }
    }
  }
  await browser.close();
} catch (error) {
  failed += 1;
  console.log(`FAILED - setting up\n${error.stack}`);
}
console.log(`screenshots: ${shots}`);
await stopServers(failed > 0);
console.log(`browser: ${Object.keys(tests).length - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
