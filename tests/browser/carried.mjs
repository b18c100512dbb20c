// The source's fragments among enhanced ones, in fragmented MP4: what a viewer gets where a segment cannot be made in time. Every picture of
// both kinds has to be shown in its own size, and be the picture that it is.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { watch } from "./drivers.mjs";
import { playerSource, root, startEdge, startOrigin } from "./servers.mjs";

const run = promisify(execFile);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** Segments played, and pictures of a segment left out at both ends: which of two a picture at the seam is of is a matter of rounding. */
const segments = 4;
const [width, height] = [64, 36];

/** The sample's low rendition as fragmented MP4, packets as they are. */
async function packed() {
  const folder = await mkdtemp(join(tmpdir(), "acuity-browser-fmp4-"));
  const source = join(root, ".acuity/sample/360p/index.m3u8");
  await run("ffmpeg", ["-v", "error", "-nostdin", "-i", source, "-c", "copy", "-bsf:a", "aac_adtstoasc", "-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod",
    "-hls_flags", "independent_segments", "-hls_segment_type", "fmp4", "-hls_segment_filename", "%03d.m4s", "index.m3u8"], { cwd: folder });
  await writeFile(join(folder, "master.m3u8"),
    '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1500000,RESOLUTION=640x360,CODECS="avc1.64001e,mp4a.40.2"\nindex.m3u8\n');
  return folder;
}

/** Plays a media playlist to the end of `seconds`. Gives of each picture its time, its size and what is on it, small and grey. */
async function shown(browser, driver, source, url, seconds) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 760 } });
  try {
    await page.setContent('<video muted playsinline width="1280" height="720"></video>');
    await page.addScriptTag({ content: await playerSource(source) });
    await page.evaluate(watch);
    await page.evaluate(driver, {});
    await page.evaluate((at) => window.driver.load(at), url);
    await page.evaluate(() => window.driver.start(0));
    await page.evaluate(([w, h]) => {
      const video = document.querySelector("video");
      const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      window.pictures = [];
      const look = (_, { mediaTime, width, height }) => {
        context.drawImage(video, 0, 0, w, h);
        const { data } = context.getImageData(0, 0, w, h);
        const grey = [];
        for (let at = 0; at < data.length; at += 4) grey.push((data[at] + 2 * data[at + 1] + data[at + 2]) / 4);
        window.pictures.push({ time: mediaTime, size: `${width}x${height}`, grey });
        video.requestVideoFrameCallback(look);
      };
      video.requestVideoFrameCallback(look);
      return video.play();
    }, [width, height]);
    const end = Date.now() + (3 * seconds + 20) * 1000;
    let seen;
    do {
      await sleep(100);
      seen = await page.evaluate(() => ({ time: document.querySelector("video").currentTime, ...window.seen }));
      assert.deepEqual(seen.errors, [], `error events at ${seen.time.toFixed(1)} s of ${url}`);
      assert.ok(Date.now() < end, `it plays no further than ${seen.time} s`);
    } while (seen.time < seconds);
    assert.equal(seen.stalls, 0, "it stalled");
    const pictures = await page.evaluate(() => window.pictures);
    await page.evaluate(() => window.driver.stop());
    return pictures;
  } finally {
    await page.close();
  }
}

/** In dB. */
function psnr(one, other) {
  const error = one.grey.reduce((sum, value, at) => sum + (value - other.grey[at]) ** 2, 0) / one.grey.length;
  return error === 0 ? 99 : 10 * Math.log10(255 ** 2 / error);
}

export async function sourcesFragments(browser, driver, source) {
  const folder = await packed();
  try {
    const origin = await startOrigin(folder);
    const { edge, admin } = await startEdge({ origin, settings: "[enhancer]\nlook_ahead = 0\n[enhancer.deadline]\nfraction = 10.0\nstartup_fraction = 10.0\nlongest = \"60s\"", route: "" });
    const uri = (text) => text.split("\n").find((line) => line.includes("/~acuity/v1."));
    let media;
    for (const end = Date.now() + 15_000; !media && Date.now() < end; await sleep(100)) {
      media = uri(await (await fetch(`${edge}/sample/master.m3u8`)).text());
    }
    media = new URL(media, `${edge}/sample/master.m3u8`).href;
    const text = (await (await fetch(media)).text()).split("\n");
    const names = text.filter((line) => line && !line.startsWith("#"));
    const lengths = text.filter((line) => line.startsWith("#EXTINF")).map((line) => Number.parseFloat(line.slice(8)));
    const ends = lengths.map((_, at) => lengths.slice(0, at + 1).reduce((sum, length) => sum + length, 0));
    // Every other one is made; then nothing is any more, and what is not there is the source's.
    for (let at = 0; at < segments; at += 2) await (await fetch(new URL(names[at], media))).arrayBuffer();
    const off = await fetch(`${admin}/routes/*%2F/enhance?on=false`, { method: "POST" });
    assert.equal(off.status, 200, await off.text());

    const seconds = ends[segments - 1] - 0.2;
    const own = await shown(browser, driver, source, `${edge}/sample/index.m3u8`, seconds);
    const mixed = await shown(browser, driver, source, media, seconds);
    let worst = 99;
    for (const [index, end] of ends.slice(0, segments).entries()) {
      const of = mixed.filter(({ time }) => time > end - lengths[index] + 0.05 && time < end - 0.1);
      assert.ok(of.length > 10 * lengths[index], `${of.length} pictures of segment ${index}`);
      const sizes = [...new Set(of.map(({ size }) => size))];
      assert.deepEqual(sizes, [index % 2 ? "640x360" : "1280x720"], `segment ${index}`);
      for (const picture of of) {
        const same = own.filter(({ time }) => Math.abs(time - picture.time) < 0.02);
        if (same.length > 0) worst = Math.min(worst, Math.max(...same.map((other) => psnr(other, picture))));
      }
    }
    assert.ok(worst > 30, `a picture is ${worst.toFixed(1)} dB from the source's`);
    return `${mixed.length} pictures, the furthest ${worst.toFixed(1)} dB from the source's`;
  } finally {
    await rm(folder, { recursive: true });
  }
}
