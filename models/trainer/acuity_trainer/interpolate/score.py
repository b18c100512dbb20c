"""Measures ways of interpolating on a held-out corpus: exported files as they ship, the built-in ways, FFmpeg's."""

import hashlib
from pathlib import Path

import numpy as np

from .. import media, metrics
from ..results import Score
from . import methods
from .triplets import Corpus

PLAIN = "blend"
# Every method is judged on the same pictures: FFmpeg's leaves out those at the ends.
BASELINES = ("repeat", PLAIN, "minterpolate")


def frames_of(item):
    """An item's coded pictures as Frames; their chroma is neutral, since only lumas are kept."""
    return media.frames_from_luma(np.ascontiguousarray(item.coded))


def errors(item, models, baselines=BASELINES):
    """{method: {index: (mean squared error, SSIM)}} of every middle of an item that is not across a cut."""
    found = {}
    for name, made in methods.every(frames_of(item), len(item.middle), models, baselines):
        found[name] = {
            index: (
                metrics.mse(made.luma[index], item.middle[index]),
                metrics.ssim(made.luma[index], item.middle[index]),
            )
            for index in item.whole
            if index in made.luma
        }
    return found


def scored(found):
    """{method: Score} of one or several items' `errors`, on the pictures that all methods made."""
    sums = {}
    for one in found:
        common = set.intersection(*(set(made) for made in one.values()))
        for name, made in one.items():
            sums.setdefault(name, []).extend(made[index] for index in sorted(common))
    return {
        name: Score(metrics.psnr(float(np.mean([mse for mse, _ in pairs]))), float(np.mean([s for _, s in pairs])))
        for name, pairs in sums.items()
    }


def measure(folder, models, baselines=BASELINES):
    """({method: Score}, how many pictures) on a held-out corpus' folder; `models` {name: ONNX bytes}."""
    found = [errors(item, models, baselines) for item in Corpus(folder).items]
    count = sum(min(len(made) for made in one.values()) for one in found)
    return scored(found), count


def digests(folder):
    """SHA-256 of every middle picture of a corpus."""
    return {
        hashlib.sha256(picture.tobytes()).hexdigest() for item in Corpus(Path(folder)).items for picture in item.middle
    }


def overlap(trained, held_out):
    """How many held-out pictures are in the training corpus as well: must be 0."""
    return len(digests(trained) & digests(held_out))


def table(scores, names=None):
    """The scores as lines of text, with the gain over blending."""
    lines = [f"{'':24} {'PSNR-Y dB':>9} {'SSIM':>7} {'over blend':>10}"]
    for name, score in scores.items():
        gain_db = score.psnr_db - scores[PLAIN].psnr_db
        lines.append(f"{(names or {}).get(name, name):24} {score.psnr_db:9.3f} {score.ssim:7.4f} {gain_db:+10.3f}")
    return "\n".join(lines)
