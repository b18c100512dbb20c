"""The plots, from the CSV files alone: one colour a kind of method, labels at the lines instead of legends."""

import io

from . import findings, measure, plan

PLAIN, GENERIC, CONTENT, NATIVE, INK = "#7a7a7a", "#d98200", "#0b62a8", "#222222", "#333333"
# Tiers of one kind differ by their line.
DASHES = {"s": "-", "m": "--", "l": (0, (5, 1, 1, 1)), "v10": ":", "v15": (0, (1, 1)), "v20": (0, (3, 1, 1, 1, 1, 1))}
SIZE = {"dpi": 110}
MOST_BYTES = 80_000


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update(
        {
            "font.size": 9,
            "font.family": "DejaVu Sans",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": INK,
            "axes.grid": True,
            "grid.color": "#e4e4e4",
            "grid.linewidth": 0.7,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "lines.linewidth": 1.8,
            "lines.markersize": 4,
        }
    )
    return pyplot


def kind(method):
    """(colour, label, line) of a method."""
    if method == "plain":
        return PLAIN, "plain scaler", "-"
    if method == measure.NATIVE:
        return NATIVE, "720p itself", (0, (2, 2))
    named = plan.model(method)
    if named.cluster == "generic":
        return GENERIC, f"generic {named.tier}", DASHES[named.tier]
    return CONTENT, f"content-aware {named.tier}", DASHES[named.tier]


def apart(values, least):
    """The values moved as little as possible so that neighbours are `least` apart: where labels go."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed = [values[i] for i in order]
    for _ in range(200):
        moved = False
        for i in range(len(placed) - 1):
            short = least - (placed[i + 1] - placed[i])
            if short > 1e-9:
                placed[i] -= short / 2
                placed[i + 1] += short / 2
                moved = True
        if not moved:
            break
    result = [0.0] * len(values)
    for position, index in enumerate(order):
        result[index] = placed[position]
    return result


def _labels(axes, ends):
    """Labels [(x, y, text, colour)] at the right ends of lines, kept apart in display space."""
    axes.figure.canvas.draw()
    to_pixels = axes.transData
    pixels = [to_pixels.transform((x, y))[1] for x, y, _, _ in ends]
    for (x, y, text, colour), want, have in zip(ends, apart(pixels, 14), pixels, strict=True):
        axes.annotate(
            text,
            (x, y),
            xytext=(7, (want - have) * 72 / axes.figure.dpi),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
        )


def save(figure, path):
    """Writes a PNG of few colours; refuses one that is too large."""
    from PIL import Image

    raw = io.BytesIO()
    figure.savefig(raw, format="png", bbox_inches="tight", **SIZE)
    image = Image.open(raw).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, more than {MOST_BYTES}")
    _pyplot().close(figure)


def _chosen(known):
    """The lines worth drawing: plain, 720p itself, the smallest and the largest of each kind of network."""
    networks = [name for name in known if name not in ("plain", measure.NATIVE)]
    keep = {"plain", measure.NATIVE}
    for generic in (True, False):
        own = [name for name in networks if name.startswith("generic-") == generic]
        keep |= {own[0], own[-1]} if own else set()
    return [name for name in known if name in keep]


def rate_quality(results, clip, path):
    """Rate against PSNR and VMAF-NEG; False where no method was measured at all rates."""
    panels = [("psnr_db", "PSNR-Y, dB"), ("vmaf_neg", "VMAF-NEG")]
    sets = [(findings.curves(results, clip, figure), label) for figure, label in panels]
    if len(sets[0][0]) < 2:
        return False
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(1, 2, figsize=(10.2, 3.7), gridspec_kw={"wspace": 0.62})
    for one, (known, label) in zip(axes, sets, strict=True):
        ends = []
        for name in _chosen(known):
            colour, text, line = kind(name)
            rates, values = zip(*known[name], strict=True)
            one.plot(rates, values, linestyle=line, color=colour, marker="o")
            ends.append((rates[-1], values[-1], text, colour))
        one.set_xscale("log")
        ticks = [100, 150, 200, 300, 500, 700, 1000, 1500]
        one.set_xticks(ticks, [str(tick) for tick in ticks])
        one.minorticks_off()
        one.set_xlim(min(p[0] for points in known.values() for p in points) * 0.93, None)
        one.set_xlabel("kbit/s from the origin")
        one.set_title(label)
        _labels(one, ends)
    save(figure, path)
    return True


def data_use(results, clip, path, minutes=10):
    """Cumulative data from the origin at equal quality, models included; False where it cannot be told."""
    found = findings.data_use(results, clip)
    if not found:
        return False
    quality, used = found
    pyplot = _pyplot()
    figure, (axes, begin) = pyplot.subplots(
        1, 2, figsize=(10.2, 3.5), gridspec_kw={"wspace": 0.85, "width_ratios": [1.2, 1]}
    )
    for one, upto, unit in ((axes, minutes, 1.0), (begin, 0.25, 60.0)):
        ends = []
        for name in _chosen(used):
            colour, text, line = kind(name)
            points = [(0.0, findings.megabytes(used[name], 0)), (upto * unit, findings.megabytes(used[name], upto))]
            one.plot(*zip(*points, strict=True), linestyle=line, color=colour)
            ends.append((*points[1], f"{text}, {used[name][0]:.0f} kbit/s" if one is axes else text, colour))
        one.set_ylim(0, None)
        one.set_xlim(0, upto * unit)
        _labels(one, ends)
    axes.set_xlabel("minutes watched")
    axes.set_title(f"MB from the origin, all at {quality:.1f} dB")
    begin.set_xlabel("seconds watched")
    begin.set_title("the same, first seconds: the model's transfer")
    save(figure, path)
    return True


def speed(results, path):
    """Gain over plain against milliseconds a frame for every tier, coded and clean; False where no tier was timed."""
    panels = [(protocol, findings.tier_table(results, protocol)) for protocol in ("coded", "clean")]
    panels = [(protocol, told) for protocol, told in panels if any(findings.cost_ms(results, one[0]) for one in told)]
    if not panels:
        return False
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(5.1 * len(panels), 3.6), squeeze=False, gridspec_kw={"wspace": 0.42}
    )
    for one, (protocol, told) in zip(axes[0], panels, strict=True):
        ends = []
        for what, colour, text in (("generic", GENERIC, "generic"), ("content", CONTENT, "content-aware")):
            points = [
                (findings.cost_ms(results, tier)[0], gains[what], tier)
                for tier, _, gains, _ in told
                if gains.get(what) is not None and findings.cost_ms(results, tier)
            ]
            if not points:
                continue
            # The body at low resolution and the one at target resolution are two families: not one line.
            for family in (False, True):
                own = [point for point in points if point[2].startswith("v") == family]
                one.plot(
                    [p[0] for p in own], [p[1] for p in own], "-" if not family else "--", color=colour, marker="o"
                )
            for x, y, tier in points:
                one.annotate(
                    tier, (x, y), xytext=(0, 6), textcoords="offset points", ha="center", color=colour, fontsize=8.5
                )
            ends.append((points[-1][0], points[-1][1], text, colour))
        one.set_xscale("log")
        one.margins(x=0.12, y=0.2)
        low, high = one.get_xlim()
        ticks = [tick for tick in (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if low < tick < high]
        one.set_xticks(ticks, [str(tick) for tick in ticks])
        one.minorticks_off()
        one.axhline(0.0, color=PLAIN, linewidth=1)
        one.set_xlabel("ms a frame, 640x360 to 1280x720")
        one.set_title(f"dB over plain, {protocol}")
        one.axvline(1000 / 30, color="#bbbbbb", linewidth=1, linestyle=":")
        one.annotate(
            "30 fps",
            (1000 / 30, 1.0),
            xycoords=("data", "axes fraction"),
            fontsize=8,
            color=INK,
            ha="left",
            va="top",
            xytext=(3, 0),
            textcoords="offset points",
        )
        _labels(one, ends)
    save(figure, path)
    return True


def gains(results, path, tier="s"):
    """Gain over plain by clip, generic beside content-aware, in the three categories; False where nothing is there."""
    bars = []
    for category, title in (("seen", "seen"), ("same_cluster", "same cluster, unseen"), ("other", "other content")):
        for clip in results.whole.clips.values():
            cell = results.cell(clip.name)
            own = [
                name
                for name in findings.networks(cell)
                if cell[name]["category"] == category and cell[name]["tier"] == tier
            ]
            generic = findings.over_plain(cell, f"generic-x2-{tier}")
            for name in own:
                label = clip.name if category != "other" else f"{clip.name}\nwith {cell[name]['cluster']}"
                bars.append((title, label, generic, findings.over_plain(cell, name)))
    if not bars:
        return False
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(max(5.0, 1.0 + 0.95 * len(bars)), 3.6))
    at, last, ticks = 0.0, None, []
    for title, label, generic, own in bars:
        if title != last:
            at += 0.9 if last else 0.0
            axes.annotate(title, (at - 0.4, 1.02), xycoords=("data", "axes fraction"), fontsize=9, color=INK)
            last = title
        # Figures lean outwards, away from the bar beside.
        for offset, value, colour, side in ((-0.19, generic, GENERIC, "right"), (0.19, own, CONTENT, "left")):
            if value is not None:
                axes.bar(at + offset, value, 0.36, color=colour)
                edge = at + offset + (0.18 if side == "right" else -0.18)
                axes.annotate(
                    f"{value:+.2f}",
                    (edge, value),
                    xytext=(0, 2 if value >= 0 else -10),
                    ha=side,
                    textcoords="offset points",
                    fontsize=7,
                    color=colour,
                )
        ticks.append((at, label))
        at += 1.0
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.margins(y=0.12)
    axes.grid(axis="x", visible=False)
    axes.set_axisbelow(True)
    axes.set_xticks([x for x, _ in ticks], [label for _, label in ticks], rotation=35, ha="right", fontsize=7.5)
    axes.set_ylabel("PSNR-Y over plain, dB")
    for y, text, colour in ((0.97, f"content-aware {tier}", CONTENT), (0.90, f"generic {tier}", GENERIC)):
        axes.annotate(text, (0.995, y), xycoords="axes fraction", ha="right", va="top", color=colour, fontsize=8.5)
    save(figure, path)
    return True


def draw_all(results, folder):
    """Every plot that the rows give; gives the names of the files that there are now."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [
        ("gains.png", lambda path: gains(results, path)),
        ("data-use.png", lambda path: data_use(results, findings.GAME, path)),
        ("speed.png", lambda path: speed(results, path)),
    ]
    for clip in (findings.GAME, "openttd_b", "bbb"):
        wanted.append((f"rate-{clip}.png", lambda path, clip=clip: rate_quality(results, clip, path)))
    drawn = []
    for name, draw in wanted:
        if draw(folder / name):
            drawn.append(name)
        else:
            (folder / name).unlink(missing_ok=True)
    return drawn
