"""An overlay as a model file carries it: one text in the ONNX metadata, beside a graph that is the network alone.

The edge reads the same (`acuity.overlay`) and corrects the network's finished picture with it. As nodes of the graph
it would cost more, and not every runtime computes them right: an `If` over the frame's size is not what their
optimisers were made for.

The text is base64 of zlib of:

    u32 little-endian       length of the header
    header                  UTF-8 JSON, keys sorted: version, frame [h, w], scale, tolerance, block, reach, middle,
                            boxes [{at [y, x], size [h, w], entries n}]
    for each box, C order   low uint8 [n, h, w], known uint8 [n, h/4, w/4], picture uint8 [n, scale h, scale w],
                            kept uint8 [n, h/4, w/4]; see `Box`
"""

import base64
import json
import math
import struct
import zlib

import numpy as np

from . import ARRAYS, BLOCK, MIDDLE, REACH, Box, Overlay

VERSION = 1
# What the arithmetic of `Box` is bound to: a file of other constants would need other arithmetic.
CONSTANTS = {"version": VERSION, "block": BLOCK, "reach": REACH, "middle": MIDDLE}


class OverlayError(ValueError):
    """The text is not an overlay of this version; the message says why."""


def _shapes(entries, size, scale):
    """The shapes of a box' arrays, in the order of ARRAYS."""
    height, width = size
    blocks = (entries, height // BLOCK, width // BLOCK)
    return (entries, height, width), blocks, (entries, scale * height, scale * width), blocks


def text(overlay):
    """An `Overlay` as text; the same one always gives the same text, as far as zlib does."""
    header = CONSTANTS | {
        "frame": [int(side) for side in overlay.frame],
        "scale": overlay.boxes[0].scale,
        "tolerance": overlay.tolerance,
        "boxes": [
            {"at": [int(side) for side in box.at], "size": list(box.low.shape[1:]), "entries": len(box.low)}
            for box in overlay.boxes
        ],
    }
    told = json.dumps(header, sort_keys=True).encode()
    parts = [struct.pack("<I", len(told)), told]
    for box, facts in zip(overlay.boxes, header["boxes"], strict=True):
        for name, shape in zip(ARRAYS, _shapes(facts["entries"], facts["size"], header["scale"]), strict=True):
            array = getattr(box, name)
            if array.shape != shape or array.dtype != np.uint8:
                raise OverlayError(f"{name} is {array.dtype} {array.shape}, not uint8 {shape}")
            parts.append(array.tobytes())
    return base64.b64encode(zlib.compress(b"".join(parts), 9)).decode()


def read(held):
    """The `Overlay` of a text; OverlayError where it is none."""
    try:
        data = zlib.decompress(base64.b64decode(held, validate=True))
        (length,) = struct.unpack_from("<I", data)
        header, at = json.loads(data[4 : 4 + length]), 4 + length
        if other := {key for key, value in CONSTANTS.items() if header[key] != value}:
            raise OverlayError(f"an overlay of another {', '.join(sorted(other))}")
        boxes = []
        for facts in header["boxes"]:
            arrays = []
            for shape in _shapes(facts["entries"], facts["size"], header["scale"]):
                arrays.append(np.frombuffer(data, np.uint8, math.prod(shape), at).reshape(shape))
                at += math.prod(shape)
            boxes.append(Box(tuple(facts["at"]), *arrays))
    except (ValueError, KeyError, TypeError, struct.error, zlib.error) as wrong:
        raise wrong if isinstance(wrong, OverlayError) else OverlayError(f"not an overlay: {wrong}") from wrong
    if at != len(data):
        raise OverlayError(f"{len(data) - at} bytes behind the last box")
    return Overlay(tuple(header["frame"]), header["tolerance"], tuple(boxes))
