"""Measures networks on held-out pairs, as they ship: ONNX files through ONNX Runtime.

Held-out pairs are a corpus' folder that nothing was trained on; `overlap` is the check
that this is so.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import export, media, metrics
from .results import PLAIN, Score


@dataclass(frozen=True)
class Pairs:
    """One item of a corpus: high uint8 [k, H, W] and lows uint8 [variants, k, h, w], mapped from disk."""

    name: str
    high: np.ndarray
    lows: np.ndarray


def items(folder):
    """The items of a corpus' folder, one after the other."""
    folder = Path(folder)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    for item in index["items"]:
        high, low = (np.load(folder / f"{item['name']}.{side}.npy", mmap_mode="r") for side in ("high", "low"))
        yield Pairs(item["name"], high, low)


def digests(folder):
    """SHA-256 of every high picture of a corpus."""
    return {hashlib.sha256(picture.tobytes()).hexdigest() for item in items(folder) for picture in item.high}


def overlap(trained, held_out):
    """How many held-out pictures are in the training corpus as well: must be 0."""
    return len(digests(trained) & digests(held_out))


class _Sum:
    """Squared errors and similarities of one method, picture by picture."""

    def __init__(self):
        self.errors, self.similarities = [], []

    def add(self, pictures, highs):
        for picture, high in zip(pictures, highs, strict=True):
            self.errors.append(metrics.mse(picture, high))
            self.similarities.append(metrics.ssim(picture, high))

    def score(self):
        return Score(self.psnr_db(), float(np.mean(self.similarities)))

    def psnr_db(self, since=0):
        """Of the pictures that came after the first `since`."""
        return metrics.psnr(float(np.mean(self.errors[since:])))


def measure(parts, models, threads=1, by_part=None):
    """{method: Score} of the plain scalers and of `models` {name: ONNX bytes} on an iterable of Pairs.

    PSNR is that of the squared error averaged over all pictures, SSIM the mean over them. A dictionary `by_part` is
    filled with {part's name: {method: PSNR in dB}}.
    """
    sessions = {name: export.session(data, threads) for name, data in models.items()}
    sums = {name: _Sum() for name in (*PLAIN, *sessions)}
    done = 0
    for part in parts:
        high, before = np.asarray(part.high), done
        height, width = high.shape[1:]
        for low in part.lows:
            frames = media.frames_from_luma(np.ascontiguousarray(low))
            for method in PLAIN:
                sums[method].add(media.scale(frames, width, height, method).luma, high)
            for name, session in sessions.items():
                sums[name].add((export.upscale(session, picture) for picture in frames.luma), high)
            done += len(low)
            if sys.stderr.isatty():
                print(f"measuring: {done} pictures ", end="\r", file=sys.stderr, flush=True)
        if by_part is not None:
            by_part[part.name] = {name: total.psnr_db(before) for name, total in sums.items()}
    return {name: total.score() for name, total in sums.items()}


def plain(scores):
    """The better plain scaler's PSNR and the better plain SSIM."""
    return Score(max(scores[name].psnr_db for name in PLAIN), max(scores[name].ssim for name in PLAIN))


def table(scores, names=None):
    """The scores as lines of text, with the gain over the better plain scaler."""
    best = plain(scores)
    lines = [f"{'':24} {'PSNR-Y dB':>9} {'SSIM':>7} {'over plain':>10}"]
    for name, score in scores.items():
        shown, gain_db = (names or {}).get(name, name), score.psnr_db - best.psnr_db
        lines.append(f"{shown:24} {score.psnr_db:9.3f} {score.ssim:7.4f} {gain_db:+10.3f}")
    return "\n".join(lines)
