"""The tensor contract of interpolation networks, version 2: what they take and give.

`models/src/contract.rs` is its other side; change both, and the version, together.

| tensor | name | type | shape |
|---|---|---|---|
| inputs | `previous`, `next` | uint8 | `[1, 1, H, W]`: luma code values as decoded |
| | `previous_chroma`, `next_chroma` | uint8 | `[1, 2, H/2, W/2]`: U, then V |
| outputs | `middle` | uint8 | `[1, 1, H, W]` |
| | `middle_chroma` | uint8 | `[1, 2, H/2, W/2]` |
| | `mismatch` | float32 | `[1]`: mean absolute luma difference of the two moved pictures, in code values |

H and W are dynamic, even, and 64 at least. The picture made is the one halfway in time. Where both pictures are equal,
and around it too, the made one is equal bit for bit.
"""

VERSION = 2
TASK = "interpolate"
# Frames out for a frame in: the catalogue's `scale`.
FACTOR = 2
PREVIOUS, FOLLOWING = "previous", "next"
PREVIOUS_CHROMA, FOLLOWING_CHROMA = "previous_chroma", "next_chroma"
MIDDLE, MIDDLE_CHROMA, MISMATCH = "middle", "middle_chroma", "mismatch"
INPUTS = (PREVIOUS, PREVIOUS_CHROMA, FOLLOWING, FOLLOWING_CHROMA)
OUTPUTS = (MIDDLE, MIDDLE_CHROMA, MISMATCH)
LEAST_SIDE = 64

# Pixels that the coarsest level stands for, along an axis: pictures are continued to a multiple of it.
STRIDE = 16
# Pixels of a cell of the finest level, along an axis.
CELL = 4
# Pixels around a cell that its first layer sees as well. (The test for equality sees the cells around.)
RIM = 2
# How far the comparison looks, rows then columns, in cells of its level. Both pictures are moved, so that the motion
# from one to the other may be twice that: 32 rows and 64 columns at 1/16, and half of that again at 1/8.
REACH_16, REACH_8 = (1, 2), (2, 2)
# The slide of `networks.slide`: lumas in units of so many code values, the noise's square in them, how far it may go in
# pixels.
SLIDE_UNIT, SLIDE_NOISE, SLIDE_LIMIT = 16.0, 0.03, 2.0
# How far the learned part of a field may leap at 1/16 and 1/8, in cells: stripes and bricks look alike a period further
# on, and a field that leaps there is seen. What slopes find is not bounded so.
LEAP_16, LEAP_8 = 0.25, 0.5
# What the mask's logits get where one of the pictures would be read outside of itself.
LEAVING = 6.0
# Slope of the activation below 0.
LEAK = 0.1
# Channels that a level hands to the next beside its field.
CARRIED = 16

# `features` and `hidden`: channels at 1/4, 1/8 and 1/16, `keys` at 1/8 and 1/16. `depth`: 3x3 layers of a level before
# its last.
TIERS = {
    "s": {"features": (16, 32, 48), "keys": (8, 16), "hidden": (16, 32, 48), "depth": 2},
    "m": {"features": (16, 48, 64), "keys": (16, 24), "hidden": (32, 48, 64), "depth": 2},
}
