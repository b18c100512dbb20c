"""Contact sheets for the eye: one window of the reference, plain, generic and content-aware pictures side by side.

Luma, enlarged by whole pixels and nothing else. Drawn while measuring, because pictures are needed; the sheets are
kept, so that the document can be made again from the CSV files alone.
"""

import numpy as np

from .. import export, media
from ..results import PLAIN
from . import measure, plan, rows

WIDTH, HEIGHT, TIMES = 128, 80, 2
GAP, HEAD = 6, 18
INK, PAPER = 40, 255
# Grey levels kept: the eye tells no more apart, and the file is half as large.
LEVELS = 64


def windows(whole_crops, clip, tools, table):
    """[(label, [window, ...])] of a sheet, windows uint8 [HEIGHT, WIDTH] as coded; absent networks are left out."""
    high = tools.store.high(clip, 2, tools.frames)
    low = tools.store.low(clip, high, "coded", 2, whole_crops.kbps)
    frames = [frame for frame, _, _ in whole_crops.windows]
    pictures = {"reference": [high.frames.luma[frame] for frame in frames]}
    chosen = media.Frames(np.ascontiguousarray(low.frames.raw[frames]), low.frames.width, low.frames.height)
    key = {"clip": clip.name, "protocol": "coded", "scale": 2, "kbps": whole_crops.kbps, "every": 1}
    known = {name: table.get(**key, method=name) for name in PLAIN}
    better = max(PLAIN, key=lambda name: known[name]["psnr_db"] if known[name] else 0.0)
    pictures[f"plain ({better})"] = list(media.scale(chosen, high.frames.width, high.frames.height, better).luma)
    for name in whole_crops.models:
        found = measure.find_model(name, tools)
        if found:
            session = export.session(found[0], tools.threads)
            named = plan.model(name)
            kind = "generic" if named.cluster == "generic" else "content-aware"
            pictures[f"{kind} {named.tier}"] = [export.upscale(session, plane) for plane in chosen.luma]
    return [
        (
            label,
            [
                plane[y : y + HEIGHT, x : x + WIDTH]
                for plane, (_, x, y) in zip(planes, whole_crops.windows, strict=True)
            ],
        )
        for label, planes in pictures.items()
    ]


def shown(window):
    """A window as full-range grey, each pixel TIMES x TIMES."""
    full = np.clip((window.astype(np.float32) - 16.0) * (255.0 / 219.0), 0, 255)
    step = 255.0 / (LEVELS - 1)
    return np.kron(np.round(full / step) * step, np.ones((TIMES, TIMES))).astype(np.uint8)


def sheet(columns):
    """A PIL image of labelled columns."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    across, down = WIDTH * TIMES + GAP, HEIGHT * TIMES + GAP
    count = len(columns[0][1])
    image = Image.new("L", (across * len(columns) - GAP, HEAD + down * count - GAP), PAPER)
    pen = ImageDraw.Draw(image)
    font = ImageFont.truetype(str(matplotlib.get_data_path()) + "/fonts/ttf/DejaVuSans.ttf", 12)
    for column, (label, cut) in enumerate(columns):
        pen.text((column * across + 2, 1), label, fill=INK, font=font)
        for row, window in enumerate(cut):
            image.paste(Image.fromarray(shown(window)), (column * across, HEAD + row * down))
    return image


def draw_all(whole, folder, tools):
    """Writes crops-<clip>.png for every sheet of the plan whose clip is here."""
    table = rows.Table(rows.QUALITY, folder)
    for wanted in whole.crops:
        clip = whole.clips[wanted.clip]
        if tools.store.path(clip):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"crops-{clip.name}.png"
            sheet(windows(wanted, clip, tools, table)).save(path, optimize=True)
            tools.say(f"{path.name}: {path.stat().st_size >> 10} KiB")
