"""Whether a model's 8-bit file is published, and what catalogue and record say of it.

It is a quicker way to the same pictures or nothing: in each clip that is measured it may lose MOST_LOSS_DB against the
exported file, and if it loses more in one, there is none.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from . import export, metrics, quantise

MOST_LOSS_DB = 0.05
# Behind a model's id, where 8-bit files are named or measured; no id has a dot.
SUFFIX = ".int8"


def name_of(model):
    """What a model's 8-bit file is called, without the ending of an ONNX file."""
    return f"{model}{SUFFIX}"


@dataclass(frozen=True)
class Verdict:
    """Luma PSNR in dB that is lost on every `every`th frame: mean over `clips` clips, and in the `worst` of them."""

    loss_db: float
    worst_db: float
    worst: str
    clips: int
    every: int = 1

    @property
    def good(self):
        return self.worst_db <= MOST_LOSS_DB

    def told(self, model):
        if self.good:
            return f"{model} in 8-bit integers: {self.loss_db:+.3f} dB lost, {self.worst_db:+.3f} in {self.worst}"
        return (
            f"{model} is not published in 8-bit integers: "
            f"{self.worst_db:.3f} dB lost in {self.worst}, more than {MOST_LOSS_DB}"
        )


def verdict(parts, every=1):
    """The Verdict on {clip: (PSNR of the exported file in dB, PSNR in 8-bit integers)}."""
    losses = {part: exact - integer for part, (exact, integer) in parts.items()}
    worst = max(losses, key=losses.get)
    return Verdict(float(np.mean(list(losses.values()))), float(losses[worst]), worst, len(losses), every)


def measured(parts, exact, integer, threads=1):
    """{clip: (dB, dB)} for `verdict`, of two models' bytes; `parts` gives (clip, pairs of a low and a high Y plane)."""
    sessions, found = [export.session(data, threads) for data in (exact, integer)], {}
    for name, pairs in parts:
        errors = [[metrics.mse(export.upscale(run, low), high) for run in sessions] for low, high in pairs]
        found[name] = tuple(metrics.psnr(error) for error in np.mean(errors, 0))
    return found


def made(model, data, calibrated, say=print):
    """A model's 8-bit bytes, or None where it has none; says why."""
    if calibrated is None:
        return None
    try:
        return quantise.of(data, calibrated)
    except quantise.NotQuantisedError as why:
        say(f"{model} is not made in 8-bit integers: {why}")
        return None


def table(model, data, judged, milliseconds):
    """The catalogue's `[model.int8]`."""
    return {
        "file": f"{name_of(model)}.onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        # never -0.0, which says nothing
        "loss_db": round(judged.loss_db, 4) + 0.0,
        "ms_per_frame": round(milliseconds, 1),
    }
