"""What the networks are measured on and never trained on.

Clips: every video of the shared data, taken as the high rendition; its low one is
made as an origin would make it (a half, a third or a quarter of the size by swscale's
bicubic, libx264 medium at about 600 kbit/s at x2, a key frame every two seconds).
For x2, `ocean` brings both its own renditions. Stills: Set5 and Set14, scaled down by
swscale's bicubic. `testlist` recognises the clips.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import media

LOW_KBPS = 600
LOW_PRESET = "medium"
# Frames looked at per clip, at most: 40 s at 30 frames a second.
MOST_FRAMES = 1200


@dataclass(frozen=True)
class Pair:
    """Low and high frames of one clip, paired by index."""

    name: str
    low: media.Frames
    high: media.Frames
    kbps: float
    fps: float
    sha256: str


def _rate(path):
    out = media._run(
        [
            "ffprobe",
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            "stream=r_frame_rate",
            "-of",
            "csv=p=0",
            str(path),
        ]
    )
    over, under = out.decode().strip().split(",")[0].splitlines()[0].split("/")
    return float(over) / float(under)


def clip_names(shared):
    """Names of the clips that are there, in the order of the report."""
    names = [path.stem for path in sorted((Path(shared) / "video").glob("*.mp4"))]
    return names + (["ocean"] if (Path(shared) / "hls/ocean/720p/720p.m3u8").exists() else [])


def low_kbps(scale):
    """The rate of a low rendition; smaller pictures need more bits a pixel."""
    return round(LOW_KBPS * (2 / scale) ** 1.5)


def _divisible(frames, by):
    """Cropped by the few columns and rows that do not divide."""
    width, height = frames.width - frames.width % by, frames.height - frames.height % by
    if (width, height) == (frames.width, frames.height):
        return frames
    return media.frames_from_luma(np.ascontiguousarray(frames.luma[:, :height, :width]))


def _cached(cache, key, make):
    """Raw frames kept on disk between runs: the coded pictures are then the same too."""
    if cache is None:
        return make()
    path = Path(cache) / f"{key}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, make())
        partial.rename(path)
    return np.load(path, mmap_mode="r")


def _ocean_digest(shared):
    found = [path for size in ("360p", "720p") for path in sorted((Path(shared) / "hls/ocean" / size).glob("*.ts"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in found))


def load_clip(shared, name, cache=None, most_frames=MOST_FRAMES, scale=2):
    """One clip of the test set as a Pair."""
    if name == "ocean" and scale == 2:
        high_path, low_path = (Path(shared) / f"hls/ocean/{size}/{size}.m3u8" for size in ("720p", "360p"))
        sha = _ocean_digest(shared)
        high = media.Frames(
            _cached(cache, f"ocean-high-{most_frames}", lambda: media.read_video(high_path, limit=most_frames).raw),
            1280,
            720,
        )
        low = media.Frames(
            _cached(cache, f"ocean-low-{most_frames}", lambda: media.read_video(low_path, limit=most_frames).raw),
            640,
            360,
        )
        kbps, fps = 0.0, _rate(high_path)
        seconds = len(low) / fps
        kbps = sum(path.stat().st_size for path in low_path.parent.glob("*.ts")) * 8e-3 / max(seconds, 40.0)
    else:
        path = Path(shared) / ("hls/ocean/720p/720p.m3u8" if name == "ocean" else f"video/{name}.mp4")
        sha = _ocean_digest(shared) if name == "ocean" else hashlib.sha256(path.read_bytes())
        fps = _rate(path)
        width, height = media.probe_size(path)
        high = media.Frames(
            _cached(cache, f"{name}-high-{most_frames}", lambda: media.read_video(path, limit=most_frames).raw),
            width,
            height,
        )
        high = _divisible(high, 2 * scale if scale != 2 else 1)
        width, height = high.width // scale, high.height // scale
        kbps = low_kbps(scale)
        coding = media.Encode(preset=LOW_PRESET, kbps=kbps, keyint=round(2 * fps), fps=fps)

        def make_low():
            return media.encode_decode(media.scale(high, width, height), coding)[0].raw

        key = f"{name}-low-{most_frames}" + ("" if scale == 2 else f"-x{scale}")
        low = media.Frames(_cached(cache, key, make_low), width, height)
    if len(low) != len(high):
        raise media.MediaError(f"{name}: {len(low)} low frames for {len(high)} high ones")
    return Pair(name, low, high, kbps, fps, sha.hexdigest())


def load_stills(shared, collection, scale=2):
    """[(name, low, high)] Y planes of Set5 or Set14; sides are cropped so that the low ones are even."""
    pairs = []
    for path in sorted((Path(shared) / "images/test" / collection).glob("*.png")):
        width, height = media.probe_size(path)
        by = 2 * scale
        high = media.read_still(path, width - width % by, height - height % by)
        low = media.scale(media.frames_from_luma(high[None]), high.shape[1] // scale, high.shape[0] // scale).luma[0]
        pairs.append((path.stem, low, high))
    return pairs
