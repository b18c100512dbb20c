"""Drawn motion: pictures of the corpus cut up, moved by fields that are known, to learn from beside the real thing.

Real video says what the picture between looks like, and only by that where things move; a network takes long to find
motion so. Here a few layers, each a piece of a picture, move by an affine field each, so that the true field of every
pixel of the middle picture is known and can be learned from directly.
"""

import numpy as np
import torch
import torch.nn.functional as functional

# Pixels that a layer moves from the middle to a neighbour: of most, and of the quickest; as a share of a patch's width.
SLOW, QUICK = 0.012, 0.09
LAYERS = 4


def _laplace(rng, scale, count=2):
    return rng.laplace(0, scale, count)


def _motion(rng, width):
    """(matrix 2x2, vector) of v(x) = L (x - centre) + d, in pixels; much is slow, some stands still, some is quick."""
    if rng.random() < 0.12:
        return np.zeros((2, 2)), np.zeros(2)
    speed = width * (QUICK if rng.random() < 0.3 else SLOW)
    d = _laplace(rng, speed / 2) * (1.0, 0.5)
    d = np.clip(d, -0.12 * width, 0.12 * width)
    zoom, turn = rng.normal(0, 0.02), rng.normal(0, 0.01)
    skew = rng.normal(0, 0.008, (2, 2))
    return np.array([[zoom, -turn], [turn, zoom]]) + skew, d


def _shape(rng, y, x, height, width):
    """A layer's cover in the middle picture as a function: an ellipse or a box, turned, soft by about a pixel."""
    centre = rng.uniform(0, height), rng.uniform(0, width)
    size = rng.uniform(0.06, 0.4, 2) * (height, width)
    angle = rng.uniform(0, np.pi)
    down, right = y - centre[0], x - centre[1]
    across, along = down * np.cos(angle) + right * np.sin(angle), right * np.cos(angle) - down * np.sin(angle)
    u, v = across / size[0], along / size[1]
    inside = torch.hypot(u, v) if rng.random() < 0.5 else torch.maximum(u.abs(), v.abs())
    return ((1 - inside) * float(min(size))).clamp(0, 1)


def _at(picture, y, x):
    """`picture` [h, w] read at pixel coordinates."""
    height, width = picture.shape
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)[None]
    found = functional.grid_sample(
        picture[None, None], grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return found[0, 0]


def draw(rng, pictures):
    """(previous, following, middle [1, h, w], field [2, h, w]) of float `pictures`, a tensor [LAYERS, h, w] in 0..1."""
    height, width = pictures.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    layers = [(_motion(rng, width), int(rng.integers(2**31))) for _ in range(1 + int(rng.integers(LAYERS)))]
    shown, fields = [], None
    for time in (-1, 1, 0):
        out, field = None, None
        for number, ((matrix, d), seed) in enumerate(layers):
            # Where in the middle picture a pixel of this time was: x = c + (I + t L)^-1 (p - c - t d).
            back = np.linalg.inv(np.eye(2) + time * matrix)
            right, down = columns - width / 2 - time * d[0], rows - height / 2 - time * d[1]
            x = float(back[0, 0]) * right + float(back[0, 1]) * down + width / 2
            y = float(back[1, 0]) * right + float(back[1, 1]) * down + height / 2
            picture = _at(pictures[number], y, x)
            own = [
                float(matrix[i, 0]) * (x - width / 2) + float(matrix[i, 1]) * (y - height / 2) + d[i] for i in (0, 1)
            ]
            own = torch.stack(own)
            if out is None:
                out, field = picture, own
                continue
            cover = _shape(np.random.default_rng(seed), y, x, height, width)
            out = out + cover * (picture - out)
            field = torch.where(cover > 0.5, own, field)
        shown.append(out[None])
        fields = field
    return (*shown, fields)


def batch(rng, lumas):
    """(previous, following, middle [n, 1, h, w], fields [n, 2, h, w]) of lumas uint8 [n * LAYERS, h, w]; with noise."""
    pictures = torch.from_numpy(lumas).float().div(255.0)
    parts = [draw(rng, pictures[start : start + LAYERS]) for start in range(0, len(lumas), LAYERS)]
    previous, following, middle, fields = (torch.stack(part) for part in zip(*parts, strict=True))
    noise = float(rng.choice([0.0, 0.004, 0.012]))
    if noise:
        found = torch.from_numpy(rng.standard_normal((2, *previous.shape), dtype=np.float32)) * noise
        previous, following = previous + found[0], following + found[1]
    return previous, following, middle, fields.float()
