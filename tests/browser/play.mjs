// A real browser with real players: the enhanced rendition plays for ten seconds of media, and the player goes back
// and forth between original and enhanced, and between one frame rate and twice that, and goes on while the model behind it is swapped, while workers are killed and
// while far too much is asked of the edge. No error event, no stall once it plays, the advertised picture size.
//   node play.mjs           through the edge (target/release/acuity)
//   node play.mjs --plain   the sample origin alone: tests this test
//   node play.mjs swapped   only tests with this in their name
// Needs Debian's chromium; CHROMIUM names another one.

import assert from "node:assert/strict";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { sourcesFragments } from "./carried.mjs";
import { hlsDriver, look, shakaDriver, watch } from "./drivers.mjs";
import { playerSource, startBrowser, startEdge, startServers, stopServers } from "./servers.mjs";
import { overloaded, workersHurt } from "./trouble.mjs";
import { makeZoo } from "./zoo.mjs";

const plain = process.argv.includes("--plain");
const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));
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

/** The model set that a multivariant playlist names. */
async function namedSet(url) {
  const text = await (await fetch(url)).text();
  return text.match(/DATA-ID="org\.acuity\.model",VALUE="([^"]+)"/)?.[1];
}

/** Asks for the first segments of the enhanced rendition, as somebody who opened the stream a moment earlier would have. */
async function watchedBefore(master, segments) {
  const uri = (text) => text.split("\n").find((line) => line.includes("/~acuity/v1."));
  const media = new URL(uri(await (await fetch(master)).text()), master);
  const names = (await (await fetch(media)).text()).split("\n").filter((line) => line && !line.startsWith("#"));
  for (const name of names.slice(0, segments)) await (await fetch(new URL(name, media))).arrayBuffer();
}

/** The model is replaced on the disk while a player is in the rendition: it goes on with the old one to the end, and whoever
 * opens the stream afterwards gets the new one. */
async function swapUnderAPlayer(browser, addresses) {
  const zoo = await makeZoo();
  const { edge, admin } = await startEdge({
    origin: addresses.origin,
    settings: `[models]\ndirectory = "${zoo.directory}"\nwatch_interval = "200ms"`,
    route: 'cluster = "game"',
  });
  const master = `${edge}/sample/master.m3u8`;
  const page = await browser.newPage({ viewport: { width: 1280, height: 760 } });
  // Far less ahead than hls.js would have, so that most of what is played is asked for after the swap.
  const open = async () => {
    await page.setContent('<video muted playsinline width="1280" height="720"></video>');
    await page.addScriptTag({ content: await playerSource("hls.js/dist/hls.min.js") });
    await page.evaluate(watch);
    await page.evaluate(hlsDriver, { maxBufferLength: 6, maxMaxBufferLength: 6 });
    await page.evaluate((url) => window.driver.load(url), master);
    const levels = await page.evaluate(() => window.driver.levels());
    const high = levels.findIndex((level) => level.height === 720);
    assert.match(levels[high]?.url ?? "", /\/~acuity\//, `the ladder is ${JSON.stringify(levels)}`);
    await page.evaluate((at) => window.driver.start(at), high);
    await page.evaluate(() => document.querySelector("video").play());
    return until(page, "the first picture", (seen) => seen.started && seen.time > 0, 20);
  };
  const tokens = (fragments) => [...new Set(fragments.map((url) => url.match(/\/~acuity\/([^/]+)\//)?.[1]))];
  try {
    let before;
    for (const end = Date.now() + 15_000; !before?.startsWith("game-") && Date.now() < end; await sleep(100)) before = await namedSet(master);
    // How soon a cold edge makes the first segments is another test's subject.
    await watchedBefore(master, 3);
    const first = await open();
    await until(page, "2 s of media", (seen) => seen.time >= first.time + 2, 20);
    const swapped = await zoo.swap();
    let after = before;
    for (const end = Date.now() + 30_000; after === before && Date.now() < end; await sleep(100)) after = await namedSet(master);
    assert.match(after ?? "", /^game-/, "no model of the cluster is named after the swap");
    assert.notEqual(after, before, "the playlist never named the new model");
    const atSwap = await until(page, "a look at the swap", () => true, 1);
    const last = await until(page, `${mediaSeconds} s of media after it`, (seen) => seen.time >= atSwap.time + mediaSeconds, 4 * mediaSeconds);
    assert.deepEqual([last.width, last.height, last.stalls], [1280, 720, 0], "the picture changed or stood still");
    const [token, ...others] = tokens(last.fragments);
    assert.deepEqual(others, [], "the player was led into another rendition");
    assert.ok(token.includes(`.${before}.`), `${token} is not of ${before}`);
    const asked = last.fragments.length - atSwap.fragments.length;
    assert.ok(asked >= 2, `only ${asked} segments were asked for after the swap`);
    await page.evaluate(() => window.driver.stop());

    const metrics = await (await fetch(`${admin}/metrics`)).text();
    const info = metrics.split("\n").filter((line) => line.startsWith("acuity_enhancer_model_info") && line.includes('id="game-x2-s"'));
    assert.ok(info.some((line) => line.includes(swapped.slice(0, 12))), `the metrics do not show ${swapped}:\n${info.join("\n")}`);
    await watchedBefore(master, 2);
    const reopened = await open();
    const fresh = await until(page, "2 s of the new rendition", (seen) => seen.time >= reopened.time + 2, 20);
    assert.ok(tokens(fresh.fragments).every((name) => name.includes(`.${after}.`)), "reopened, it is not of the new model");
    await page.screenshot({ path: join(shots, "swapped.png") });
    await page.evaluate(() => window.driver.stop());
    return `${before} to ${after}, ${asked} segments of the old one after it`;
  } finally {
    await page.close();
    await zoo.remove();
  }
}

/** Pictures a second of media, as the browser counts what it shows, over some seconds. */
async function shownRate(page, seconds) {
  const before = await until(page, "a first count", () => true, 1);
  const after = await until(page, "a second count", (seen) => seen.time >= before.time + seconds, 4 * seconds + 10);
  return (after.total - before.total) / (after.time - before.time);
}

/** The rendition of twice the pictures plays as such, and the player goes to the source's rate and back. */
async function twiceThePictures(browser, addresses) {
  const { edge } = await startEdge({ origin: addresses.origin, settings: "", route: 'frame_rate = { scales = [1], interpolator = "blend" }' });
  const master = `${edge}/sample/master.m3u8`;
  const page = await browser.newPage({ viewport: { width: 1280, height: 760 } });
  try {
    let text = "";
    for (const end = Date.now() + 15_000; !text.includes(".i2-") && Date.now() < end; await sleep(100)) text = await (await fetch(master)).text();
    await page.setContent('<video muted playsinline width="640" height="360"></video>');
    await page.addScriptTag({ content: await playerSource("hls.js/dist/hls.min.js") });
    await page.evaluate(watch);
    await page.evaluate(hlsDriver, {});
    await page.evaluate((url) => window.driver.load(url), master);
    const levels = await page.evaluate(() => window.driver.levels());
    const fast = levels.findIndex((level) => level.url.includes(".i2-"));
    const own = levels.findIndex((level) => level.height === 360 && !level.url.includes("/~acuity/"));
    assert.ok(fast >= 0 && own >= 0, `the ladder is ${JSON.stringify(levels)}`);
    assert.equal(levels[fast].height, 360);

    await page.evaluate((at) => window.driver.start(at), fast);
    await page.evaluate(() => document.querySelector("video").play());
    const first = await until(page, "the first picture", (seen) => seen.started && seen.time > 0.5, 20);
    const fastRate = await shownRate(page, 6);
    const rates = [];
    for (const at of [own, fast, own, fast]) {
      await page.evaluate((level) => window.driver.change(level), at);
      for (const end = Date.now() + 15_000; (await page.evaluate(() => window.driver.shown())) !== at; await sleep(100)) {
        assert.ok(Date.now() < end, `level ${at} is not shown after 15 s`);
      }
      rates.push(await shownRate(page, 2));
    }
    const last = await until(page, "the last look", () => true, 1);
    assert.deepEqual([last.width, last.height, last.stalls], [640, 360, 0], "another picture, or it stalled");
    const said = `${fastRate.toFixed(1)} pictures a second, then ${rates.map((rate) => rate.toFixed(1)).join(", ")}`;
    const rate = levels[fast].frameRate;
    assert.ok(rate > 40, `FRAME-RATE is ${rate}`);
    const isNear = (seen, wanted) => Math.abs(seen / wanted - 1) < 0.15;
    assert.ok(isNear(fastRate, rate) && rates.every((seen, at) => isNear(seen, at % 2 ? rate : rate / 2)), said);
    assert.ok(last.time > first.time + 10);
    await page.evaluate(() => window.driver.stop());
    return said;
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
  "hls.js plays the source's fragments among enhanced ones": (b) => sourcesFragments(b, hlsDriver, "hls.js/dist/hls.min.js"),
  "Shaka plays the source's fragments among enhanced ones": (b) => sourcesFragments(b, shakaDriver, "shaka-player/dist/shaka-player.compiled.js"),
  "twice the pictures play, and switch to the source's and back": twiceThePictures,
  "a model is swapped under a player": swapUnderAPlayer,
  "the comparison page plays in step": (b, a) => comparisonPage(b, a),
  "four players play on while workers are killed and stopped": (b) => workersHurt(b),
  "four players play on while ten times too much is asked": (b) => overloaded(b),
};
// The edge finds nothing enhanced behind the plain origin's address, and neither would the page; without an edge there are no
// models.
const needAnEdge = [
  "hls.js plays the source's fragments among enhanced ones", "Shaka plays the source's fragments among enhanced ones",
  "the comparison page plays in step", "a model is swapped under a player", "twice the pictures play, and switch to the source's and back",
  "four players play on while workers are killed and stopped", "four players play on while ten times too much is asked",
];
if (plain) for (const name of needAnEdge) delete tests[name];

for (const name of Object.keys(tests)) if (!wanted.every((word) => name.includes(word))) delete tests[name];

let failed = 0;
try {
  const addresses = await startServers({ plain });
  const browser = await startBrowser();
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
