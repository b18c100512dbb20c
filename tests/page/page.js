// Plays the origin's rendition and the edge's enhanced one in step and shows what each costs.
// Addresses come from config.json, which the sample origin writes: { original, enhanced, credit }.

const $ = (id) => document.getElementById(id);
const config = await (await fetch("config.json")).json();
const stage = $("stage");

/** One of the two pictures: its player, and what has been counted of it. */
class Side {
  constructor(name, url, choose) {
    this.name = name;
    this.video = $(name);
    this.choose = choose;
    this.reset();
    // Retries are generous: an edge that has just been started may still be making the first segments.
    this.hls = new Hls({ startPosition: 0, maxBufferLength: 20, maxMaxBufferLength: 20 });
    this.hls.on(Hls.Events.MANIFEST_PARSED, () => this.pick(choose(this.hls.levels)));
    this.hls.on(Hls.Events.FRAG_LOADED, (_, { frag }) => this.count(frag));
    this.hls.on(Hls.Events.ERROR, (_, data) => this.recover(data, url));
    this.hls.loadSource(url);
    this.hls.attachMedia(this.video);
  }

  reset() {
    Object.assign(this, { bytes: 0, seconds: 0, segments: 0, slowestMs: 0 });
  }

  /** Fixes one level: a comparison must not switch by itself. */
  pick(level) {
    if (level < 0) {
      notice("The edge offers no enhanced rendition of this stream yet; asking again.");
      setTimeout(() => this.hls.loadSource(this.hls.url), 2000);
      return;
    }
    notice("");
    this.reset();
    this.hls.currentLevel = level;
    this.level = this.hls.levels[level];
    document.dispatchEvent(new Event("picked"));
  }

  count(frag) {
    if (frag.type !== "main" || frag.sn === "initSegment") return;
    this.bytes += frag.stats.loaded;
    this.seconds += frag.duration;
    this.segments += 1;
    this.slowestMs = Math.max(this.slowestMs, frag.stats.loading.end - frag.stats.loading.start);
  }

  recover(data, url) {
    if (!data.fatal) return;
    console.error(this.name, data.type, data.details);
    notice(`${this.name}: ${data.details}; trying again`);
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR) this.hls.recoverMediaError();
    else setTimeout(() => this.hls.loadSource(url), 2000);
  }

  ready() {
    return this.video.readyState >= HTMLMediaElement.HAVE_FUTURE_DATA || this.video.ended;
  }
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

const isEnhanced = (level) => level.url[0].includes("/~acuity/");
const enhanced = new Side("enhanced", config.enhanced, (levels) => levels.findIndex(isEnhanced));
const original = new Side("original", config.original, (levels) =>
  levels.reduce((best, level, at) => (level.height < levels[best].height ? at : best), 0));
const sides = [original, enhanced];

// --- in step: the enhanced picture leads, the original follows ---

let wanted = true; // what the person asked for: playing or not

function step() {
  const [follower, leader] = [original.video, enhanced.video];
  const bothReady = sides.every((side) => side.ready());
  for (const { video } of sides) {
    // one that waits for data makes the other wait too
    if (wanted && bothReady && video.paused && !video.ended) video.play().catch(() => { wanted = false; });
    if ((!wanted || !bothReady) && !video.paused) video.pause();
  }
  const driftS = follower.currentTime - leader.currentTime;
  if (Math.abs(driftS) > 0.25) {
    follower.currentTime = leader.currentTime;
  } else {
    // a gentle pull: 10 % faster or slower at most, nothing within half a frame
    follower.playbackRate = Math.abs(driftS) < 0.01 ? 1 : 1 - Math.max(-0.1, Math.min(0.1, driftS));
  }
  $("drift").textContent = Math.round(Math.abs(driftS) * 1000);
  if (leader.ended && wanted) seekTo(0);
}

function seekTo(seconds) {
  for (const { video } of sides) video.currentTime = seconds;
}

// --- figures ---

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const kbps = (bits) => `${Math.round(bits / 1000).toLocaleString("en")} kbit/s`;

function show() {
  const { currentTime, duration } = enhanced.video;
  if (Number.isFinite(duration)) {
    $("seek").max = duration;
    if (document.activeElement !== $("seek")) $("seek").value = currentTime;
    $("clock").textContent = `${clock(currentTime)} / ${clock(duration)}`;
  }
  $("play").textContent = wanted ? "Pause" : "Play";
  for (const side of sides) {
    const { video } = side;
    const size = video.videoWidth ? `${video.videoWidth} × ${video.videoHeight}` : "";
    $(`${side.name}-size`).textContent = size;
    const cells = [
      size,
      side.level ? kbps(side.level.bitrate) : "",
      `${(side.bytes / 1e6).toFixed(2)} MB`,
      side.seconds ? kbps((8 * side.bytes) / side.seconds) : "",
      side.segments,
      `${Math.round(side.slowestMs)} ms`,
      video.getVideoPlaybackQuality().droppedVideoFrames,
    ];
    const row = $(`row-${side.name}`);
    while (row.cells.length <= cells.length) row.insertCell();
    cells.forEach((text, at) => { row.cells[at + 1].textContent = text; });
  }
}

setInterval(step, 100);
setInterval(show, 250);

// --- hands ---

function splitAt(percent) {
  const value = Math.max(0, Math.min(100, percent));
  stage.style.setProperty("--split", `${value}%`);
  $("handle").setAttribute("aria-valuenow", Math.round(value));
}

function follow(event) {
  const box = stage.getBoundingClientRect();
  splitAt((100 * (event.clientX - box.left)) / box.width);
}

stage.addEventListener("pointerdown", (event) => {
  if (stage.className === "beside") return;
  if (stage.className === "zoom" && event.target !== $("handle")) return;
  stage.setPointerCapture(event.pointerId);
  follow(event);
});
stage.addEventListener("pointermove", (event) => {
  if (stage.hasPointerCapture(event.pointerId)) {
    follow(event);
  } else if (stage.className === "zoom") {
    const box = stage.getBoundingClientRect();
    stage.style.setProperty("--x", `${(100 * (event.clientX - box.left)) / box.width}%`);
    stage.style.setProperty("--y", `${(100 * (event.clientY - box.top)) / box.height}%`);
  }
});
$("handle").addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -2, ArrowRight: 2 }[event.key];
  if (by) splitAt(Number($("handle").getAttribute("aria-valuenow")) + by);
});

for (const button of document.querySelectorAll("[data-mode]")) {
  button.addEventListener("click", () => {
    stage.className = button.dataset.mode;
    for (const other of document.querySelectorAll("[data-mode]")) {
      other.setAttribute("aria-pressed", other === button);
    }
  });
}
$("play").addEventListener("click", () => { wanted = !wanted; step(); show(); });
$("seek").addEventListener("input", () => seekTo(Number($("seek").value)));
$("seek").addEventListener("change", () => $("seek").blur());
$("mute").addEventListener("click", () => {
  enhanced.video.muted = !enhanced.video.muted;
  $("mute").textContent = enhanced.video.muted ? "Unmute" : "Mute";
});
$("variant").addEventListener("change", () => original.pick(Number($("variant").value)));
document.addEventListener("picked", () => {
  $("variant").replaceChildren(...original.hls.levels.map((level, at) =>
    new Option(`the origin's ${level.height}p`, at, false, level === original.level)));
});
$("credit").textContent = config.credit ?? "";

// for the browser test, which looks at the page from inside
window.acuity = { sides, original, enhanced };
