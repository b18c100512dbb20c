"""The inputs: HLS renditions of a size and rate, made from any clip with FFmpeg and kept below .acuity/bench."""

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from meter import BenchError

# 640x360 at 30 fps has this; other sizes and rates follow `kbps_for`.
BASE_KBPS = 600
BASE_PIXELS = 640 * 360
# Part of every clip's name: a change of the recipe below makes new ones.
RECIPE = 1


@dataclass(frozen=True)
class Clip:
    """A rendition on disk: master.m3u8 leads to index.m3u8 and the segments."""

    folder: Path
    width: int
    height: int
    fps: int
    seconds: int
    segment_s: int
    kbps: int

    @property
    def playlist(self):
        return self.folder / "index.m3u8"

    @property
    def frames(self):
        return self.fps * self.seconds

    @property
    def label(self):
        return f"{self.width}x{self.height}p{self.fps}"

    def facts(self):
        keys = ("width", "height", "fps", "seconds", "segment_s", "kbps")
        return {key: getattr(self, key) for key in keys}


def kbps_for(width, height, fps):
    """A rate that fits: bits grow slower than pixels (twice the lines, 2.8 times) and than frames (twice, 1.4
    times)."""
    rate = BASE_KBPS * (width * height / BASE_PIXELS) ** 0.75 * (fps / 30) ** 0.5
    return round(rate / 10) * 10


def run(*command):
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError as missing:
        raise BenchError(f"{command[0]} is missing: scripts/bench/setup.sh installs what the bench needs") from missing
    if done.returncode != 0:
        raise BenchError(f"{' '.join(map(str, command))}\n{done.stderr.strip()}")
    return done.stdout


def identity(source):
    """What tells one source from another without reading all of it."""
    stat = source.stat()
    return f"{source.resolve()} {stat.st_size} {stat.st_mtime_ns}"


def make(source, store, width, height, fps=30, seconds=24, segment_s=6, kbps=None, from_s=0):
    """The clip, made if it is not there yet: `source`'s frames from `from_s` seconds on, one after the other (again
    from the start where they end) at `fps`, whatever their own rate, so that every frame differs from the one before
    as a camera's would."""
    kbps = kbps or kbps_for(width, height, fps)
    wanted = f"{RECIPE} {identity(source)} {width}x{height} {fps} {seconds}/{segment_s} {kbps}"
    wanted += f" from {from_s}" if from_s else ""
    name = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    folder = store / f"{width}x{height}p{fps}-{seconds}s-{name}"
    clip = Clip(folder, width, height, fps, seconds, segment_s, kbps)
    if (folder / "recipe").is_file():
        return clip
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    gop = fps * segment_s
    run(
        *("ffmpeg", "-v", "error", "-nostdin", "-y", "-stream_loop", "-1"),
        *(("-ss", from_s) if from_s else ()),
        *("-i", source, "-map", "0:v:0", "-an"),
        *("-frames:v", fps * seconds, "-r", fps),
        *("-vf", f"setpts=N/({fps}*TB),scale={width}:{height}:flags=bicubic,setsar=1"),
        *("-c:v", "libx264", "-preset", "medium", "-profile:v", "high", "-pix_fmt", "yuv420p", "-bf", 2),
        *("-b:v", f"{kbps}k", "-maxrate", f"{kbps * 3 // 2}k", "-bufsize", f"{kbps * 2}k"),
        *("-g", gop, "-keyint_min", gop, "-sc_threshold", 0),
        *("-f", "hls", "-hls_time", segment_s, "-hls_playlist_type", "vod", "-hls_flags", "independent_segments"),
        *("-hls_segment_type", "mpegts", "-master_pl_name", "master.m3u8"),
        *("-hls_segment_filename", part / "%05d.ts", part / "index.m3u8"),
    )
    master = part / "master.m3u8"
    text = master.read_text()
    master.write_text(text.replace("RESOLUTION=", f"FRAME-RATE={fps}.000,RESOLUTION="))
    (part / "recipe").write_text(wanted + "\n")  # last: an interrupted run starts over
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return clip


def stream(store, clip, name, repeats):
    """A folder with a long VOD stream below `store`: the clip `repeats` times, each time under addresses of its own,
    so that nothing is in a cache twice. Costs no disk."""
    folder = store / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = ["#EXTM3U", "#EXT-X-VERSION:6", f"#EXT-X-TARGETDURATION:{clip.segment_s}", "#EXT-X-PLAYLIST-TYPE:VOD"]
    body = [
        line
        for line in clip.playlist.read_text().splitlines()
        if line.startswith("#EXTINF") or not line.startswith("#")
    ]
    for turn in range(repeats):
        (folder / f"t{turn}").symlink_to(clip.folder, target_is_directory=True)
        if turn > 0:
            lines.append("#EXT-X-DISCONTINUITY")
        lines.extend(line if line.startswith("#") else f"t{turn}/{line}" for line in body)
    lines.append("#EXT-X-ENDLIST")
    (folder / "index.m3u8").write_text("\n".join(lines) + "\n")
    shutil.copy(clip.folder / "master.m3u8", folder / "master.m3u8")
    return folder


def video_stream(path):
    """ffprobe's view of the first video stream."""
    out = run(
        *("ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height,level,profile"),
        *("-of", "json", path),
    )
    streams = json.loads(out).get("streams") or []
    if not streams:
        raise BenchError(f"{path} has no video")
    return streams[0]


def seconds_of(path):
    """How long a file plays."""
    out = run("ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", path)
    try:
        return float(out)
    except ValueError:
        raise BenchError(f"{path} does not tell how long it is") from None


def sample_film(root):
    """The project's own sample film, whole."""
    film = root / ".acuity/media/bbb.mp4"
    if not film.is_file():
        raise BenchError(
            "no clip: name one with --clip FILE, or run scripts/fetch-sample.sh, which fetches the sample film"
        )
    return film


def default_source(root):
    """A minute of the sample film, from where the sample stream begins."""
    cut = root / ".acuity/bench/sample-film.mp4"
    if not cut.is_file():
        film = sample_film(root)
        cut.parent.mkdir(parents=True, exist_ok=True)
        part = cut.with_suffix(".part.mp4")
        run("ffmpeg", "-v", "error", "-nostdin", "-y", "-ss", 340, "-t", 60, "-i", film, "-an", "-c", "copy", part)
        part.rename(cut)
    return cut
