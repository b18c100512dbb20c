#!/usr/bin/env python3
"""Does any made picture mix both sides of a cut? Joins pieces of clips in every order, doubles the rate, looks at each join.

  scripts/measure/cuts.py CLIP[@SECONDS]...     pieces of 12 pictures from there on, at 640x360 and 30 a second
  options: --interpolator generic-i2-s  --kbps 1500  --acuity target/release/acuity

Each ordered pair of pieces is joined once or more; libx264's defaults. A made picture at a join is mixed if it is nearer
to neither neighbour than a twentieth of their own distance (mean squared error of luma). Needs ffmpeg and numpy.
Ends with 1 if one is.
"""

import argparse
import itertools
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

WIDTH, HEIGHT, FPS, PICTURES = 640, 360, 30, 12
# Of the neighbours' own distance; coding alone leaves a thousandth.
NEAR = 0.05


def run(command, **more):
    return subprocess.run([str(part) for part in command], check=True, **more)


def piece(name):
    """The raw pictures of CLIP[@SECONDS]."""
    path, _, seconds = name.partition("@")
    shape = f"fps={FPS},scale={WIDTH}:{HEIGHT},setsar=1,format=yuv420p"
    command = ["ffmpeg", "-v", "error", "-ss", seconds or "0", "-i", path, "-vf", shape, "-frames:v", PICTURES]
    raw = run([*command, "-f", "rawvideo", "-"], capture_output=True).stdout
    if len(raw) != PICTURES * WIDTH * HEIGHT * 3 // 2:
        sys.exit(f"{name} has no {PICTURES} pictures there")
    return raw


def walk(count):
    """Piece after piece so that every one follows every other."""
    chance, left = random.Random(1), set(itertools.permutations(range(count), 2))
    order = [0]
    while left:
        ways = sorted(pair for pair in left if pair[0] == order[-1])
        pair = chance.choice(ways or sorted(left))
        if not ways:
            order.append(pair[0])
        left.discard(pair)
        order.append(pair[1])
    return order


def luma(path):
    command = ["ffmpeg", "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    raw = run(command, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, HEIGHT, WIDTH)


def distance(one, other):
    return float(np.square(one.astype(np.float32) - other).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+")
    parser.add_argument("--interpolator", default="generic-i2-s")
    parser.add_argument("--kbps", type=int, default=1500)
    parser.add_argument("--acuity", default="target/release/acuity")
    options = parser.parse_args()
    pieces = [piece(name) for name in options.clips]
    order = walk(len(pieces))
    with tempfile.TemporaryDirectory() as folder:
        joined, doubled = Path(folder) / "joined.mp4", Path(folder) / "doubled.mp4"
        shape = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", FPS, "-i", "-"]
        coded = ["-c:v", "libx264", "-b:v", f"{options.kbps}k", joined]
        run(["ffmpeg", "-v", "error", *shape, *coded], input=b"".join(pieces[number] for number in order))
        how = ["--scale", 1, "--frame-rate", "x2", "--interpolator", options.interpolator]
        told = run([options.acuity, "enhance", joined, "-o", doubled, *how], capture_output=True, text=True).stderr
        shown = luma(doubled)
    mixed = 0
    for number, (before, after) in enumerate(itertools.pairwise(order), 1):
        first = 2 * (PICTURES * number - 1)
        a, made, b = shown[first : first + 3]
        near, apart = min(distance(made, a), distance(made, b)), distance(a, b)
        if before != after and near > NEAR * apart:
            mixed += 1
            print(f"mixed: {options.clips[before]} to {options.clips[after]}: {near:.0f} from both, {apart:.0f} apart")
    print(next(line for line in told.splitlines() if "pictures between" in line))
    print(f"{len(order) - 1} joins, {mixed} mixed")
    sys.exit(1 if mixed else 0)


if __name__ == "__main__":
    main()
