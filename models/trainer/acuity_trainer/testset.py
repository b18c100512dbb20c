"""What the networks are measured on and never trained on.

Clips: every video of the shared data, taken as the high rendition; its low one is
made as an origin would make it (half the size by swscale's bicubic, libx264 medium
at about 600 kbit/s, a key frame every two seconds). `ocean` brings both its own
renditions. Stills: Set5 and Set14, halved by swscale's bicubic.
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


def load_clip(shared, name, cache=None, most_frames=MOST_FRAMES):
    """One clip of the test set as a Pair."""
    if name == "ocean":
        high_path, low_path = (Path(shared) / f"hls/ocean/{size}/{size}.m3u8" for size in ("720p", "360p"))
        sha = hashlib.sha256(
            b"".join(
                path.read_bytes()
                for size in ("360p", "720p")
                for path in sorted((high_path.parent.parent / size).glob("*.ts"))
            )
        )
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
        path = Path(shared) / "video" / f"{name}.mp4"
        sha, fps = hashlib.sha256(path.read_bytes()), _rate(path)
        width, height = media.probe_size(path)
        high = media.Frames(
            _cached(cache, f"{name}-high-{most_frames}", lambda: media.read_video(path, limit=most_frames).raw),
            width,
            height,
        )
        coding = media.Encode(preset=LOW_PRESET, kbps=LOW_KBPS, keyint=round(2 * fps), fps=fps)

        def make_low():
            return media.encode_decode(media.scale(high, width // 2, height // 2), coding)[0].raw

        low = media.Frames(_cached(cache, f"{name}-low-{most_frames}", make_low), width // 2, height // 2)
        kbps = LOW_KBPS
    if len(low) != len(high):
        raise media.MediaError(f"{name}: {len(low)} low frames for {len(high)} high ones")
    return Pair(name, low, high, kbps, fps, sha.hexdigest())


def load_stills(shared, collection):
    """[(name, low, high)] Y planes of Set5 or Set14; sides are cropped to multiples of four."""
    pairs = []
    for path in sorted((Path(shared) / "images/test" / collection).glob("*.png")):
        width, height = media.probe_size(path)
        high = media.read_still(path, width & ~3, height & ~3)
        low = media.scale(media.frames_from_luma(high[None]), high.shape[1] // 2, high.shape[0] // 2).luma[0]
        pairs.append((path.stem, low, high))
    return pairs
