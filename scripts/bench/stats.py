"""Figures out of samples: medians with their spread, percentiles, ratios of runs that belong together."""

import math
import statistics


def percentile(values, part):
    """The value below which `part` (0 to 1) of them lie, by nearest rank. None without values."""
    ranked = sorted(values)
    if not ranked:
        return None
    return ranked[max(math.ceil(part * len(ranked)) - 1, 0)]


def spread(values):
    """Median and range: {"median", "min", "max", "n"}. All None without values."""
    known = [value for value in values if value is not None]
    if not known:
        return {"median": None, "min": None, "max": None, "n": 0}
    return {"median": statistics.median(known), "min": min(known), "max": max(known), "n": len(known)}


def ratios(ours, theirs):
    """Round by round, ours to theirs, as a spread. Rounds are interleaved, so a pair had the same neighbours on the
    machine; a round that one of them lacks is left out."""
    pairs = zip(ours, theirs, strict=False)
    return spread([a / b for a, b in pairs if a is not None and b])


def slope(points):
    """Least squares: how much y grows by for one x more. None for fewer than two different x."""
    if len({x for x, _ in points}) < 2:
        return None
    mean_x = statistics.mean(x for x, _ in points)
    mean_y = statistics.mean(y for _, y in points)
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / below


def show(figure, digits=2, unit=""):
    """A spread as text: `1.34 (1.19 to 1.40)`; a lone sample without its range; `-` without any."""
    if figure is None or figure["n"] == 0:
        return "-"
    text = f"{figure['median']:.{digits}f}{unit}"
    if figure["n"] > 1:
        text += f" ({figure['min']:.{digits}f} to {figure['max']:.{digits}f})"
    return text


def table(head, rows, indent="  "):
    """Lines of a plain table: first column to the left, figures to the right."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = []
    for at, row in enumerate(cells):
        fitted = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + "  ".join(fitted)).rstrip())
        if at == 0:
            lines.append(indent + "  ".join("-" * width for width in widths))
    return "\n".join(lines)
