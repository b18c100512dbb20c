"""Finds what stands still in training pairs, and what a network lacks there.

For every block of the low picture, what was seen there, its surroundings included, is grouped by likeness. A group that
many parts of the material share becomes an entry. Grouping is by block, not by picture, so a border that differs
between two campaigns and a status bar that they share are found for what they are.

Nothing is believed because it fits what it was made from: the tolerance, and whether there is an overlay at all,
is decided on parts of the material that the overlay was not made from.
"""

from dataclasses import dataclass

import numpy as np
import torch

from . import BLOCK, MIDDLE, REACH, Box, Overlay

# Entries of one place at most: two campaigns' borders, a lamp that is on or off.
ENTRIES = 2
# Entries of one place differ by so many tolerances at least: else they are one picture and the encoder's noise.
APART = 4.0
# An entry must have been seen in so many parts of the material, and correct so much (code values squared, over all).
LEAST_PARTS = 3
LEAST_ENERGY = 0.4
# Pictures, each of another part, that a group of like ones may begin with.
LEADERS = 36
# Weight, in parts, of the presumption that what the network sees change is real.
DOUBT = 2.0
# Pictures that are looked at, over all parts.
PICTURES = 240
# Mean squared differences (code values squared) up to which two low pictures of a place are the same; to choose from.
TOLERANCES = (30.0, 90.0)
# Less of the squared error taken away on parts that were left out: then nothing stands still that is worth its bytes.
LEAST_SHARE = 0.02
# A box must hold so much of what all entries correct: others are chance likenesses.
LEAST_BOX_SHARE = 0.03
# Places so near (low pixels) are one box.
NEAR = 8


@dataclass
class Seen:
    """Pictures of one size: `low` uint8 [n, h, w], `made` by the network of it and the true `high`, both uint8
    [n, scale h, scale w], and the `part` of the material that they are of, int [n].
    """

    low: np.ndarray
    made: np.ndarray
    high: np.ndarray
    part: np.ndarray

    def of(self, rows):
        """Those of `rows`."""
        return Seen(self.low[rows], self.made[rows], self.high[rows], self.part[rows])


def look(pairs, enlarged, pictures=PICTURES):
    """What a network makes of a sample of `pairs`: a `Seen`. `enlarged(luma)` is its picture of a Y plane, uint8.

    `pairs` are (low uint8 [variants, k, h, w], high uint8 [k, H, W]); those of another size than most are left out.
    """
    pairs = list(pairs)
    sizes = [low.shape[2:] for low, _ in pairs]
    common = max(set(sizes), key=sizes.count)
    pairs = [pair for pair, size in zip(pairs, sizes, strict=True) if size == common]
    # Few long items are many parts as well: what stands still does so all the time.
    chunks = -(-8 // len(pairs))
    each = max(1, pictures // (len(pairs) * chunks))
    seen = Seen([], [], [], [])
    for number, (low, high) in enumerate(pairs):
        for chunk, rows in enumerate(np.array_split(np.arange(low.shape[1]), chunks)):
            for turn in range(min(each, len(rows))):
                row = rows[turn * len(rows) // each]
                seen.low.append(np.array(low[turn % len(low), row]))
                seen.made.append(enlarged(seen.low[-1]))
                seen.high.append(np.array(high[row]))
                seen.part.append(number * chunks + chunk)
    return Seen(*(np.stack(values) for values in vars(seen).values()))


def _surroundings(low, row):
    """What surrounds each block of a row: (float32 [blocks, n, pixels] less its mean, the mean [blocks, n])."""
    side = BLOCK + 2 * REACH
    top, bottom = row * BLOCK - REACH, (row + 1) * BLOCK + REACH
    strip = low[:, np.clip(np.arange(top, bottom), 0, low.shape[1] - 1)]
    strip = np.pad(strip, ((0, 0), (0, 0), (REACH, REACH)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(strip, side, axis=2)[:, :, ::BLOCK]
    windows = windows[:, :, : low.shape[2] // BLOCK]
    around = torch.from_numpy(np.ascontiguousarray(windows.transpose(2, 0, 1, 3))).float().flatten(2)
    means = around.mean(2, keepdim=True)
    return around - means, means[:, :, 0]


def _distances(some, others):
    """Mean squared differences [blocks, n, m] of two stacks of surroundings."""
    squares = some.square().mean(2)[:, :, None] + others.square().mean(2)[:, None]
    return squares - 2 * some @ others.transpose(1, 2) / some.shape[2]


def _groups(around, distances, parts, tolerance):
    """ENTRIES groups, that of most parts first: [members [blocks, n] as 0 and 1].

    `around` as of `_surroundings`, `distances` [blocks, leaders, n] from those that a group may begin with.
    """
    free, close, groups = torch.ones(around.shape[:2]), (distances < tolerance).float(), []
    for _ in range(ENTRIES):
        near = close * free[:, None]
        leader = ((near @ parts) > 0).sum(2).argmax(1)
        members = near[torch.arange(len(near)), leader]
        # Once more around the group's own mean: the leader was but one of them.
        away = (around - _mean(members, around)[:, None]).square().mean(2)
        members = (away < tolerance).float() * free
        groups.append(members)
        free = free * (away > APART * tolerance)
    return groups


def _mean(members, values):
    """The mean [blocks, pixels] of the members' values [blocks, n, pixels]."""
    weights = members / members.sum(1, keepdim=True).clamp(min=1)
    return (weights[:, None] @ values)[:, 0]


def _entry(made, high, bright, members, parts, spread):
    """(picture [blocks, pixels], kept [blocks], squared error taken away [blocks]) for one group of each block."""
    # A part's own mean counts once, however many of its pictures are members.
    weights = parts.T[None] * members[:, None]
    counts = weights.sum(2, keepdim=True)
    weights = weights / counts.clamp(min=1)
    own_made, own_high, has = weights @ made, weights @ high, (counts > 0).float()
    number = has.sum(1).clamp(min=1)
    usual_made, usual_high = ((own * has).sum(1) / number for own in (own_made, own_high))
    lack = usual_high - usual_made
    apart = ((own_high - own_made - lack[:, None]).square() * has).sum(1) / (number - 1).clamp(min=1)
    # Taken towards 0 where the parts differ, in James and Stein's way.
    lack = lack * (1 - apart / number / lack.square().clamp(min=1e-9)).clamp(0, 1)
    # How much of what the network sees change, but for the brightness, is real: the slope of the true picture over the
    # network's, taken towards 1 where few parts speak.
    usual = (bright * members).sum(1, keepdim=True) / members.sum(1, keepdim=True).clamp(min=1)
    shift = (bright - usual)[:, :, None]
    changes, true = made - usual_made[:, None] - shift, high - usual_high[:, None] - shift
    variance = (changes.square().mean(2) * members).sum(1) + 1e-3
    covariance = ((changes * true).mean(2) * members).sum(1)
    doubt = DOUBT / spread.clamp(min=1)
    kept = ((covariance / variance + doubt) / (1 + doubt)).clamp(0, 1)
    kept = (kept * 255).round() / 255
    picture = (lack + (1 - kept)[:, None] * usual_made + MIDDLE * kept[:, None]).round().clamp(0, 255)
    added = (picture - MIDDLE * kept[:, None])[:, None] - (1 - kept)[:, None, None] * (made - shift)
    error = high - made
    better = error.square() - (error - added).square()
    return picture, kept, (better.mean(2) * members).mean(1)


def _cut(pictures, side, row, columns):
    """A row of blocks: float32 [blocks, n, side * side]."""
    strip = pictures[:, row * side : (row + 1) * side, : columns * side]
    blocks = strip.reshape(len(pictures), side, columns, side).transpose(2, 0, 1, 3)
    return torch.from_numpy(np.ascontiguousarray(blocks).reshape(columns, len(pictures), -1)).float()


def _lay(target, blocks, places, side):
    """Puts blocks [n, side * side] at the columns `places` of a row of blocks `target` [side, columns * side]."""
    row = target.reshape(side, -1, side)
    row[:, places.numpy()] = blocks.round().view(-1, side, side).permute(1, 0, 2).numpy()


class _Places:
    """The arrays of an overlay for whole pictures, filled in a row of blocks at a time."""

    def __init__(self, seen, tolerance):
        _, height, width = seen.low.shape
        self.seen, self.tolerance, self.scale = seen, tolerance, seen.high.shape[1] // height
        names, number = np.unique(seen.part, return_inverse=True)
        self.parts = torch.nn.functional.one_hot(torch.from_numpy(number), len(names)).float()
        self.leaders = torch.from_numpy(np.unique(number, return_index=True)[1][:LEADERS])
        self.rows, self.columns, self.side = height // BLOCK, width // BLOCK, self.scale * BLOCK
        self.low = np.zeros((ENTRIES, self.rows * BLOCK, self.columns * BLOCK), np.uint8)
        self.picture = np.zeros((ENTRIES, self.rows * self.side, self.columns * self.side), np.uint8)
        self.kept = np.zeros((ENTRIES, self.rows, self.columns), np.uint8)
        self.energies = np.zeros((ENTRIES, self.rows, self.columns), np.float32)

    def look(self, row):
        """Groups what was seen at the blocks of a row by their surroundings."""
        around, bright = _surroundings(self.seen.low, row)
        # Most places are never the same twice: those are not looked at any further.
        leaders = around[:, self.leaders]
        some = (_distances(leaders, leaders) < self.tolerance).sum(2).max(1).values >= LEAST_PARTS
        if some.any():
            around, distances = around[some], _distances(leaders[some], around[some])
            for entry, members in enumerate(_groups(around, distances, self.parts, self.tolerance)):
                self._enter(entry, row, some, members, bright[some])

    def _enter(self, entry, row, some, members, bright):
        """Makes entries of the blocks `some` of a row, where they are worth it."""
        low, made, high = (
            _cut(pictures, size, row, self.columns)[some]
            for pictures, size in ((self.seen.low, BLOCK), (self.seen.made, self.side), (self.seen.high, self.side))
        )
        spread = ((members[:, None] @ self.parts)[:, 0] > 0).sum(1)
        picture, kept, energy = _entry(made, high, bright, members, self.parts, spread)
        good = (energy > LEAST_ENERGY) & (spread >= LEAST_PARTS)
        places = some.clone()
        places[some] = good
        self.energies[entry, row, places] = energy[good].numpy()
        self.kept[entry, row, places] = (kept[good] * 255).round().numpy()
        for target, blocks, size in (
            (self.low, _mean(members, low), BLOCK),
            (self.picture, picture, self.side),
        ):
            _lay(target[entry, row * size : (row + 1) * size], blocks[good], places, size)

    def overlay(self):
        """The `Overlay` of what was entered, or None."""
        height, width = self.seen.low.shape[1:]
        boxes = tuple(self._boxed(box) for box in _boxes(self.energies.sum(0)))
        return Overlay((height, width), self.tolerance, boxes) if boxes else None

    def _boxed(self, box):
        """The `Box` of a rectangle of blocks, with the entries that are used in it."""
        top, left, bottom, right = box
        known = self.energies[:, top:bottom, left:right] > 0
        used = known.any((1, 2))

        def cut(planes, side):
            return planes[used, side * top : side * bottom, side * left : side * right]

        return Box(
            at=(BLOCK * top, BLOCK * left),
            low=cut(self.low, BLOCK),
            known=known[used].astype(np.uint8),
            picture=cut(self.picture, self.side),
            kept=cut(self.kept, 1),
        )


def fit(seen, tolerance):
    """The `Overlay` of what was seen, or None where nothing stands still."""
    places = _Places(seen, tolerance)
    for row in range(places.rows):
        places.look(row)
    return places.overlay()


def _boxes(energy):
    """Rectangles of blocks (top, left, bottom, right) around what lies together and holds enough of the energy."""
    near, left = NEAR // BLOCK, {tuple(place) for place in np.argwhere(energy > 0)}
    steps = [(down, right) for down in range(-near, near + 1) for right in range(-near, near + 1)]
    boxes = []
    while left:
        edge, found = [left.pop()], []
        while edge:
            y, x = edge.pop()
            found.append((y, x))
            fresh = left.intersection((y + down, x + right) for down, right in steps)
            left -= fresh
            edge.extend(fresh)
        places = np.array(found)
        if energy[tuple(places.T)].sum() >= LEAST_BOX_SHARE * energy.sum():
            boxes.append((*places.min(0), *(places.max(0) + 1)))
    return _apart(boxes)


def _apart(boxes):
    """Rectangles that overlap become one: no place is corrected twice."""
    boxes = sorted(boxes)
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            if one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]:
                rest = [box for box in boxes if box not in (one, other)]
                least, most = np.minimum(one, other)[:2], np.maximum(one, other)[2:]
                return _apart([*rest, (*least, *most)])
    return [tuple(int(side) for side in box) for box in boxes]


def taken_away(overlay, seen):
    """The share of the squared error that the overlay takes away on `seen`."""
    before = after = 0.0
    for low, made, high in zip(seen.low, seen.made.astype(np.float32), seen.high, strict=True):
        before += float(np.square(made - high).mean())
        after += float(np.square(overlay.correct(low, made) - high).mean())
    return 1 - after / max(before, 1e-9)


def found(seen):
    """(overlay or None, share of the squared error taken away on parts that it was not made from)."""
    # At random, not by turns: what comes by turns would be in one half only.
    numbers = np.random.default_rng(1).permutation(np.unique(seen.part))
    halves = [np.isin(seen.part, numbers[turn::2]) for turn in range(2)]
    best_share, best = 0.0, None
    for tolerance in TOLERANCES:
        shares = []
        for mine, other in (halves, halves[::-1]):
            overlay = fit(seen.of(mine), tolerance)
            shares.append(taken_away(overlay, seen.of(other)) if overlay else 0.0)
        if np.mean(shares) > best_share:
            best_share, best = float(np.mean(shares)), tolerance
    return (fit(seen, best) if best_share >= LEAST_SHARE else None), best_share
