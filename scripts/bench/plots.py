"""Pictures of a result. matplotlib comes with the trainer's environment; without it there are none."""

INK, GRID, OURS, PEER, FLOOR = "#222222", "#dddddd", "#2a6f97", "#b0b0b0", "#c1666b"
STAGE_COLOURS = {
    "demux": "#9a9a9a",
    "decode": "#577590",
    "network": "#2a6f97",
    "chroma": "#90be6d",
    "scaler": "#f9c74f",
    "encode": "#f3722c",
    "splice": "#444444",
}


def draw(result, folder, stem, kind="png"):
    """Writes what the result has parts for; gives the paths. Raises ImportError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 9, "axes.edgecolor": INK, "axes.spines.top": False, "axes.spines.right": False})
    pictures = {
        "end-to-end": (speeds, result["parts"].get("end-to-end")),
        "stages": (stages, result["parts"].get("stages")),
        "concurrency": (growth, result["parts"].get("concurrency")),
        "serving": (serving, result["parts"].get("serving")),
    }
    written = []
    for name, (drawn, part) in pictures.items():
        if not part or not part.get("rows"):
            continue
        figure = drawn(plt, part)
        figure.get_layout_engine().set(rect=(0, 0.03, 1, 0.97))  # the last line is the machine's
        machine = result["machine"]
        figure.text(0.99, 0.005, f"{machine['cores']} cores, {machine['cpu']}", ha="right", fontsize=6, color="#777777")
        path = folder / f"{stem}-{name}.{kind}"
        figure.savefig(path, dpi=130)
        plt.close(figure)
        written.append(path)
    return written


def errors(figures):
    """Bars' whiskers: how far the range reaches from the median."""
    below = [figure["median"] - figure["min"] for figure in figures]
    above = [figure["max"] - figure["median"] for figure in figures]
    return [below, above]


def speeds(plt, part):
    rows = sorted(part["rows"], key=lambda row: row["real_time"]["median"])
    figure, axes = plt.subplots(figsize=(7.5, 0.34 * len(rows) + 1.4), layout="constrained")
    values = [row["real_time"]["median"] for row in rows]
    colours = [
        OURS if row["label"].startswith("acuity") else FLOOR if row["label"] == "ffmpeg bicubic" else PEER
        for row in rows
    ]
    whiskers = {"ecolor": INK, "elinewidth": 0.8, "capsize": 2}
    axes.barh(
        range(len(rows)), values, color=colours, xerr=errors([row["real_time"] for row in rows]), error_kw=whiskers
    )
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
    for at, row in enumerate(rows):
        share = row["to_floor"]["median"]
        label = f"{row['real_time']['median']:.2f}x" + (f", {share:.2f} of the floor" if share is not None else "")
        beside = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 8, "color": INK}
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.annotate(label, (row["real_time"]["max"], at), bbox=box, **beside)
    axes.set_xlim(0, max(row["real_time"]["max"] for row in rows) * 1.35)
    axes.axvline(1, color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlabel("times real time (dotted: real time; whiskers: range over rounds)")
    clip, target = part["clip"], part["target"]
    sizes = f"{clip['width']}x{clip['height']}p{clip['fps']} to {target['width']}x{target['height']}"
    axes.set_title(f"{sizes}, segment in to segment out", loc="left")
    return figure


def stages(plt, part):
    rows = part["rows"]
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(rows) + 1.7), layout="constrained")
    left = [0.0] * len(rows)
    for name, colour in STAGE_COLOURS.items():
        values = [(row["stages_ms"].get(name) or {"median": 0})["median"] for row in rows]
        if any(values):
            axes.barh(range(len(rows)), values, left=left, color=colour, label=name)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.plot([row["clock_ms_a_frame"]["median"] for row in rows], range(len(rows)), "k|", markersize=11, label="clock")
    axes.set_yticks(range(len(rows)), [f"{row['label']}, {row['input']}" for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("busy ms a frame (stages overlap; the tick is the clock)")
    axes.legend(ncols=len(STAGE_COLOURS) + 1, frameon=False, fontsize=7, loc="lower right", bbox_to_anchor=(1, 1))
    return figure


def growth(plt, part):
    rows = part["rows"]
    figure, (speed, memory) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    streams = [row["streams"] for row in rows]
    speed.plot(streams, [row["real_time"] for row in rows], "o-", color=OURS, label="all together")
    speed.plot(streams, [row["real_time_a_stream"] for row in rows], "o--", color=PEER, label="each")
    speed.axhline(1, color=INK, linewidth=0.8, linestyle=":")
    speed.set(xlabel="streams", ylabel="times real time", ylim=(0, None))
    memory.plot(streams, [row["peak_mib"] for row in rows], "o-", color=FLOOR, label="peak")
    memory.plot(streams, [row["idle_mib"] for row in rows], "o--", color=PEER, label="before the first segment")
    memory.set(xlabel="streams", ylabel="MiB resident", ylim=(0, None))
    for axes in (speed, memory):
        axes.set_xticks(streams)
        axes.grid(color=GRID, linewidth=0.6)
        axes.legend(frameon=False, fontsize=7)
    return figure


def serving(plt, part):
    rows = part["rows"]
    figure, axes = plt.subplots(figsize=(4.5, 3), layout="constrained")
    for at, row in enumerate(rows):
        for shift, side, colour in ((-0.2, "acuity", OURS), (0.2, "nginx", PEER)):
            figures = row[side]["rate"]
            label = side if at == 0 else None
            axes.bar(at + shift, figures["median"], 0.38, color=colour, yerr=errors([figures]), label=label, capsize=2)
        top = max(row[side]["rate"]["max"] for side in ("acuity", "nginx"))
        axes.text(at, top * 1.03, f"{row['ratio']['median']:.2f}", ha="center", fontsize=8)
    axes.set_xticks(range(len(rows)), [f"{row['name']}, {row['bytes'] / 1e6:.2f} MB" for row in rows])
    axes.set_ylabel("requests a second (above: ratio)")
    axes.margins(y=0.12)
    axes.legend(frameon=False)
    return figure
