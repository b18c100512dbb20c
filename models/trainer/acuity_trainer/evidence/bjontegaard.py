"""Bjontegaard's delta rate, and the rate saved at one quality: how many bits a method spares at equal PSNR.

Curves are log10(rate) as a function of quality. `pchip` joins the points by monotone cubics (Fritsch and Carlson's
slopes), as JVET's reporting sheet (JVET-T2010) does; `cubic` lays one polynomial through four points, as in
VCEG-M33 of 2001. The first follows the points wherever they lie, so it is what the document states.
"""

import numpy as np


def _end_slope(width, next_width, slope, next_slope):
    """The one-sided three-point derivative at an end, kept from overshooting."""
    value = ((2 * width + next_width) * slope - width * next_slope) / (width + next_width)
    if value * slope <= 0:
        return 0.0
    return 3 * slope if slope * next_slope < 0 and abs(value) > abs(3 * slope) else value


class Pchip:
    """A monotone piecewise cubic through points (x strictly rising, y), with its integral."""

    def __init__(self, x, y):
        x, y = np.asarray(x, float), np.asarray(y, float)
        if len(x) < 2 or len(x) != len(y) or not (np.diff(x) > 0).all():
            raise ValueError(f"a curve needs two points or more of rising quality, not {x.tolist()}")
        self.x, self.y = x, y
        width, slope = np.diff(x), np.diff(y) / np.diff(x)
        self.slopes = np.full(len(x), slope[0])
        if len(x) > 2:
            self.slopes[0] = _end_slope(width[0], width[1], slope[0], slope[1])
            self.slopes[-1] = _end_slope(width[-1], width[-2], slope[-1], slope[-2])
            for i in range(1, len(x) - 1):
                if slope[i - 1] * slope[i] <= 0:
                    self.slopes[i] = 0.0
                    continue
                left, right = 2 * width[i] + width[i - 1], width[i] + 2 * width[i - 1]
                self.slopes[i] = (left + right) / (left / slope[i - 1] + right / slope[i])
        self.cubic = (self.slopes[:-1] + self.slopes[1:] - 2 * slope) / width**2
        self.square = (3 * slope - 2 * self.slopes[:-1] - self.slopes[1:]) / width

    def __call__(self, at):
        """Values at `at`, which must lie within the curve."""
        at = np.asarray(at, float)
        piece = np.clip(np.searchsorted(self.x, at, side="right") - 1, 0, len(self.x) - 2)
        t = at - self.x[piece]
        return self.y[piece] + t * (self.slopes[piece] + t * (self.square[piece] + t * self.cubic[piece]))

    def integral(self, low, high):
        """The area under the curve from `low` to `high`."""
        total = 0.0
        for piece in range(len(self.x) - 1):
            start, end = max(low, self.x[piece]), min(high, self.x[piece + 1])
            for bound, sign in ((start, -1.0), (end, 1.0)) if end > start else ():
                t = bound - self.x[piece]
                total += (
                    sign
                    * t
                    * (
                        self.y[piece]
                        + t * (self.slopes[piece] / 2 + t * (self.square[piece] / 3 + t * self.cubic[piece] / 4))
                    )
                )
        return total


class _Cubic:
    """One polynomial of the third degree through four points (or the best one through more)."""

    def __init__(self, x, y):
        self.coefficients = np.polyfit(x, y, 3)

    def integral(self, low, high):
        whole = np.polyint(self.coefficients)
        return float(np.polyval(whole, high) - np.polyval(whole, low))


METHODS = {"pchip": Pchip, "cubic": _Cubic}


def _sorted(rates, qualities):
    """(qualities rising, log10 of rates); a point that costs more and is no better than one before it is left out."""
    quality, rate = [], []
    for r, q in sorted(zip(rates, qualities, strict=True)):
        if not quality or q > quality[-1]:
            quality.append(float(q))
            rate.append(float(np.log10(r)))
    return quality, rate


def overlap(a, b):
    """The qualities (low, high) that two curves [(rate, quality)] both reach; None where there are none."""
    low = max(min(q for _, q in a), min(q for _, q in b))
    high = min(max(q for _, q in a), max(q for _, q in b))
    return (low, high) if high > low else None


def delta_rate(anchor, test, method="pchip"):
    """Mean change of rate at equal quality, in per cent; negative: `test` needs fewer bits. None without overlap.

    `anchor` and `test` are curves [(rate, quality)], rates in one unit.
    """
    span = overlap(anchor, test)
    if span is None:
        return None
    curves = []
    for curve in (anchor, test):
        quality, rate = _sorted(*zip(*curve, strict=True))
        curves.append(METHODS[method](quality, rate))
    apart = (curves[1].integral(*span) - curves[0].integral(*span)) / (span[1] - span[0])
    return float((10.0**apart - 1.0) * 100.0)


def rate_at(curve, quality):
    """The rate at which a curve [(rate, quality)] reaches a quality within it."""
    known, rate = _sorted(*zip(*curve, strict=True))
    if not known[0] <= quality <= known[-1]:
        raise ValueError(f"{quality:.2f} is not between {known[0]:.2f} and {known[-1]:.2f}")
    return float(10.0 ** Pchip(known, rate)(quality))


def best_point(anchor, test, steps=400):
    """Where `test` saves most: (per cent, quality, anchor's rate, test's rate); None without overlap."""
    span = overlap(anchor, test)
    if span is None:
        return None
    points = []
    for quality in np.linspace(*span, steps):
        there, here = rate_at(anchor, quality), rate_at(test, quality)
        points.append(((here / there - 1.0) * 100.0, float(quality), there, here))
    return min(points)
