"""The tensor contract, version 1: what every network in the zoo takes and gives.

It exists once here and once in the Rust catalogue crate; the edge compares a
model's real inputs and outputs with it before the first frame. Change both, and
the version, together.
"""

VERSION = 1

# Highest operator set that the oldest supported runtime loads (ONNX Runtime 1.24
# inside the OpenVINO build takes far newer ones; 17 is what torch 1.13 knew too).
OPSET = 17
IR_VERSION = 8

# One input: the video's own 8-bit luma code values, in the range the stream
# declares (usually 16..235), shape [batch, 1, H, W], uint8.
INPUT_NAME = "luma"
# One output: the same code values at `scale` times the size,
# shape [batch, 1, scale * H, scale * W], uint8, already rounded and clipped.
OUTPUT_NAME = "luma_out"
# Optional entry of the file's metadata: pictures of what stands still, with which the edge corrects the output above
# (`overlay/entry.py` has the format). The graph itself is the network alone.
OVERLAY_KEY = "acuity.overlay"
SCALES = (2, 3, 4)
# The scale where none is named.
SCALE = 2

# The catalogue's tiers, cheap to dear. `body_layers`: 3x3 layers of `channels` (a multiple of 16, which is what vector
# units like) between the first and the last convolution, at low resolution. `layers`: a VDSR's convolutions in all, at
# target resolution (the three sizes of the HotNets 2017 paper's Table 1).
TIERS = {
    "s": {"channels": 16, "body_layers": 4},
    "m": {"channels": 32, "body_layers": 4},
    "l": {"channels": 64, "body_layers": 4},
    "v10": {"channels": 32, "layers": 10},
    "v15": {"channels": 48, "layers": 15},
    "v20": {"channels": 64, "layers": 20},
}
