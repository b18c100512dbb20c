"""What stands still in a cluster's pictures: a game's status bar, a scoreboard, a logo, a fixed camera's own view.

Such furniture is the one thing of a video that needs no guessing: at its place it always is the same picture, which a
few hundred kilobytes can hold, and which no network of ten thousand weights learns by heart. `fit` finds it in the
training material. `Overlay` holds it, and says what it corrects; `entry` is how a model file carries it.

At work each place is compared with what it is known to look like. Only where the low picture is as expected the
correction is added; anywhere else, and at any other frame size, the network's own picture stays as it is. So a
menu, another framing or a stream of the wrong cluster loses nothing by it.
"""

import json
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional

# Low pixels: places are known, or not, in squares of BLOCK.
BLOCK = 4
# A place is compared in the window of what lies up to so many low pixels around it.
REACH = 4
WINDOW = 2 * REACH + 1
# Added to a picture that is to correct only, so that it fits into a byte.
MIDDLE = 128
ARRAYS = ("low", "known", "picture", "kept")


@dataclass(frozen=True)
class Box:
    """Entries within one rectangle of the low picture, whose sides are multiples of BLOCK.

    `at` (y, x) in the low picture; `low` uint8 [entries, h, w], what a place looks like; `known` uint8 of 0 and 1
    [entries, h / BLOCK, w / BLOCK], where there is an entry. What stands there is `picture` - MIDDLE * kept + kept *
    what the network made, in code values, and (1 - kept) * how much brighter it is than usual; with `picture` uint8
    [entries, scale h, scale w] and `kept` 0..1, held as uint8 of 0..255 [entries, h / BLOCK, w / BLOCK]: 0 where the
    place is always the same, and what the network sees change is the encoder's noise; 1 where the network's picture is
    to be corrected only.
    """

    at: tuple
    low: np.ndarray
    known: np.ndarray
    picture: np.ndarray
    kept: np.ndarray

    @property
    def scale(self):
        """How much larger the network's picture is than the low one."""
        return self.picture.shape[1] // self.low.shape[1]

    def compared(self, luma, tolerance):
        """A Y plane against the entries: (gates, shifts), float32 [entries, h, w] each.

        A shift is how much brighter the window around a pixel is than it is known, over the known part of it: a flash
        or a fade is no other picture. A gate is how far the entry is believed: 1 where the mean squared difference but
        for the shift is up to `tolerance`, 0 from twice that on. Together no place's entries are believed more than 1.
        """
        (y, x), (height, width) = self.at, self.low.shape[1:]
        cut = torch.from_numpy(np.array(luma[y : y + height, x : x + width])).float()
        known = torch.from_numpy(_enlarged(self.known, BLOCK)).float()[None]
        difference = (cut - torch.from_numpy(self.low).float())[None] * known
        share = _pooled(known).clamp(min=1e-3)
        shifts = _pooled(difference) / share
        spread = _pooled(difference.square()) / share - shifts.square()
        gates = (2 - spread / tolerance).clamp(0, 1) * known
        gates = gates / gates.sum(1, keepdim=True).clamp(min=1)
        return gates[0].numpy(), shifts[0].numpy()

    def correction(self, luma, made, tolerance):
        """float32 [scale h, scale w] in code values: what is added to `made`, the network's picture within the box."""
        gates, shifts = (_enlarged(part, self.scale) for part in self.compared(luma, tolerance))
        kept = _enlarged(self.kept, self.scale * BLOCK).astype(np.float32) / 255
        return (gates * (self.picture - MIDDLE * kept - (1 - kept) * (made - shifts))).sum(0)


@dataclass(frozen=True)
class Overlay:
    """The boxes for low pictures of the size `frame` (height, width); `tolerance` in code values squared."""

    frame: tuple
    tolerance: float
    boxes: tuple

    def correct(self, luma, picture):
        """The network's `picture` of a Y plane `luma`, float32 [scale h, scale w] in code values, corrected."""
        if tuple(luma.shape) != tuple(self.frame):
            return picture
        corrected = picture.copy()
        for box in self.boxes:
            y, x = (box.scale * start for start in box.at)
            place = (slice(y, y + box.picture.shape[1]), slice(x, x + box.picture.shape[2]))
            corrected[place] += box.correction(luma, picture[place], self.tolerance)
        return corrected

    def applied(self, luma, made):
        """What the edge shows: `made`, the network's own picture, uint8 [scale h, scale w], corrected and rounded."""
        if tuple(luma.shape) != tuple(self.frame):
            return made
        corrected = self.correct(luma, made.astype(np.float32))
        return np.clip(np.floor(corrected + np.float32(0.5)), 0, 255).astype(np.uint8)

    def facts(self):
        """What metadata and records tell of it."""
        return {
            "frame": f"{self.frame[1]}x{self.frame[0]}",
            "boxes": [
                f"{box.low.shape[2]}x{box.low.shape[1]}+{box.at[1]}+{box.at[0]}: {len(box.low)}" for box in self.boxes
            ],
            "bytes": sum(part.nbytes for box in self.boxes for part in (box.low, box.known, box.picture, box.kept)),
            "tolerance": self.tolerance,
        }

    def save(self, path):
        """Writes it beside a run, as compressed arrays."""
        arrays = {f"{name}{number}": getattr(box, name) for number, box in enumerate(self.boxes) for name in ARRAYS}
        told = {"frame": self.frame, "tolerance": self.tolerance, "at": [box.at for box in self.boxes]}
        with open(path, "wb") as file:
            np.savez_compressed(file, told=np.array(json.dumps(told)), **arrays)


def load(path):
    """What `Overlay.save` wrote."""
    with np.load(path) as held:
        told = json.loads(str(held["told"]))
        boxes = tuple(
            Box(tuple(at), *(held[f"{name}{number}"] for name in ARRAYS)) for number, at in enumerate(told["at"])
        )
    return Overlay(tuple(told["frame"]), told["tolerance"], boxes)


def _enlarged(planes, by):
    """[n, h, w] to [n, by h, by w], every value repeated."""
    return planes.repeat(by, 1).repeat(by, 2)


def _pooled(values):
    return functional.avg_pool2d(values, WINDOW, stride=1, padding=REACH, count_include_pad=True)
