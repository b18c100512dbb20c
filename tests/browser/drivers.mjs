// What runs inside the page: one driver for each player, with the same five verbs, and a watch on the video element
// that no player can talk its way out of. These functions are sent to the browser as text: they see nothing of here.

/** Counts what a viewer would notice. Installed before the player. */
export function watch() {
  const video = document.querySelector("video");
  const seen = { errors: [], stalls: 0, started: false, excused: false, fragments: [] };
  video.addEventListener("playing", () => { seen.started = true; });
  video.addEventListener("waiting", () => { if (seen.started && !seen.excused && !video.seeking) seen.stalls += 1; });
  video.addEventListener("error", () => seen.errors.push(`video: ${video.error?.code} ${video.error?.message}`));
  window.seen = seen;
}

/**
 * hls.js. Every error event counts, the ones it calls harmless too, but for two that no server can cause or avoid: where a
 * stream has B-frames its first picture shows a few frames after zero, and hls.js announces the step over that gap before
 * it starts, or does not, as it happens; and it reports its own abort of a segment that a switch has made needless.
 * `settings`: hls.js's own, on top.
 */
export function hlsDriver(settings) {
  let hls;
  window.driver = {
    load: (url) => new Promise((resolve, reject) => {
      hls = new Hls({ autoStartLoad: false, ...settings });
      hls.on(Hls.Events.ERROR, (_, data) => {
        if (data.details === "bufferSeekOverHole" && !window.seen.started) return;
        if (data.details === Hls.ErrorDetails.INTERNAL_ABORTED) return;
        window.seen.errors.push(`hls.js: ${data.type} ${data.details} ${data.error?.message ?? ""}`);
        if (data.fatal) reject(new Error(data.details));
      });
      hls.on(Hls.Events.FRAG_LOADED, (_, data) => window.seen.fragments.push(data.frag.url));
      hls.on(Hls.Events.MANIFEST_PARSED, () => resolve());
      hls.loadSource(url);
      hls.attachMedia(document.querySelector("video"));
    }),
    levels: () => hls.levels.map((level) => (
      { height: level.height, width: level.width, url: level.url[0], codecs: level.codecs, frameRate: level.frameRate })),
    // the level of the picture that is shown, which two levels of one size do not tell apart
    shown: () => hls.currentLevel,
    start: (at) => { hls.startLevel = at; hls.loadLevel = at; hls.startLoad(0); },
    // from the next segment on, as adaptation does it: must not be seen as a stall
    change: (at) => { hls.nextLevel = at; },
    stop: () => hls.destroy(),
  };
}

/** Shaka. */
export function shakaDriver() {
  let player;
  const tracks = () => player.getVariantTracks().toSorted((a, b) => a.height - b.height);
  window.driver = {
    load: async (url) => {
      shaka.polyfill.installAll();
      player = new shaka.Player();
      await player.attach(document.querySelector("video"));
      player.configure({ abr: { enabled: false }, streaming: { bufferingGoal: 12, rebufferingGoal: 1 } });
      player.addEventListener("error", (event) => window.seen.errors.push(`shaka: ${event.detail?.code} ${event.detail}`));
      await player.load(url, 0);
    },
    levels: () => tracks().map((t) => ({ height: t.height, width: t.width, url: t.originalVideoId ?? "", codecs: t.codecs })),
    start: (at) => player.selectVariantTrack(tracks()[at], true),
    // clears the buffer but for the 4 s ahead of the picture: switches as adaptation does
    change: (at) => player.selectVariantTrack(tracks()[at], true, 4),
    stop: () => player.destroy(),
  };
}

/** One look at the picture. */
export function look() {
  const video = document.querySelector("video");
  return {
    time: video.currentTime,
    height: video.videoHeight,
    width: video.videoWidth,
    paused: video.paused,
    dropped: video.getVideoPlaybackQuality().droppedVideoFrames,
    total: video.getVideoPlaybackQuality().totalVideoFrames,
    ...window.seen,
  };
}
