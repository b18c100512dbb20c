"""Filmstrips: a window of two coded pictures, and what each method puts between them."""

import numpy as np

from ...evidence import crops
from .. import methods

GAP, HEAD = 6, 18
COLUMNS = 4


def planes(one, models, index):
    """[(label, luma)]: both coded pictures, the true one between, and what is made of them."""
    found = [("before", one.coded.luma[index]), ("true", one.middle.luma[index]), ("after", one.coded.luma[index + 1])]
    baselines = ("blend", *methods.MCI)
    # Few pictures around the wanted one are enough, but FFmpeg wants some on both sides.
    first = max(0, index - 4)
    near = type(one.coded)(np.ascontiguousarray(one.coded.raw[first : index + 6]), one.coded.width, one.coded.height)
    for name, made in methods.every(near, len(near) - 1, models, baselines):
        found.append((name, made.luma[index - first]))
    return found


def draw(path, one, place, models, say=print):
    """Writes the strip of a Case at a place of its clip's plan: index, and window (x, y, width, height)."""
    from PIL import Image, ImageDraw, ImageFont

    x, y, width, height = place["window"]
    shown = planes(one, models, place["index"])
    across, down = width * crops.TIMES + GAP, height * crops.TIMES + HEAD + GAP
    lines = -(-len(shown) // COLUMNS)
    image = Image.new("L", (across * COLUMNS - GAP, down * lines - GAP), crops.PAPER)
    pen, font = ImageDraw.Draw(image), ImageFont.truetype(_font(), 12)
    for number, (label, luma) in enumerate(shown):
        left, top = number % COLUMNS * across, number // COLUMNS * down
        pen.text((left + 2, top + 1), label, fill=crops.INK, font=font)
        image.paste(Image.fromarray(crops.shown(luma[y : y + height, x : x + width])), (left, top + HEAD))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, optimize=True)
    say(f"{path.name}: {path.stat().st_size >> 10} KiB")


def _font():
    import matplotlib

    return str(matplotlib.get_data_path()) + "/fonts/ttf/DejaVuSans.ttf"
