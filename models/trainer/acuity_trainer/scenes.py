"""Moving pictures made from stills: what the encoder gets to chew on when no clip is at hand.

Every scene is a function of a random generator and art, and gives Y planes
uint8 [n, h, w] in limited range. Four kinds, because the streams people send are
of these kinds: camera moves over photographs with things moving in front;
tile-built game worlds with a HUD; first-person corridors with coarse textures;
windows full of small text.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as functional

BLACK, WHITE = 16, 235


@dataclass
class Art:
    """What scenes are drawn from; all luma uint8 in limited range."""

    stills: list = field(default_factory=list)  # [h, w]
    sprites: list = field(default_factory=list)  # (luma [h, w], alpha [h, w])
    tiles: list = field(default_factory=list)  # (luma, alpha), opaque or nearly
    texts: list = field(default_factory=list)  # coverage [h, w], 0..255: sheets of rendered text


def _sample(canvas, centre_x, centre_y, zoom, angle, width, height, mode="bicubic"):
    """Looks at `canvas` (float tensor [h, w]) through a width x height window, `zoom` canvas pixels a pixel."""
    canvas_h, canvas_w = canvas.shape
    cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
    theta = torch.tensor(
        [
            [
                [cos * width / canvas_w, -sin * height / canvas_w, 2 * centre_x / canvas_w - 1],
                [sin * width / canvas_h, cos * height / canvas_h, 2 * centre_y / canvas_h - 1],
            ]
        ],
        dtype=torch.float32,
    )
    grid = functional.affine_grid(theta, (1, 1, height, width), align_corners=False)
    return functional.grid_sample(canvas[None, None], grid, mode=mode, padding_mode="reflection", align_corners=False)[
        0, 0
    ]


def _blend(picture, luma, alpha, x, y):
    """Draws a sprite in place at integer position, clipped at the borders."""
    height, width = luma.shape
    x0, y0 = max(0, x), max(0, y)
    x1, y1 = min(picture.shape[1], x + width), min(picture.shape[0], y + height)
    if x1 <= x0 or y1 <= y0:
        return
    cut = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
    cover = alpha[cut].astype(np.uint16)
    under = picture[y0:y1, x0:x1]
    under[...] = ((under * (255 - cover) + luma[cut].astype(np.uint16) * cover + 127) // 255).astype(np.uint8)


def _enlarged(rng, sprite, largest):
    """A sprite repeated pixel by pixel, as old games do."""
    luma, alpha = sprite
    factor = int(rng.integers(1, largest + 1))
    if rng.random() < 0.5:
        luma, alpha = luma[:, ::-1], alpha[:, ::-1]
    return luma.repeat(factor, 0).repeat(factor, 1), alpha.repeat(factor, 0).repeat(factor, 1)


def _text_block(rng, art, width, height):
    """A piece of rendered text, coverage [<=height, <=width]; half of them without anti-aliasing."""
    sheet = art.texts[int(rng.integers(len(art.texts)))]
    y = int(rng.integers(0, max(1, sheet.shape[0] - height)))
    piece = sheet[y : y + height, :width]
    if rng.random() < 0.5:
        piece = np.where(piece > 110, 255, 0).astype(np.uint8)
    return piece


def _write(rng, art, picture, x, y, width, height):
    """Writes text on `picture`, light on dark or dark on light, sometimes with a shadow."""
    piece = _text_block(rng, art, width, height)
    light = rng.random() < 0.6
    ink = np.full(piece.shape, int(rng.integers(170, WHITE)) if light else int(rng.integers(BLACK, 70)), np.uint8)
    if rng.random() < 0.5:
        _blend(picture, np.full(piece.shape, BLACK if light else WHITE, np.uint8), piece, x + 1, y + 1)
    _blend(picture, ink, piece, x, y)


def _hud(rng, art, picture):
    """Bars, icons and figures over a game or a broadcast: returns (luma, alpha) of an overlay."""
    height, width = picture
    luma, alpha = np.full((height, width), BLACK, np.uint8), np.zeros((height, width), np.uint8)
    bar = int(rng.integers(height // 14, height // 6))
    places = [np.s_[height - bar :, :]] if rng.random() < 0.6 else [np.s_[: bar // 2, :], np.s_[height - bar // 2 :, :]]
    for place in places:
        shade = int(rng.integers(30, 150))
        luma[place] = np.clip(rng.normal(shade, rng.uniform(0, 14), luma[place].shape), BLACK, WHITE).astype(np.uint8)
        alpha[place] = 255
    top = np.s_[height - bar :, :] if len(places) == 1 else places[1]
    start = top[0].start
    for _ in range(int(rng.integers(4, 14))):
        sprite_luma, sprite_alpha = _enlarged(rng, art.sprites[int(rng.integers(len(art.sprites)))], 3)
        _blend(
            luma, sprite_luma, sprite_alpha, int(rng.integers(0, width)), start + int(rng.integers(-4, bar // 3 + 1))
        )
    for _ in range(int(rng.integers(2, 6))):
        _write(
            rng,
            art,
            luma,
            int(rng.integers(0, width - 160)),
            start + int(rng.integers(0, max(1, bar // 2))),
            220,
            bar // 2,
        )
    if rng.random() < 0.7:
        piece = _text_block(rng, art, int(width * rng.uniform(0.3, 0.6)), int(rng.integers(14, 60)))
        ink = np.full(piece.shape, int(rng.integers(120, WHITE)), np.uint8)
        _blend(luma, ink, piece, 8, 6)
        alpha[6 : 6 + piece.shape[0], 8 : 8 + piece.shape[1]] = np.maximum(
            alpha[6 : 6 + piece.shape[0], 8 : 8 + piece.shape[1]], piece
        )
    return luma, alpha


def photograph(rng, art, count, width, height):
    """A camera move over a photograph, other pictures moving in front, perhaps grain and a caption."""
    canvas_u8 = art.stills[int(rng.integers(len(art.stills)))]
    canvas = torch.from_numpy(np.ascontiguousarray(canvas_u8)).float()
    room = min(canvas.shape[1] / width, canvas.shape[0] / height)
    zoom = rng.uniform(min(0.75, room), max(0.8, min(1.5, room)))
    zoom_step, angle, angle_step = rng.normal(0, 0.004), rng.normal(0, 0.1), rng.normal(0, 0.004)
    x, y = rng.uniform(0.3, 0.7) * canvas.shape[1], rng.uniform(0.3, 0.7) * canvas.shape[0]
    speed = np.abs(rng.normal(0, 4.0))
    heading = rng.uniform(0, 2 * math.pi)
    walkers = []
    for _ in range(int(rng.integers(0, 4))):
        other = art.stills[int(rng.integers(len(art.stills)))]
        size = int(rng.integers(height // 5, height // 2))
        top, left = (int(rng.integers(0, max(1, other.shape[axis] - size))) for axis in (0, 1))
        patch = other[top : top + size, left : left + size]
        yy, xx = np.mgrid[0 : patch.shape[0], 0 : patch.shape[1]]
        radius = np.hypot((yy / patch.shape[0] - 0.5) * 2, (xx / patch.shape[1] - 0.5) * 2)
        cover = np.clip((1 - radius) * rng.uniform(3, 40), 0, 1) * 255
        walkers.append(
            [patch, cover.astype(np.uint8), rng.uniform(0, width), rng.uniform(0, height), *rng.normal(0, 6, 2)]
        )
    overlay = _hud(rng, art, (height, width)) if rng.random() < 0.12 else None
    grain, fade = (
        (rng.uniform(0.5, 3.0) if rng.random() < 0.35 else 0.0),
        (rng.uniform(0.97, 1.03) if rng.random() < 0.15 else 1.0),
    )
    soft = rng.random() < 0.25
    out = np.empty((count, height, width), np.uint8)
    for index in range(count):
        view = _sample(canvas, x, y, zoom, angle, width, height, "bilinear" if soft else "bicubic")
        picture = view.clamp(BLACK, WHITE).add(0.5).byte().numpy()
        for walker in walkers:
            _blend(picture, walker[0], walker[1], round(walker[2]), round(walker[3]))
            walker[2] += walker[4]
            walker[3] += walker[5]
        if grain or fade != 1.0:
            level = (picture.astype(np.float32) - BLACK) * fade**index + BLACK
            noise = rng.standard_normal(picture.shape, dtype=np.float32) * grain if grain else 0
            picture = np.clip(level + noise + 0.5, BLACK, WHITE).astype(np.uint8)
        if overlay:
            _blend(picture, *overlay, 0, 0)
        out[index] = picture
        x, y = x + speed * math.cos(heading), y + speed * math.sin(heading)
        zoom, angle, heading = zoom * (1 + zoom_step), angle + angle_step, heading + rng.normal(0, 0.05)
    return out


def tiled_world(rng, art, count, width, height):
    """A tile-built world, isometric or square, scrolled by whole pixels under a HUD."""
    canvas_h, canvas_w = height + 320, width + 480
    canvas = np.full((canvas_h, canvas_w), int(rng.integers(BLACK, 120)), np.uint8)
    chosen = [art.tiles[int(i)] for i in rng.integers(0, len(art.tiles), int(rng.integers(3, 10)))]
    base = chosen[0]
    step_x, step_y = max(24, base[0].shape[1]), max(12, base[0].shape[0] // int(rng.choice([1, 2])))
    isometric = rng.random() < 0.6
    for row, y in enumerate(range(-step_y, canvas_h, max(8, step_y // (2 if isometric else 1)))):
        for x in range(-step_x + (step_x // 2 if isometric and row % 2 else 0), canvas_w, step_x):
            luma, alpha = base if rng.random() < 0.6 else chosen[int(rng.integers(len(chosen)))]
            _blend(canvas, luma, alpha, x, y + step_y - luma.shape[0])
    crowd = [_enlarged(rng, art.sprites[int(i)], 1) for i in rng.integers(0, len(art.sprites), 40)]
    for sprite in crowd[:30]:
        _blend(canvas, *sprite, int(rng.integers(0, canvas_w)), int(rng.integers(0, canvas_h)))
    movers = [[sprite, rng.uniform(0, width), rng.uniform(0, height), *rng.integers(-3, 4, 2)] for sprite in crowd[30:]]
    overlay = _hud(rng, art, (height, width))
    x, y = rng.uniform(0, 240), rng.uniform(0, 160)
    pan_x, pan_y = (int(v) for v in rng.integers(-6, 7, 2)) if rng.random() < 0.7 else (0, 0)
    out = np.empty((count, height, width), np.uint8)
    for index in range(count):
        left = int(np.clip(x + pan_x * index, 0, canvas_w - width))
        top = int(np.clip(y + pan_y * index, 0, canvas_h - height))
        picture = canvas[top : top + height, left : left + width].copy()
        for mover in movers:
            _blend(picture, *mover[0], round(mover[1]), round(mover[2]))
            mover[1] += mover[3]
            mover[2] += mover[4]
        _blend(picture, *overlay, 0, 0)
        out[index] = picture
    return out


def _texture(rng, art, size):
    """A coarse, few-toned texture, as old first-person games have, uint8 [size, size]."""
    source = art.stills[int(rng.integers(len(art.stills)))]
    span = size * int(rng.integers(1, 5))
    top, left = (int(rng.integers(0, max(1, source.shape[axis] - span))) for axis in (0, 1))
    block = source[top : top + span, left : left + span][:: span // size, :: span // size][:size, :size]
    block = np.pad(block, ((0, size - block.shape[0]), (0, size - block.shape[1])), mode="wrap").astype(np.float32)
    block = (block - block.mean()) * rng.uniform(0.8, 2.0) + rng.uniform(50, 130)
    if rng.random() < 0.6:  # bricks or panels
        pitch = int(rng.choice([8, 16, 32]))
        block[::pitch] *= 0.5
        block[:, ::pitch] *= 0.6
    tones = int(rng.integers(6, 40))
    return (np.clip(np.round(block / 256 * tones) / tones * 256, BLACK, WHITE)).astype(np.uint8)


def corridor(rng, art, count, width, height):
    """First-person corridors by column casting on a random grid map, nearest-neighbour textures, sprites and a HUD."""
    cells = (rng.random((16, 16)) < 0.28).astype(np.int64) * rng.integers(1, 5, (16, 16))
    cells[0, :], cells[-1, :], cells[:, 0], cells[:, -1] = 1, 2, 3, 4
    cells[7:10, 7:10] = 0
    size = int(rng.choice([32, 64, 64, 128]))
    textures = np.stack([_texture(rng, art, size) for _ in range(6)])
    x, y, heading = 8.5, 8.5, rng.uniform(0, 2 * math.pi)
    turn, walk = rng.normal(0, 0.03), rng.uniform(-0.05, 0.09)
    half, field_of_view = height // 2, rng.uniform(1.0, 1.4)
    gloom = rng.uniform(0.05, 0.35)
    overlay = _hud(rng, art, (height, width))
    weapon = _enlarged(rng, art.sprites[int(rng.integers(len(art.sprites)))], 6)
    monsters = [
        (_enlarged(rng, art.sprites[int(i)], 5), *rng.uniform(0.1, 0.9, 2))
        for i in rng.integers(0, len(art.sprites), 4)
    ]
    rows = np.arange(height)[:, None]
    out = np.empty((count, height, width), np.uint8)
    for index in range(count):
        angles = heading + np.arctan((np.arange(width) / width - 0.5) * field_of_view)
        dx, dy = np.cos(angles), np.sin(angles)
        distances = np.arange(0.05, 14, 0.02)[:, None]
        px, py = x + dx * distances, y + dy * distances
        hit = cells[np.clip(px, 0, 15.99).astype(int), np.clip(py, 0, 15.99).astype(int)]
        first = (hit > 0).argmax(0)
        column = np.arange(width)
        wall = hit[first, column]
        hit_x, hit_y = px[first, column], py[first, column]
        depth = distances[first, 0] * np.cos(angles - heading)
        u = np.where(np.abs(hit_x - np.round(hit_x)) < np.abs(hit_y - np.round(hit_y)), hit_y, hit_x)
        tall = (height * 0.9 / depth)[None, :]
        v = (rows - half) / tall + 0.5
        texture_u = (u * size).astype(int)[None, :] % size
        walls = textures[wall[None, :] % 4, np.clip(v * size, 0, size - 1).astype(int), texture_u]
        plane = (height * 0.45) / np.maximum(np.abs(rows - half), 1)
        floor_x = x + plane / np.cos(angles - heading)[None, :] * dx
        floor_y = y + plane / np.cos(angles - heading)[None, :] * dy
        which = np.where(rows > half, 4, 5)
        flats = textures[which, (floor_x * size).astype(int) % size, (floor_y * size).astype(int) % size]
        on_wall = (v >= 0) & (v < 1)
        light = 1 / (1 + gloom * np.where(on_wall, depth[None, :], plane))
        picture = (BLACK + (np.where(on_wall, walls, flats) - BLACK) * light).astype(np.uint8)
        for sprite, place, high in monsters:
            _blend(picture, *sprite, round(width * (place - (heading % 1) * 0.3)), round(height * (0.3 + 0.3 * high)))
        bob = round(6 * math.sin(index * 0.5))
        _blend(
            picture, *weapon, width // 2 - weapon[0].shape[1] // 2 + bob, height - weapon[0].shape[0] - 40 + abs(bob)
        )
        _blend(picture, *overlay, 0, 0)
        out[index] = picture
        heading += turn
        ahead = x + walk * math.cos(heading), y + walk * math.sin(heading)
        if cells[int(ahead[0]), int(ahead[1])] == 0:
            x, y = ahead
        else:
            turn = 0.04
    return out


def desktop(rng, art, count, width, height):
    """Windows, buttons and scrolling text over a picture."""
    still = art.stills[int(rng.integers(len(art.stills)))]
    reach = np.pad(still, ((0, max(0, height - still.shape[0])), (0, max(0, width - still.shape[1]))), mode="wrap")
    base = reach[:height, :width].copy()
    for _ in range(int(rng.integers(2, 6))):
        wide, high = int(rng.integers(width // 5, width // 2)), int(rng.integers(height // 6, height // 2))
        left, top = int(rng.integers(0, width - wide)), int(rng.integers(0, height - high))
        base[top : top + high, left : left + wide] = int(rng.integers(40, 225))
        base[top : top + 1, left : left + wide], base[top : top + high, left : left + 1] = WHITE, WHITE
        base[top + high - 1, left : left + wide], base[top : top + high, left + wide - 1] = BLACK, BLACK
        base[top + 2 : top + 16, left + 2 : left + wide - 2] = int(rng.integers(40, 200))
        _write(rng, art, base, left + 6, top + 20, wide - 12, high - 24)
    page = _text_block(rng, art, width // 2, 10_000)
    paper, ink = (int(v) for v in rng.permutation([int(rng.integers(16, 60)), int(rng.integers(190, 236))]))
    speed, left = int(rng.integers(0, 4)), int(rng.integers(0, width // 2))
    view_h = height * 2 // 3
    out = np.empty((count, height, width), np.uint8)
    for index in range(count):
        picture = base.copy()
        piece = page[(speed * index) % max(1, page.shape[0] - view_h) :][:view_h]
        place = picture[height // 6 : height // 6 + piece.shape[0], left : left + piece.shape[1]]
        place[...] = paper
        _blend(place, np.full(piece.shape, ink, np.uint8), piece, 0, 0)
        out[index] = picture
    return out


KINDS = {"photograph": photograph, "tiled_world": tiled_world, "corridor": corridor, "desktop": desktop}
