"""One method's figures on one clip, picture by picture, in constant memory.

The temporal figure is the PSNR of *changes*: of x[t] - x[t-1] against the reference's own r[t] - r[t-1]. It falls where
detail shimmers, pulses with the group of pictures or comes late, and what moves in the reference costs nothing. It
needs no optical flow: warping errors and tOF measure with an estimator that fails first on fine texture, noise and
blocks, which is what is judged here, and a warping error is best for a picture without any detail at all. Since a
better picture also changes more rightly, `flicker` tells that part apart: the energy of the change of the error over
twice the error's own, 0 for an error that stands still, 1 for one that is new in every picture.
"""

import numpy as np

from .. import media, metrics

# Frames scaled in one go by the plain scalers: enough to make starting FFmpeg cheap, few enough for memory.
CHUNK_FRAMES = 48


def _energy(error):
    flat = error.ravel()
    return float(np.dot(flat, flat)) / flat.size


class Score:
    """Sums up the errors of pictures that come in order."""

    def __init__(self):
        self.squares, self.changes, self.count, self.last = 0.0, 0.0, 0, None

    def add(self, plane, high):
        """One Y plane uint8 [h, w] and the true one."""
        # Single precision holds the sum of a picture's squares to a millionth, and is several times as fast.
        error = plane.astype(np.float32) - high
        self.squares += _energy(error)
        if self.last is not None:
            self.changes += _energy(error - self.last)
        self.last = error
        self.count += 1

    def figures(self, temporal=True):
        """{"frames", "psnr_db"} and, of consecutive pictures, {"temporal_db", "flicker"}."""
        mean = self.squares / self.count
        told = {"frames": self.count, "psnr_db": metrics.psnr(mean)}
        if temporal and self.count > 1:
            change = self.changes / (self.count - 1)
            told["temporal_db"] = metrics.psnr(change)
            told["flicker"] = change / (2 * mean) if mean > 0 else 0.0
        return told


def plain(frames, width, height, method, every=1):
    """Y planes of Frames enlarged by a scaler of libswscale, every `every`-th."""
    chosen = range(0, len(frames), every)
    for start in range(0, len(chosen), CHUNK_FRAMES):
        part = np.ascontiguousarray(frames.raw[list(chosen[start : start + CHUNK_FRAMES])])
        yield from media.scale(media.Frames(part, frames.width, frames.height), width, height, method).luma


def judged(pictures, highs, judge=None):
    """Figures of an iterable of Y planes against the true ones [n, h, w]; `judge` adds SSIM and VMAF.

    Without a judge the pictures need not be consecutive: then SSIM is `metrics.ssim`'s, and there is neither VMAF
    nor a temporal figure.
    """
    score, similar = Score(), []
    for plane, high in zip(pictures, highs, strict=True):
        score.add(plane, high)
        if judge:
            judge.add(plane)
        else:
            similar.append(metrics.ssim(plane, high))
    told = score.figures(temporal=judge is not None)
    told.update(judge.verdict() if judge else {"ssim": float(np.mean(similar))})
    return told
