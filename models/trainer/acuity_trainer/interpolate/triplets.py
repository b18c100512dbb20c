"""The corpus: pictures as a player's decoder gives them at the low rate, and the true ones between them.

A folder holds, for each item, `NAME.coded.npy` uint8 [k + 1, h, w] and `NAME.middle.npy` uint8 [k, h, w]: lumas, the
i-th middle lying halfway between the coded pictures i and i + 1. `index.json` says where they come from. Only lumas are
kept: motion is found in them, and the chroma planes are moved with it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import media, metrics

INDEX = "index.json"


@dataclass(frozen=True)
class Item:
    """One stretch of video, mapped from disk."""

    name: str
    coded: np.ndarray
    middle: np.ndarray
    share: float
    # Which middles are not across a cut.
    whole: np.ndarray

    def __len__(self):
        return len(self.whole)


def decimated(frames, step, encode):
    """`frames` (media.Frames at the full rate) as (coded Frames at every 2 * step-th, true Frames between, kbit/s).

    `encode`, a media.Encode at the low rate, or None: not compressed.
    """
    kept = media.Frames(np.ascontiguousarray(frames.raw[:: 2 * step]), frames.width, frames.height)
    between = media.Frames(np.ascontiguousarray(frames.raw[step :: 2 * step]), frames.width, frames.height)
    coded, kbps = media.encode_decode(kept, encode) if encode else (kept, 0.0)
    count = min(len(coded) - 1, len(between))
    cut = [
        media.Frames(part.raw[:length], part.width, part.height)
        for part, length in ((coded, count + 1), (between, count))
    ]
    return *cut, kbps


def put(folder, name, coded, middle, facts):
    """Writes one item (lumas) and gives its entry of the index; `facts` says where it comes from."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.coded.npy", np.ascontiguousarray(coded))
    np.save(folder / f"{name}.middle.npy", np.ascontiguousarray(middle))
    errors = [metrics.mse(blended(coded[i], coded[i + 1]), middle[i]) for i in range(len(middle))]
    return {"name": name, "triplets": len(middle), "blend_mse": round(float(np.mean(errors)), 3), **facts}


def finish(folder, items, **facts):
    """Writes the index: what makes a folder a corpus."""
    text = json.dumps({"task": "interpolate", "items": items, **facts}, indent=1)
    (Path(folder) / INDEX).write_text(text, encoding="utf-8")


def blended(first, second):
    """The mean of two uint8 pictures, rounded up as the network does."""
    return ((first.astype(np.uint16) + second + 1) >> 1).astype(np.uint8)


class Corpus:
    """A folder of items, and patches out of it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        text = (self.folder / INDEX).read_text(encoding="utf-8")
        self.index = json.loads(text)
        self.digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.items = [self._item(entry) for entry in self.index["items"]]
        weights = np.array([len(item) * item.share for item in self.items], float)
        self._chances = weights / weights.sum()

    def _item(self, entry):
        coded, middle = (
            np.load(self.folder / f"{entry['name']}.{side}.npy", mmap_mode="r") for side in ("coded", "middle")
        )
        whole = np.asarray(entry.get("whole", range(len(middle))))
        return Item(entry["name"], coded, middle, entry.get("share", 1.0), whole)

    def batch(self, rng, count, height, width):
        """(previous, following, middle), uint8 [count, height, width] each, mirrored and turned in time at random."""
        patches = np.empty((3, count, height, width), np.uint8)
        for number in range(count):
            item = self.items[int(rng.choice(len(self.items), p=self._chances))]
            at = int(item.whole[int(rng.integers(len(item)))])
            top = int(rng.integers(item.middle.shape[1] - height + 1))
            left = int(rng.integers(item.middle.shape[2] - width + 1))
            place = np.s_[top : top + height, left : left + width]
            three = [item.coded[at][place], item.coded[at + 1][place], item.middle[at][place]]
            if rng.random() < 0.5:
                three[:2] = three[1::-1]
            flips = np.s_[:: -1 if rng.random() < 0.25 else 1, :: -1 if rng.random() < 0.5 else 1]
            for patch, picture in zip(patches[:, number], three, strict=True):
                patch[...] = picture[flips]
        return patches
