// What players make of segments that are sent while they are being made: their bandwidth estimates and their switches, with
// adaptation on, for several values of `enhancer.stream_pace`. A measurement, not a test.
//   node estimates.mjs [SECONDS]     media seconds to play each time (default 24)
// Each run is a fresh edge, so that every enhanced segment is cold, without work ahead. "slow" has an encoder preset that makes a
// segment barely faster than it plays: the case in which a trickle would fool a player.

import { look, watch } from "./drivers.mjs";
import { playerSource, startBrowser, startEdge, startServers, stopServers } from "./servers.mjs";

const seconds = Number(process.argv[2] ?? 24);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** hls.js as it comes, adaptation on. */
function hlsAdapts() {
  window.samples = [];
  window.begin = (url) => {
    const hls = new Hls();
    hls.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) window.seen.errors.push(data.details); });
    hls.on(Hls.Events.FRAG_BUFFERED, (_, { frag, stats }) => {
      if (frag.type !== "main") return;
      const { start, first, end } = stats.loading;
      const sample = { level: hls.levels[frag.level].height, first: first - start, transfer: end - first, bytes: stats.total };
      window.samples.push({ ...sample, estimate: hls.bandwidthEstimate });
    });
    hls.loadSource(url);
    hls.attachMedia(document.querySelector("video"));
  };
}

/** Shaka as it comes, adaptation on. */
function shakaAdapts() {
  window.samples = [];
  window.begin = async (url) => {
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    await player.attach(document.querySelector("video"));
    player.addEventListener("error", (event) => window.seen.errors.push(`shaka ${event.detail?.code}`));
    const net = player.getNetworkingEngine();
    const begun = new Map();
    net.registerRequestFilter((type, request) => { begun.set(request.uris[0], performance.now()); });
    net.registerResponseFilter((type, response) => {
      if (type !== shaka.net.NetworkingEngine.RequestType.SEGMENT) return;
      const entry = performance.getEntriesByName(response.uri).at(-1);
      const first = entry?.responseStart ? entry.responseStart - entry.startTime : 0;
      const transfer = entry?.responseEnd ? entry.responseEnd - entry.responseStart : 0;
      const level = /~acuity/.test(response.uri) ? 720 : 360;
      window.samples.push({ level, first, transfer, bytes: response.data.byteLength, estimate: player.getStats().estimatedBandwidth });
    });
    await player.load(url, 0);
  };
}

const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? NaN;

async function play(browser, edge, source, driver) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 760 } });
  try {
    await page.setContent('<video muted playsinline width="1280" height="720"></video>');
    await page.addScriptTag({ content: await playerSource(source) });
    await page.evaluate(watch);
    await page.evaluate(driver);
    await page.evaluate((url) => window.begin(url), `${edge}/sample/master.m3u8`);
    await page.evaluate(() => document.querySelector("video").play());
    const end = Date.now() + (seconds + 20) * 1000;
    let seen = await page.evaluate(look);
    while (seen.time < seconds && Date.now() < end) {
      await sleep(200);
      seen = await page.evaluate(look);
    }
    return { seen, samples: await page.evaluate(() => window.samples) };
  } finally {
    await page.close();
  }
}

const players = { "hls.js": ["hls.js/dist/hls.min.js", hlsAdapts], Shaka: ["shaka-player/dist/shaka-player.compiled.js", shakaAdapts] };
const speeds = { quick: "", slow: 'preset = "medium"\n' };
let failed = true;
const { origin } = await startServers({ plain: true });
const browser = await startBrowser();
try {
  console.log("| machine | sent | player | first byte, ms | transfer, ms | estimate, Mbit/s: median (least) | segments of 720 lines | switches down | stalls |");
  console.log("|---|---|---|---|---|---|---|---|---|");
  for (const [speed, settings] of Object.entries(speeds)) {
    for (const [name, pace] of [["whole", 100], ["pace 2", 2], ["pace 1 (trickle)", 1]]) {
      for (const [player, [source, driver]] of Object.entries(players)) {
        const enhancer = `[enhancer]\nlook_ahead = 0\nstream_pace = ${pace}.0\n${settings}`;
        const { edge } = await startEdge({ origin, settings: enhancer, route: "" });
        const { seen, samples } = await play(browser, edge, source, driver);
        const high = samples.filter((sample) => sample.level === 720);
        const down = samples.filter((sample, at) => at > 0 && sample.level < samples[at - 1].level).length;
        const estimates = high.map((sample) => sample.estimate / 1e6);
        const row = [speed, name, player, median(high.map((s) => s.first)).toFixed(0), median(high.map((s) => s.transfer)).toFixed(0),
          `${median(estimates).toFixed(1)} (${Math.min(...estimates).toFixed(1)})`, `${high.length} of ${samples.length}`, down, seen.stalls];
        console.log(`| ${row.join(" | ")} |`);
        if (seen.errors.length > 0) console.log(`errors: ${seen.errors.join("; ")}`);
      }
    }
  }
  failed = false;
} finally {
  await browser.close();
  await stopServers(failed);
}
