#!/usr/bin/env python3
"""How much of a video's error is new in every picture: what a viewer sees as shimmer, beside PSNR, which does not know of time.

  scripts/measure/flicker.py CANDIDATE REFERENCE     both of one size; pictures are paired by index

With e[t] the luma of picture t of CANDIDATE less that of REFERENCE,

  flicker = mean((e[t] - e[t-1])^2) / (2 * mean(e[t]^2))
  changes = 10 * log10(255^2 / mean((e[t] - e[t-1])^2)) dB

flicker is 0 for an error that stands still and 1 for one that is new in every picture; what moves in the reference costs nothing.
It is a share: of two videos with the same flicker the better one shimmers less, which `changes` (the PSNR of the changes
from picture to picture, after the tPSNR of temporal consistency papers, without optical flow) says in dB. The same as
`models/trainer/acuity_trainer/evidence/score.py`. Needs numpy.
"""

import argparse
import math
import subprocess


def planes(path, width, height, scale="null"):
    """Y planes uint8 [height, width], in order. Of yuv420p: gray would stretch the range."""
    import numpy as np

    graph = f"settb=1/1000,setpts=N*40,{scale},format=yuv420p"
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:v:0", "-vf", graph, "-f", "rawvideo", "-"]
    pixels = width * height
    size = pixels + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=size) as decoder:
        while len(data := decoder.stdout.read(size)) == size:
            yield np.frombuffer(data, np.uint8, pixels).reshape(height, width)


def flicker(candidate, reference):
    """(flicker, PSNR of the changes in dB) of two iterables of Y planes."""
    import numpy as np

    squares, changes, count, last = 0.0, 0.0, 0, None
    for one, other in zip(candidate, reference, strict=False):
        error = one.astype(np.float32) - other
        squares += float(np.vdot(error, error)) / error.size
        if last is not None:
            change = error - last
            changes += float(np.vdot(change, change)) / change.size
        last = error
        count += 1
    if count < 2 or changes == 0.0:
        return 0.0, math.inf
    changes /= count - 1
    return changes / (2 * squares / count), 10 * math.log10(255**2 / changes)


def main():
    from quality import size

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidate")
    parser.add_argument("reference")
    args = parser.parse_args()
    width, height = size(args.reference)
    share, changes = flicker(planes(args.candidate, width, height), planes(args.reference, width, height))
    print(f"flicker {share:.4f}, changes {changes:.2f} dB")


if __name__ == "__main__":
    main()
