"""Do two renditions show the same pictures at the same times? Judged before anything is learned from them.

Every picture is reduced to the means of its 8x8 blocks: a network's or an encoder's
errors nearly vanish in them, while another edit, a shift by a frame, a logo or black
bars do not. All judgement here is arithmetic on these means and on timestamps; the
pictures come from `decode`, and what to do with a verdict is `material`'s business.
"""

from dataclasses import dataclass, field
from functools import cache

import numpy as np

# Low pixels to a block side, for pictures up to 960 wide; wider ones get blocks in proportion.
BLOCK = 8
BLOCKED_WIDTH = 960
# Two pictures of the same scene correlate above 0.99 in their block means even at 150 kbit/s; strangers below 0.8.
SAME_CORRELATION = 0.92
# The same for what is between bars, squeezed to a coarse grid.
BARRED_CORRELATION = 0.85
# A picture of less contrast than this (code values) is flat: fades and black have no pattern to correlate.
FLAT_CODES = 3.0
FLAT_APART_CODES = 8.0
# Looked for around zero: beyond two seconds it is another edit.
LAG_RANGE_S = 2.0
WINDOW_S = 1.0
# Share of a window's pictures that must match, and of all windows that must for the pair to be used at all.
WINDOW_SHARE, PAIR_SHARE = 0.8, 0.5
# A better lag is believed where it takes away this part of the error.
LAG_GAIN = 0.7
# A block is foreign when it is this far off in most pictures: logos are, compression is not.
FOREIGN_CODES, FOREIGN_SHARE, FOREIGN_BLOCKS = 10.0, 0.7, 3
# Share of the moving windows that must agree on a lag for it to be exact, and thus correctable.
EXACT_SHARE = 0.9
LEVEL_SLOPE, LEVEL_CODES = 0.05, 4.0
LEAST_S = 1.0
RATE_APART = 0.02


class RefusedError(RuntimeError):
    """The pair does not match; the message gives reason and figures, `reason` is its short name.

    `lag_frames` is how many pictures late the high rendition is, where nothing but that is wrong.
    """

    def __init__(self, reason, text, lag_frames=0):
        super().__init__(text)
        self.reason, self.lag_frames = reason, lag_frames


def block_side(width):
    """Low pixels to a block side."""
    return BLOCK * max(1, -(-width // BLOCKED_WIDTH))


def block_means(luma, side):
    """Means of the whole `side` x `side` blocks of a Y plane, float16 [h // side, w // side]."""
    height, width = luma.shape[0] // side, luma.shape[1] // side
    cut = luma[: height * side, : width * side]
    sums = cut.reshape(height, side, width * side).sum(1, dtype=np.uint32).reshape(height, width, side).sum(2)
    return (sums / (side * side)).astype(np.float16)


@cache
def _cells(count, cells):
    """[cells, count]: what part of each of `count` blocks lies in each of `cells` equal cells, rows summing to 1."""
    edges = np.linspace(0, count, cells + 1)
    blocks = np.arange(count)
    overlap = np.minimum(edges[1:, None], blocks + 1) - np.maximum(edges[:-1, None], blocks)
    overlap = np.clip(overlap, 0, None)
    return (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)


def resampled(means, rows, columns):
    """Block means [n, h, w] on a grid of `rows` x `columns` equal cells, float32."""
    means = np.asarray(means, np.float32)
    return _cells(means.shape[1], rows) @ means @ _cells(means.shape[2], columns).T


def in_step(lows, highs, tolerance_s):
    """Pairs two iterators of (time, picture) by time: yields (time, low, high), one to one, within the tolerance.

    Both run once, in order. Gives the number of pictures left without a partner as the
    generator's value: (low, high).
    """
    low, high, alone = next(lows, None), next(highs, None), [0, 0]
    while low is not None and high is not None:
        apart = high[0] - low[0]
        if abs(apart) <= tolerance_s:
            yield low[0], low[1], high[1]
            low, high = next(lows, None), next(highs, None)
        elif apart < 0:
            alone[1] += 1
            high = next(highs, None)
        else:
            alone[0] += 1
            low = next(lows, None)
    alone[0] += (low is not None) + sum(1 for _ in lows)
    alone[1] += (high is not None) + sum(1 for _ in highs)
    return tuple(alone)


def check_sizes(low, high, scale):
    """The size the high pictures are to have for `scale`, (width, height); RefusedError where the shapes do not fit.

    One per cent is forgiven, because ladders round: 426x240 belongs to 1280x720.
    """
    across, down = high.width / low.width, high.height / low.height
    told = f"low is {low.width}x{low.height}, high {high.width}x{high.height}"
    if abs(across / down - 1) > 0.01:
        raise RefusedError("aspect", f"the renditions have other shapes: {told}")
    if abs(across / scale - 1) > 0.01:
        fits = [f"--scale {other}" for other in (2, 3, 4) if abs(across / other - 1) <= 0.01]
        raise RefusedError(
            "scale", f"{told}: {across:.2f} times, not {scale}; give {fits[0] if fits else 'other renditions'}"
        )
    if low.width % 2 or low.height % 2:
        raise RefusedError("odd size", f"{told}: odd sizes are not supported")
    if min(low.width, low.height) < 64:
        raise RefusedError("tiny", f"{told}: the low pictures must be at least 64 pixels wide and high")
    return scale * low.width, scale * low.height


def check_rates(low_times_s, high_times_s):
    """RefusedError where the pictures' times say that the two have other frame rates; containers only hint."""
    if min(len(low_times_s), len(high_times_s)) > 2:
        low, high = (1 / max(1e-6, float(np.median(np.diff(times)))) for times in (low_times_s, high_times_s))
        if abs(high / low - 1) > RATE_APART:
            raise RefusedError("frame rate", f"other frame rates: low {low:.2f}, high {high:.2f} frames a second")


@dataclass
class Features:
    """What is kept of every pair: `times_s` [n], block means `low` and `high` float16 [n, h, w]."""

    times_s: list = field(default_factory=list)
    low: list = field(default_factory=list)
    high: list = field(default_factory=list)

    def add(self, time_s, low, high, scale):
        """Takes one pair of Y planes in."""
        side = block_side(low.shape[1])
        self.times_s.append(time_s)
        self.low.append(block_means(low, side))
        self.high.append(block_means(high, side * scale))


@dataclass(frozen=True)
class Verdict:
    """Which pairs may be used, and figures about them."""

    good: np.ndarray  # bool [n]
    correlation: float
    psnr_db: float
    dropped: tuple  # (from_s, to_s) stretches that do not match


def correlations(low, high):
    """Pearson correlation of each pair of block means, float [n]; NaN where either is flat."""
    a = low.reshape(len(low), -1).astype(np.float32)
    b = high.reshape(len(high), -1).astype(np.float32)
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    norms = np.sqrt((a * a).mean(1)), np.sqrt((b * b).mean(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (a * b).mean(1) / (norms[0] * norms[1])
    return np.where((norms[0] < FLAT_CODES) | (norms[1] < FLAT_CODES), np.nan, value)


def _errors(low, high):
    """Mean squared difference of each pair of block means, float [n]."""
    return np.array([np.mean((a.astype(np.float32) - b) ** 2) for a, b in zip(low, high, strict=True)])


def _matching(low, high):
    """Whether each pair shows the same, and the correlations."""
    same = correlations(low, high)
    apart = np.abs((low.astype(np.float32) - high.astype(np.float32)).mean((1, 2)))
    spread = np.maximum(low.astype(np.float32).std((1, 2)), high.astype(np.float32).std((1, 2)))
    flat = np.isnan(same) & (apart < FLAT_APART_CODES) & (spread < 2 * FLAT_CODES)
    return flat | (same >= SAME_CORRELATION), same


def _some(means, most=600):
    """At most about `most` of the pictures, evenly spread: enough for what holds throughout."""
    return means[:: max(1, len(means) // most)]


def _windows(times_s):
    """Slices of about WINDOW_S."""
    edges = np.flatnonzero(np.diff(np.floor((times_s - times_s[0]) / WINDOW_S)) != 0) + 1
    bounds = [0, *edges.tolist(), len(times_s)]
    return [slice(a, b) for a, b in zip(bounds, bounds[1:], strict=False) if b > a]


def lags(times_s, low, high, reach, most_windows=48):
    """(best lag, error at it over error at lag 0) for each window with motion; lags in pictures, up to `reach`.

    A positive lag: the high rendition shows a picture later than the low one does.
    """
    found = []
    windows = _windows(times_s)
    for window in windows[:: max(1, len(windows) // most_windows)]:
        start, stop = window.start, window.stop
        shown = low[start:stop].astype(np.float32)
        errors = {}
        for lag in range(-reach, reach + 1):
            if start + lag < 0 or stop + lag > len(high):
                continue
            errors[lag] = float(np.mean((shown - high[start + lag : stop + lag].astype(np.float32)) ** 2))
        if len(errors) < 3 or 0 not in errors or max(errors.values()) < 2 * min(errors.values()) + 1.0:
            continue  # nothing moves here: any lag would do
        best = min(errors, key=errors.get)
        found.append((best, errors[best] / max(errors[0], 1e-6)))
    return found


def _bars(means):
    """Blocks of black bars above, below, left and right that stay through all pictures."""
    brightest = _some(means).astype(np.float32).max(0)
    dark_rows, dark_columns = brightest.max(1) < 24, brightest.max(0) < 24

    def run(flags):
        return int(len(flags) if flags.all() else np.argmin(flags))

    return run(dark_rows), run(dark_rows[::-1]), run(dark_columns), run(dark_columns[::-1])


def _inside(means, bars):
    """What is between the bars, on a coarse grid."""
    above, below, left, right = bars
    inner = _some(means)[:, above : means.shape[1] - below, left : means.shape[2] - right]
    # bars that leave nothing leave nothing to compare: flat
    return resampled(inner, 12, 16) if min(inner.shape) > 3 else np.zeros((len(inner), 12, 16), np.float32)


def _check_bars(low, high):
    if low.max() < 24 or high.max() < 24:
        return
    bars = _bars(low), _bars(high)
    other = [(n, a, b) for n, a, b in zip(("above", "below", "left", "right"), *bars, strict=True) if abs(a - b) >= 2]
    if not other:
        return
    # Dark edges of another video are no bars: between bars the pictures are the same, squeezed or covered in part.
    both = tuple(max(a, b) for a, b in zip(*bars, strict=True))
    found = [correlations(_inside(low, a), _inside(high, b)) for a, b in (bars, (both, both))]
    if max(np.median(np.nan_to_num(same)) for same in found) >= BARRED_CORRELATION:
        which = ", ".join(f"{name} {a} blocks in low and {b} in high" for name, a, b in other)
        raise RefusedError("letterbox", f"black bars in one rendition only: {which}")


def _check_lags(times_s, low, high):
    interval_s = float(np.median(np.diff(times_s)))
    reach = max(2, round(LAG_RANGE_S / interval_s))
    found = lags(times_s, low, high, min(reach, 120))
    shifted = [lag for lag, gain in found if lag != 0 and gain < LAG_GAIN]
    if not found or len(shifted) * 2 <= len(found):
        return
    values, counts = np.unique(shifted, return_counts=True)
    lag, share = int(values[counts.argmax()]), counts.max() / len(found)
    moved = slice(max(0, lag), len(high) + min(0, lag)), slice(max(0, -lag), len(low) - max(0, lag))
    same = np.nanmedian(np.append(correlations(low[moved[1]], high[moved[0]]), np.nan))
    if share >= 0.5 and same >= SAME_CORRELATION:
        late = "later" if lag > 0 else "earlier"
        raise RefusedError(
            "offset",
            f"the high rendition shows the same pictures {abs(lag)} frames ({abs(lag) * interval_s:.3f} s) {late} "
            f"in {share:.0%} of the moving windows (correlation there {same:.3f})",
            lag if share >= EXACT_SHARE else 0,
        )
    if same >= SAME_CORRELATION:
        raise RefusedError(
            "offset", f"the offset between the renditions changes, from {min(shifted)} to {max(shifted)} frames"
        )


def _check_levels(low, high):
    low, high = _some(low), _some(high)
    a, b = high.astype(np.float32).ravel(), low.astype(np.float32).ravel()
    if a.std() < FLAT_CODES:
        return
    slope = float(((a - a.mean()) * (b - b.mean())).mean() / a.var())
    shift = float((b - a).mean())
    if abs(slope - 1) > LEVEL_SLOPE or abs(shift) > LEVEL_CODES:
        raise RefusedError(
            "levels",
            f"other brightness or contrast: low is {slope:.2f} times high, {shift:+.1f} code values on the mean "
            "(one in full range, or graded?)",
        )


def _check_overlay(low, high, side):
    low, high = _some(low), _some(high)
    apart = np.abs(low.astype(np.float32) - high.astype(np.float32))
    foreign = (apart > FOREIGN_CODES).mean(0) >= FOREIGN_SHARE
    if foreign.sum() < FOREIGN_BLOCKS:
        return
    rows, columns = np.flatnonzero(foreign.any(1)), np.flatnonzero(foreign.any(0))
    raise RefusedError(
        "overlay",
        f"a region differs in nearly every picture (a logo or overlay in one rendition?): {int(foreign.sum())} blocks "
        f"within {(columns[-1] - columns[0] + 1) * side}x{(rows[-1] - rows[0] + 1) * side} low pixels at "
        f"x {columns[0] * side}, y {rows[0] * side}, {apart[:, foreign].mean():.0f} code values apart on the mean",
    )


def examine(features, low_width):
    """The Verdict on a pair from its Features; RefusedError where it does not match as a whole."""
    times_s = np.asarray(features.times_s)
    if len(times_s) < 8 or times_s[-1] - times_s[0] < LEAST_S:
        raise RefusedError(
            "too short", f"only {len(times_s)} pictures of both renditions have the same time, half a frame forgiven"
        )
    # Stacked in place: an hour's means are not to be held twice.
    low = features.low = np.stack(features.low)
    high = features.high = np.stack(features.high)
    windows = _windows(times_s)
    parts = [_matching(low[window], high[window]) for window in windows]
    matching, same = (np.concatenate(column) for column in zip(*parts, strict=True))
    good = np.concatenate([np.full(len(part), part.mean() >= WINDOW_SHARE) for part, _ in parts])
    share = float(np.mean([good[window].all() for window in windows]))
    shown = good if share >= PAIR_SHARE else np.ones_like(good)
    _check_lags(times_s[shown], low[shown], high[shown])
    if share < PAIR_SHARE:
        _check_bars(low, high)
        middle = float(np.nanmedian(np.append(same, np.nan)))
        error = float(_errors(low, high).mean())
        raise RefusedError(
            "unrelated" if share < 0.1 else "different edit",
            f"the renditions show different pictures: {share:.0%} of {len(windows)} windows match, "
            f"median correlation {middle:.2f}, {10 * np.log10(255**2 / max(error, 1e-6)):.1f} dB on 8x8 means",
        )
    _check_bars(low[good], high[good])
    _check_levels(low[good], high[good])
    _check_overlay(low[good], high[good], block_side(low_width))
    errors = _errors(low, high)
    usable = good & matching & ~_out_of_step(low, high, errors)
    dropped = tuple(
        (float(times_s[w.start]), float(times_s[w.stop - 1])) for w in windows if not good[w].any()
    )
    return Verdict(
        usable,
        float(np.nanmedian(np.append(same[good], 1.0))),
        float(10 * np.log10(255**2 / max(errors[good].mean(), 1e-6))),
        _joined(dropped),
    )


def _out_of_step(low, high, errors):
    """Single pictures that fit a neighbour's partner clearly better than their own: dropped or doubled ones."""
    out = np.zeros(len(low), bool)
    if len(low) > 1:
        after, before = _errors(low[:-1], high[1:]), _errors(low[1:], high[:-1])
        out[:-1] |= (after < 0.5 * errors[:-1]) & (errors[:-1] > 2.0)
        out[1:] |= (before < 0.5 * errors[1:]) & (errors[1:] > 2.0)
    return out


def _joined(spans):
    joined = []
    for span in spans:
        if joined and span[0] - joined[-1][1] < WINDOW_S:
            joined[-1] = (joined[-1][0], span[1])
        else:
            joined.append(span)
    return tuple(joined)
