"""What must never be trained on, as a list that can be checked: digests of files, and what their pictures look like.

`testset` says what is measured and on which clips; this says how to recognise them.
A digest knows a file again, but the same video in another encoding, size or container
only by its pictures: of every half second a fingerprint is kept, one bit for each
step of brightness between the cells of a coarse grid. Nothing of a picture can be
made out from it.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np

from . import pairs

LISTING = Path(__file__).with_name("testlist.json")
# Clips of the test set that a cluster of their own may learn from: what is held out of them is its test.
OWN_CLUSTER = ("ocean", "openttd_a")
EVERY_S = 0.5
ROWS, COLUMNS = 12, 17
# A cell must be this much brighter than its neighbour to count; noise and ties would fill flat pictures with chance.
STEP_CODES = 3.0
# A picture with fewer steps says nothing.
LEAST_STEPS = 20
# Fingerprints of one picture in two encodings differ in up to this many of 192 bits; strangers' in 40 and more.
SAME_BITS = 12
# So many pictures of one clip make it that clip: one alone may be chance.
ENOUGH = 3


class TestMaterialError(RuntimeError):
    """Material that the networks are measured on was about to be trained on."""


def fingerprints(means):
    """Block means [n, h, w] to packed bits uint8 [n, 24]; all zero for pictures without enough structure."""
    means = np.asarray(means)
    grid = pairs.resampled(means, ROWS, COLUMNS)
    steps = (grid[:, :, 1:] - grid[:, :, :-1] > STEP_CODES).reshape(len(means), -1)
    steps[steps.sum(1) < LEAST_STEPS] = False
    return np.packbits(steps, axis=1)


def apart(a, b):
    """Differing bits of every fingerprint in `a` [n, 24] from every one in `b` [m, 24]: [n, m]."""
    return np.unpackbits(a[:, None] ^ b[None], axis=2).sum(2, dtype=np.int32)


@cache
def listing():
    """({SHA-256: clip}, {clip: fingerprints uint8 [n, 24]})."""
    told = json.loads(LISTING.read_text(encoding="utf-8"))
    prints = {
        name: np.array([list(bytes.fromhex(text)) for text in texts], np.uint8)
        for name, texts in told["prints"].items()
    }
    return {digest: name for name, digest in told["files"].items()}, prints


def refuse_file(digest, what):
    """TestMaterialError if `digest` is a test file's."""
    name = listing()[0].get(digest)
    if name:
        raise TestMaterialError(f"{what} is {name} of the test set (by its digest): never trained on")


def refuse_pictures(times_s, means, what):
    """TestMaterialError if pictures, given as block means [n, h, w], are those of a test clip."""
    mine = fingerprints(means)
    told = mine.any(1)
    if not told.any():
        return
    for name, known in listing()[1].items():
        near = np.zeros(len(mine), bool)
        near[told] = (apart(mine[told], known) <= SAME_BITS).any(1)
        if near.sum() >= ENOUGH:
            when = np.asarray(times_s)[near]
            raise TestMaterialError(
                f"{what} shows {name} of the test set: {int(near.sum())} pictures between "
                f"{when.min():.1f} and {when.max():.1f} s look the same; never trained on"
            )


def make(shared, say=print):
    """Writes the list anew from the test clips in `shared`."""
    from . import decode

    files, prints = {}, {}
    for path in sorted((Path(shared) / "video").glob("*.mp4")):
        if path.stem in OWN_CLUSTER:
            continue
        means, next_s = [], 0.0
        for time_s, luma in decode.pictures(path):
            if time_s >= next_s:
                means.append(pairs.block_means(luma, 16))
                next_s += EVERY_S
        bits = fingerprints(np.stack(means))
        files[path.stem] = hashlib.sha256(path.read_bytes()).hexdigest()
        prints[path.stem] = [row.tobytes().hex() for row in bits if row.any()]
        say(f"{path.stem}: {len(prints[path.stem])} fingerprints of {len(means)} pictures")
    LISTING.write_text(json.dumps({"files": files, "prints": prints}, indent=1) + "\n", encoding="utf-8")
