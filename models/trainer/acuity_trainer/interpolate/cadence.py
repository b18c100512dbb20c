"""Film's cadence, as the edge recognises it: the rule of enhancer/src/interpolate/cadence.rs, for measuring alone.

Both are held to the cases of cadence_cases.txt beside that file.
"""

import itertools
import math

import numpy as np

from .methods import Made

TURNS = (6, 5)
REACH = 18
REPEAT_SHARE = 0.35
LEAST_CHANGE = 0.1
AROUND = 6
SMALL_WIDTH = 160


def small(luma):
    """A picture made small: rounded means of squares, uint8 [h, w] with w of about 160."""
    step = max(1, luma.shape[1] // SMALL_WIDTH)
    height, width = luma.shape[0] // step, luma.shape[1] // step
    cells = luma[: height * step, : width * step].reshape(height, step, width, step).astype(np.uint32)
    area = step * step
    return ((cells.sum((1, 3)) + area // 2) // area).astype(np.uint8)


def changes(frames):
    """How much each picture differs from the one before, in code values: one fewer than `frames` (luma planes)."""
    smalls = [small(luma).astype(np.int16) for luma in frames]
    return [float(np.abs(b - a).mean()) for a, b in zip(smalls, smalls[1:], strict=False)]


def _is_repeat(told, at):
    around = [told[other] for other in range(max(0, at - AROUND), min(len(told), at + AROUND + 1)) if other != at]
    usual = sorted(change for change in around if not math.isnan(change))
    if not usual:
        return False
    usual = usual[len(usual) // 2]
    return usual > LEAST_CHANGE and told[at] < REPEAT_SHARE * usual


def appears(told, at):
    """When the second picture of the gap `told[at]` appeared, in shares of it: (after, by); None without a cadence."""
    before = [other for other in range(at, max(0, at - REACH) - 1, -1) if _is_repeat(told, other)][:3]
    behind = [other for other in range(at + 1, min(len(told), at + 1 + REACH)) if _is_repeat(told, other)][:3]
    earlier = [a - b for a, b in itertools.pairwise(before)]
    later = [b - a for a, b in itertools.pairwise(behind)]
    if before and behind:
        length, since = behind[0] - before[0], at - before[0]
        if length not in earlier[:1] + later[:1]:
            return None
    elif len(before) == 3 and not behind and earlier[0] == earlier[1] and before[0] + earlier[0] >= len(told):
        length, since = earlier[0], at - before[0]
    elif len(behind) == 3 and not before and later[0] == later[1] and behind[0] < later[0]:
        length, since = later[0], later[0] - (behind[0] - at)
    else:
        return None
    if length not in TURNS or not 0 <= since < length:
        return None
    each = 1.0 / (length - 1)
    return (1.0, 1.0) if since == 0 else ((since - 1) * each, since * each)


def middles(told):
    """For each gap what is shown half way: f(irst), s(econd), ? one of both, = both the same, . no cadence."""
    found = ""
    for at in range(len(told)):
        span = appears(told, at)
        if span is None:
            found += "."
        elif span[0] >= 1.0:
            found += "="
        else:
            found += "s" if span[1] <= 0.5 else "f" if span[0] >= 0.5 else "?"
    return found


def is_film(frames):
    """Whether any gap between these pictures (media.Frames) has a cadence that tells what is shown half way."""
    return not set(middles(changes(frames.luma))) <= set(".?")


def film(frames, made):
    """`made` (methods.Made) with one of the two neighbours wherever the cadence of `frames` tells which."""
    luma = dict(made.luma)
    for at, shown in enumerate(middles(changes(frames.luma))):
        if at in luma and shown in "=fs":
            luma[at] = frames.luma[at + (shown == "s")]
    return Made(luma, made.seconds)
