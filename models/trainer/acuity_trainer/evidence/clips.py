"""High and low pictures of the clips, made as the two protocols say and kept on disk between calls.

Decoding and coding are cheap beside the measuring, but the coded pictures must be the very same for every method: their
digest stands in every row, and rows of another digest are not compared.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import media, testset

KEYINT_S = 2.0
PRESET = "medium"


@dataclass(frozen=True)
class High:
    """A clip's high pictures: `frames`, pictures a second, digest of the file (of all segments, for a playlist).

    `path` is a file of the same frames as raw I420.
    """

    frames: media.Frames
    fps: float
    sha256: str
    path: Path


@dataclass(frozen=True)
class Low:
    """Low pictures of a clip: `frames`, measured kbit/s (0 for clean), digest of the pictures."""

    frames: media.Frames
    kbps: float
    sha256: str


def digest(path):
    """SHA-256 of a file; of a playlist, that of its folder's segments one after the other."""
    path = Path(path)
    if path.suffix != ".m3u8":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    total = hashlib.sha256()
    for segment in sorted(path.parent.glob("*.ts")):
        total.update(segment.read_bytes())
    return total.hexdigest()


class Store:
    """Loads clips and makes their low pictures; `folder` holds what was made."""

    def __init__(self, folder, shared, recordings=None):
        self.folder, self.shared = Path(folder), Path(shared)
        self.recordings = Path(recordings) if recordings else None
        self.folder.mkdir(parents=True, exist_ok=True)
        self._digests = {}

    def path(self, clip):
        """Where a clip's file is, or None where it is not."""
        root = self.recordings if clip.recorded else self.shared
        path = root / clip.path if root else None
        return path if path and path.exists() else None

    def sha256(self, clip):
        """Digest of a clip's file."""
        if clip.name not in self._digests:
            self._digests[clip.name] = digest(self.path(clip))
        return self._digests[clip.name]

    def _kept(self, key, make):
        """(Frames, path, facts) from disk, or made (`make` gives Frames and facts) and put there."""
        path, facts = self.folder / f"{key}.yuv", self.folder / f"{key}.json"
        if not (path.exists() and facts.exists()):
            frames, told = make()
            partial = path.with_suffix(".partial")
            np.ascontiguousarray(frames.raw).tofile(partial)
            partial.rename(path)
            told.update(width=frames.width, height=frames.height, sha256=_sha(frames))
            facts.write_text(json.dumps(told), encoding="utf-8")
        told = json.loads(facts.read_text(encoding="utf-8"))
        width, height = told["width"], told["height"]
        raw = np.memmap(path, np.uint8, "r").reshape(-1, width * height * 3 // 2)
        return media.Frames(raw, width, height), path, told

    def high(self, clip, scale, most_frames=0):
        """The High of a clip, cut on the right and below to sides that divide by twice the scale."""
        path = self.path(clip)
        fps = testset._rate(path)
        limit = most_frames or (round(clip.seconds * fps) if clip.seconds else None)

        def make():
            return media.read_video(path, limit=limit), {}

        key = f"{clip.name}-{self.sha256(clip)[:8]}-{limit or 'all'}"
        frames, path, _ = self._kept(key, make)
        cut = cropped(frames, 2 * scale)
        if cut is not frames:
            frames, path, _ = self._kept(f"{key}-{cut.width}x{cut.height}", lambda: (cut, {}))
        return High(frames, fps, self.sha256(clip), path)

    def low(self, clip, high, protocol, scale, kbps):
        """The Low that a protocol makes of a clip's High."""
        count = len(high.frames)

        def make():
            small = media.scale(high.frames, high.frames.width // scale, high.frames.height // scale)
            if protocol == "clean":
                return small, {"kbps": 0.0}
            return _coded(small, kbps, high.fps)

        frames, _, told = self._kept(f"{clip.name}-{high.sha256[:8]}-{count}-x{scale}-{protocol}-{kbps}", make)
        return Low(frames, told["kbps"], told["sha256"])


def native(high, kbps):
    """The high pictures themselves at a rate, as a Low of full size; large, and thus not kept."""
    frames, told = _coded(high.frames, kbps, high.fps)
    return Low(frames, told["kbps"], _sha(frames))


def _sha(frames):
    return hashlib.sha256(np.ascontiguousarray(frames.raw)).hexdigest()


def _coded(frames, kbps, fps):
    coding = media.Encode(preset=PRESET, kbps=kbps, keyint=round(KEYINT_S * fps), fps=fps)
    decoded, measured = media.encode_decode(frames, coding)
    return decoded, {"kbps": measured}


def cropped(frames, side):
    """Frames cut on the right and below to sides that are multiples of `side` (an even number)."""
    width, height = frames.width - frames.width % side, frames.height - frames.height % side
    if (width, height) == (frames.width, frames.height):
        return frames
    count, full, half = len(frames), frames.width * frames.height, (frames.height // 2, frames.width // 2)
    chroma = np.asarray(frames.raw[:, full:]).reshape(count, 2, *half)[:, :, : height // 2, : width // 2]
    luma = frames.luma[:, :height, :width]
    return media.Frames(np.hstack([luma.reshape(count, -1), chroma.reshape(count, -1)]), width, height)
