// Real players in a browser while the edge is in trouble: its workers are killed and stopped, or far more is asked of it than it can make. A
// viewer may see a lower picture; he sees no error and no stall.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join } from "node:path";

import { hlsDriver, look, shakaDriver, watch } from "./drivers.mjs";
import { playerSource, root, startEdge } from "./servers.mjs";

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** For which trouble lasts, and how much of that is played at least: the players share two cores with what they are served by. */
const seconds = 14;
/** Pictures a second of the sample. */
const rate = 24;
const players = [
  ["hls.js", hlsDriver, "hls.js/dist/hls.min.js"], ["Shaka", shakaDriver, "shaka-player/dist/shaka-player.compiled.js"],
  ["hls.js", hlsDriver, "hls.js/dist/hls.min.js"], ["Shaka", shakaDriver, "shaka-player/dist/shaka-player.compiled.js"],
];
const types = { ".m3u8": "application/vnd.apple.mpegurl", ".ts": "video/mp2t" };

/** An origin that has the sample as often as one likes: `/v7/master.m3u8` is another stream than `/v8/master.m3u8`. */
async function startCopies() {
  const sample = join(root, ".acuity/sample");
  const server = createServer(async (request, response) => {
    const path = /^\/v\d+\/((?:\w+\/)?\w+\.(?:m3u8|ts))$/.exec(request.url.split("?")[0])?.[1];
    const body = path ? await readFile(join(sample, path)).catch(() => undefined) : undefined;
    const headers = { "content-type": types[extname(path ?? "")] ?? "text/plain", "content-length": body?.length ?? 0, "access-control-allow-origin": "*" };
    response.writeHead(body ? 200 : 404, headers);
    response.end(request.method === "HEAD" ? undefined : body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, origin: `http://127.0.0.1:${server.address().port}` };
}

/** The sum of all series of this name that have these words among their labels. */
async function count(admin, name, ...words) {
  const text = await (await fetch(`${admin}/metrics`)).text();
  const series = text.split("\n").filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return series.filter((line) => words.every((word) => line.includes(word))).reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

/** Opens a stream with a player, in its enhanced rendition, and waits for the picture. */
async function open(browser, master, [name, driver, source]) {
  const page = await browser.newPage({ viewport: { width: 640, height: 380 } });
  const answers = [];
  page.on("response", (response) => answers.push([response.status(), response.url()]));
  await page.setContent('<video muted playsinline loop width="320" height="180"></video>');
  await page.addScriptTag({ content: await playerSource(source) });
  await page.evaluate(watch);
  // As far ahead as Shaka's driver: less than either player has by itself, so that segments are asked for all the time.
  await page.evaluate(driver, { maxBufferLength: 12, maxMaxBufferLength: 12 });
  await page.evaluate((url) => window.driver.load(url), master);
  const levels = await page.evaluate(() => window.driver.levels());
  const high = levels.findIndex((level) => level.height === 720);
  assert.ok(high >= 0, `${name}: the ladder is ${JSON.stringify(levels)}`);
  await page.evaluate((at) => window.driver.start(at), high);
  await page.evaluate(() => document.querySelector("video").play());
  const viewer = { name, page, answers, total: 0 };
  for (const end = Date.now() + 20_000; ; await sleep(100)) {
    const seen = await page.evaluate(look);
    if (seen.started && seen.time > 2) {
      viewer.total = seen.total;
      return viewer;
    }
    assert.ok(Date.now() < end, `${name} does not begin: ${JSON.stringify(seen)}`);
  }
}

/** Waits until a viewer has as much ahead as a player that has just begun should have: from then on nothing may be seen. */
async function buffered({ name, page }) {
  const ahead = () => {
    const video = document.querySelector("video");
    return video.buffered.length ? video.buffered.end(video.buffered.length - 1) - video.currentTime : 0;
  };
  for (const end = Date.now() + 20_000; (await page.evaluate(ahead)) < 8; await sleep(100)) {
    assert.ok(Date.now() < end, `${name} never has 8 s ahead`);
  }
}

/** What all of them have seen. */
async function verdict(viewers) {
  const told = [];
  for (const { name, page, answers, total } of viewers) {
    const seen = await page.evaluate(look);
    assert.deepEqual(seen.errors, [], `${name}: error events`);
    assert.equal(seen.stalls, 0, `${name} stalled: ${JSON.stringify(seen)}`);
    // by pictures, because the film may have begun again
    assert.ok(seen.total - total > 0.8 * seconds * rate, `${name} played ${seen.total - total} pictures`);
    assert.deepEqual(answers.filter(([status]) => status >= 400), [], `${name}: answers`);
    told.push(`${name} ${answers.filter(([, url]) => url.includes("/~acuity/") && url.includes(".ts")).length}`);
  }
  return `segments asked for: ${told.join(", ")}`;
}

async function enhancedStream(edge, path) {
  const master = `${edge}${path}`;
  for (const end = Date.now() + 20_000; Date.now() < end; await sleep(100)) {
    const text = await (await fetch(master)).text();
    const line = text.split("\n").find((each) => each.includes("/~acuity/v1."));
    if (line) return { master, media: new URL(line, master).href };
  }
  throw new Error(`${master} is not offered enhanced`);
}

async function among(browser, settings, trouble) {
  const { server, origin } = await startCopies();
  const viewers = [];
  try {
    const edge = await startEdge({ origin, settings, route: "" });
    for (const [at, player] of players.entries()) {
      // two of each stream, one of each player
      const { master } = await enhancedStream(edge.edge, `/v${Math.floor(at / 2)}/master.m3u8`);
      viewers.push(await open(browser, master, player));
    }
    for (const viewer of viewers) await buffered(viewer);
    const told = await trouble(edge, Date.now() + seconds * 1000);
    const seen = await verdict(viewers);
    assert.equal(await count(edge.admin, "acuity_responses_total", 'status="5xx"'), 0, "answers of 5xx");
    return `${told}; ${seen}`;
  } finally {
    for (const { page } of viewers) await page.close();
    server.close();
  }
}

/** The processes that this edge has started. */
async function workersOf(edge) {
  const found = [];
  for (const id of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const stat = await readFile(`/proc/${id}/stat`, "utf8").catch(() => "");
    if (Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === edge.pid) found.push(Number(id));
  }
  return found;
}

/** One of two workers and a spare one is killed or stopped every two seconds. */
export function workersHurt(browser) {
  const settings = "[workers]\ncount = 2\nspare = 1\n";
  return among(browser, settings, async (edge, end) => {
    let blows = 0;
    for (; Date.now() < end; await sleep(2000)) {
      const workers = await workersOf(edge);
      assert.ok(workers.length > 0, "it has no workers");
      // one that has ended meanwhile is hurt enough
      try {
        process.kill(workers[blows % workers.length], blows % 2 ? "SIGSTOP" : "SIGKILL");
        blows += 1;
      } catch { /* gone */ }
    }
    const [killed, silent] = [await count(edge.admin, "acuity_worker_exits_total", '"killed"'), await count(edge.admin, "acuity_worker_exits_total", '"silent"')];
    assert.ok(blows >= 5 && killed >= 2 && silent >= 1, `${blows} blows, ${killed} killed, ${silent} stopped`);
    const made = await count(edge.admin, "acuity_enhancer_segments_total", '"model"');
    assert.ok(made > 0, "nothing was enhanced");
    return `${killed} workers killed, ${silent} stopped, ${made} segments by networks`;
  });
}

/** Others ask for as many cold segments as they can, two dozen at a time, each of a stream of its own: a multiple of what can be made. */
export function overloaded(browser) {
  return among(browser, "[workers]\ncount = 1\nspare = 0\n", async (edge, end) => {
    const statuses = {};
    let next = 2;
    const one = async (url) => {
      const answer = await fetch(url);
      const body = await answer.text();
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
      return body;
    };
    const flood = async () => {
      while (Date.now() < end) {
        const stream = `${edge.edge}/v${next++}`;
        const master = await one(`${stream}/master.m3u8`);
        const line = master.split("\n").find((each) => each.includes("/~acuity/v1."));
        // a stream that is not offered yet is asked for as it is
        const media = line ? new URL(line, `${stream}/master.m3u8`).href : `${stream}/360p/index.m3u8`;
        const names = (await one(media)).split("\n").filter((each) => each && !each.startsWith("#"));
        for (const name of names.slice(0, 4)) if (Date.now() < end) await one(new URL(name, media).href);
      }
    };
    await Promise.all(Array.from({ length: 24 }, flood));
    assert.deepEqual(Object.keys(statuses), ["200"], JSON.stringify(statuses));
    const made = await count(edge.admin, "acuity_enhancer_segments_total", '"model"');
    const givenUp = await count(edge.admin, "acuity_fallbacks_total");
    assert.ok(givenUp > made, `${made} segments by networks and ${givenUp} that were not: that is no overload`);
    return `${statuses[200]} answers to others of ${next - 2} streams, ${made} segments by networks, ${givenUp} the source's own or plain`;
  });
}
