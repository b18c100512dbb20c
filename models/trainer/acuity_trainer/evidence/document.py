"""docs/content-aware.md: the template filled in from the rows. A missing figure is said to be; none is typed."""

import string
from pathlib import Path

from .. import contract
from . import findings, measure

TEMPLATE = Path(__file__).with_name("content-aware.md.template")
NONE = "-"
Results = findings.Results
SIZES = {2: "360p", 3: "240p", 4: "180p"}


def table(header, lines):
    """A Markdown table, or a sentence where it has no lines."""
    if not lines:
        return "*Not measured yet.*"
    return "\n".join(
        [
            "| " + " | ".join(header) + " |",
            "|" + "---|" * len(header),
            *("| " + " | ".join(line) + " |" for line in lines),
        ]
    )


def number(value, digits=2, sign=False):
    """A figure, or a dash."""
    return NONE if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def method_name(name, row):
    """What a method is called in a table."""
    if row["category"] == "plain":
        return f"plain ({name})"
    if name == measure.NATIVE:
        return "720p itself"
    kind = "generic" if row["cluster"] == "generic" else f"content-aware ({row['cluster']})"
    return f"{kind} {row['tier']}" + (
        f", trained {row['trained_for']}" if row["trained_for"] != row["protocol"] else ""
    )


HEADER = ["PSNR-Y", "over plain", "over generic", "SSIM", "VMAF", "NEG", "temporal", "flicker"]


def figures(cell, name):
    """The columns of HEADER for one method."""
    row = cell[name]
    specialised = row["tier"] and row["cluster"] != "generic"
    return [
        number(row["psnr_db"]),
        number(findings.over_plain(cell, name), sign=True) if row["tier"] else "",
        number(findings.over_generic(cell, name), sign=True) if specialised else "",
        number(row["ssim"], 4),
        number(row["vmaf"]),
        number(row["vmaf_neg"]),
        number(row["temporal_db"]),
        number(row["flicker"]),
    ]


def lines_of(cell, categories):
    """[(method, columns)] of plain, the generic networks and those content-aware ones that are in `categories`."""
    base = findings.plain(cell)
    names = [base["method"]] if base else []
    names += [name for name in findings.networks(cell) if cell[name]["category"] in ("generic", *categories)]
    return [(method_name(name, cell[name]), figures(cell, name)) for name in names]


def category_table(results, category):
    """The coded protocol at the clips' main rate for one category."""
    lines = []
    for clip in results.whole.clips.values():
        cell = results.cell(clip.name)
        fits = any(row["category"] == category for row in cell.values()) or (
            category == "other" and not clip.cluster and cell
        )
        for position, (method, columns) in enumerate(lines_of(cell, (category,)) if fits else []):
            rate = f"{findings.plain(cell)['kbps_measured']:.0f}"
            lines.append([clip.name if not position else "", rate if not position else "", method, *columns])
    return table(["clip", "kbit/s", "method", *HEADER], lines)


def scaled_table(results, protocol, scales):
    """The game clip at several scales."""
    lines = []
    for run_scale in scales:
        rates = {
            kbps
            for run in results.whole.runs
            for kbps in run.kbps
            if run.protocol == protocol and run.scale == run_scale and run.every == 1
        }
        for clip in results.whole.clips.values():
            for kbps in sorted(rates):
                cell = results.cell(clip.name, protocol, run_scale, kbps)
                for position, (method, columns) in enumerate(lines_of(cell, ("same_cluster", "seen"))):
                    seen = f"{clip.name}{', seen' if clip.seen else ''}"
                    size = SIZES[run_scale] + (f", {findings.plain(cell)['kbps_measured']:.0f} kbit/s" if kbps else "")
                    lines.append([seen if not position else "", size if not position else "", method, *columns])
    return table(["clip", "from", "method", *HEADER], lines)


def targets(results):
    """The table of targets and the sentence below it."""
    found, lines = findings.targets(results), []
    for what, target, value, method, met in found:
        word = NONE if met is None else ("reached" if met else "**missed**")
        lines.append([what, f"{target:+.1f}", number(value, 2, sign=True), f"`{method}`" if method else NONE, word])
    told = [met for *_, met in found]
    note = f"{sum(met is True for met in told)} of {len(told)} reached, {sum(met is False for met in told)} missed, "
    note += f"{sum(met is None for met in told)} not measured yet. The paper's own figures for its game clip, clean: "
    note += (
        "+9.1 dB over bicubic and +6.7 dB over generic with 665 k parameters, 57 per cent fewer bits at equal quality."
    )
    return table(["figure", "target", "measured", "network", ""], lines), note


def clips_table(results):
    """The clips and what they are to their cluster."""
    lines = []
    for clip in results.whole.clips.values():
        what = ("seen" if clip.seen else "same cluster, unseen") if clip.cluster else "other"
        rows = [row for row in results.quality if row["clip"] == clip.name]
        frames = max((row["frames"] for row in rows), default=None)
        digest = f"`{rows[0]['clip_sha256'][:16]}`" if rows else NONE
        lines.append([clip.name, clip.says, clip.cluster or NONE, what, number(frames, 0), digest])
    return table(["clip", "what", "cluster", "category", "frames", "SHA-256 begins"], lines)


def models_table(results):
    """The networks that stand behind the rows."""

    def order(row):
        return (
            row["scale"],
            row["trained_for"] != "coded",
            findings.TIERS.index(row["tier"]),
            row["cluster"] != "generic",
            row["cluster"],
        )

    used = {row["method"] for row in results.quality}
    lines = [
        [
            f"`{row['model']}`",
            row["trained_for"],
            f"{row['parameters']}",
            f"{row['bytes'] / 1000:.0f}",
            number(row["steps"], 0),
            f"`{row['sha256'][:16]}`",
        ]
        for row in sorted(results.models, key=order)
        if row["model"] in used
    ]
    return table(["network", "trained on", "parameters", "kB", "steps", "SHA-256 begins"], lines)


def rate_table(results):
    """Rate differences of every content-aware network that was measured at all rates."""
    lines = []
    for clip in results.whole.clips.values():
        for anchor, method, percent, best in findings.savings(results, clip.name):
            against = {"plain": "360p + plain", measure.NATIVE: "720p itself"}.get(anchor, "360p + generic of its size")
            point = (
                f"{best[0]:+.1f} % at {best[1]:.1f} dB ({best[3]:.0f} for {best[2]:.0f} kbit/s)"
                if best
                else "no quality in common"
            )
            lines.append(
                [
                    clip.name,
                    f"`{method}`",
                    against,
                    number(percent, 1, sign=True) + (" %" if percent is not None else ""),
                    point,
                ]
            )
    return table(["clip", "360p + network", "against", "Bjontegaard rate", "best point"], lines)


def data_text(results):
    """Plot and table of data over time."""
    found = findings.data_use(results, findings.GAME)
    if not found:
        return "*Not measured yet.*"
    quality, used = found
    lines = []
    for name, use in sorted(used.items(), key=lambda one: -one[1][0]):
        even = findings.break_even_s(use, used["plain"]) if name not in ("plain", measure.NATIVE) else None
        called = {"plain": "360p + plain", measure.NATIVE: "720p itself"}.get(name, f"360p + `{name}`")
        size = f"{use[1] / 1000:.0f}" if use[1] else NONE
        spared = (1 - findings.megabytes(use, 60) / findings.megabytes(used["plain"], 60)) * 100
        lines.append(
            [
                called,
                f"{use[0]:.0f}",
                size,
                *(f"{findings.megabytes(use, m):.1f}" for m in (1, 10, 60)),
                NONE if name == "plain" else f"{-spared:+.0f} %",
                number(even, 1),
            ]
        )
    head = ["method", "kbit/s", "model, kB", "MB, 1 min", "10 min", "60 min", "against plain", "model repaid after, s"]
    missing = [name for name in findings.curves(results, findings.GAME) if name not in used]
    note = f"\n\nNever at that quality within the rates measured: {', '.join(missing)}." if missing else ""
    picture = "![Data over time](content-aware/data-use.png)"
    return f"`{findings.GAME}` at {quality:.2f} dB:\n\n{picture}\n\n{table(head, lines)}{note}"


def speed(results):
    """(machine, table, note) of quality against speed."""
    told = {
        protocol: {one[0]: one for one in findings.tier_table(results, protocol)} for protocol in ("coded", "clean")
    }
    gpus = sorted({row["machine"] for row in results.costs if "GPU" in row["machine"]})
    lines, machine = [], ""
    for tier in contract.TIERS:
        cost, cells = findings.cost_ms(results, tier), [told[protocol].get(tier) for protocol in told]
        parameters = next((cell[1] for cell in cells if cell), None)
        if parameters is None and cost is None:
            continue
        machine = cost[1] if cost else machine
        line = [
            tier,
            number(parameters, 0),
            number(cost[0] if cost else None, 1),
            number(1000 / cost[0] if cost else None, 1),
        ]
        for gpu in gpus:
            timed = findings.cost_ms(results, tier, machine=gpu)
            line.append(number(timed[0] if timed else None, 2))
        for cell in cells:
            gains = cell[2] if cell else {}
            line += [number(gains.get("generic"), sign=True), number(gains.get("content"), sign=True)]
        lines.append(line)
    head = ["tier", "parameters", "ms a frame", "fps", *(f"ms, {gpu}" for gpu in gpus)]
    head += ["generic, coded", "content-aware, coded", "generic, clean", "content-aware, clean"]
    smaller = results.cell(findings.GAME)
    own = findings.networks(smaller, results.whole.clips[findings.GAME].cluster)
    note = "![Quality against speed](content-aware/speed.png)\n\n" if lines else ""
    if own:
        least, generic = own[0], findings.networks(smaller, "generic")
        dearer = [name for name in generic if smaller[name]["tier"] != smaller[least]["tier"]]
        below = [name for name in dearer if smaller[name]["psnr_db"] < smaller[least]["psnr_db"]]
        if below:
            above = ", ".join(f"`{name}`" for name in below)
            note += f"On all frames at {findings.GAME_KBPS} kbit/s, `{least}` is above {above}."
    return f" ({machine})" if machine else "", table(head, lines), note


def missing_text(results):
    """What the plan wants and nobody measured, grouped."""
    groups = {}
    for key in results.missing():
        where = f"{key['clip']}, {key['protocol']} x{key['scale']}" + (
            f", every {key['every']}th frame" if key["every"] > 1 else ""
        )
        groups.setdefault((where, key["method"]), []).append(str(key["kbps"]))
    told = {}
    for (where, method), rates in groups.items():
        told.setdefault(where + (f", {'/'.join(rates)} kbit/s" if rates != ["0"] else ""), []).append(method)
    if not told:
        return "Nothing: the plan is complete."
    return "\n".join(f"- {where}: {', '.join(methods)}" for where, methods in told.items())


def text(results, folder):
    """The document as text; `folder` is where pictures are looked for."""
    folder = Path(folder)
    goals, note = targets(results)
    machine, speed_table, speed_note = speed(results)
    same = [
        (name, findings.over_plain(cell, name), findings.over_generic(cell, name))
        for clip in results.whole.clips.values()
        for cell in [results.cell(clip.name)]
        for name in findings.networks(cell)
        if cell[name]["category"] == "same_cluster"
    ]
    best = max((one for one in same if one[2] is not None), key=lambda one: one[2], default=None)
    intro = (
        f"`{best[0]}` is {best[1]:+.2f} dB over plain and {best[2]:+.2f} dB over the generic network of its size."
        if best
        else ""
    )
    plots = [
        f"rate-{clip}.png"
        for clip in results.whole.clips
        if findings.curves(results, clip) and (folder / f"rate-{clip}.png").exists()
    ]
    crops = [
        f"crops-{sheet.clip}.png" for sheet in results.whole.crops if (folder / f"crops-{sheet.clip}.png").exists()
    ]
    values = {
        "targets": goals,
        "targets_note": note,
        "clips_count": str(len(results.whole.clips)),
        "clips": clips_table(results),
        "models": models_table(results),
        "same_intro": intro,
        "same_table": category_table(results, "same_cluster"),
        "seen_table": category_table(results, "seen"),
        "other_table": category_table(results, "other"),
        "clean_table": scaled_table(results, "clean", (2, 3, 4)),
        "small_table": scaled_table(results, "coded", (3, 4)),
        "rate_plots": "\n\n".join(f"![Rate and quality of {name[5:-4]}](content-aware/{name})" for name in plots)
        or "*Not measured yet.*",
        "rates": f"{findings.RATES_KBPS[0]} to {findings.RATES_KBPS[-1]}",
        "rate_table": rate_table(results),
        "data_text": data_text(results),
        "game": findings.GAME,
        "machine": machine,
        "speed_table": speed_table,
        "speed_note": speed_note,
        "crops": "\n\n".join(f"`{name[6:-4]}`\n\n![Crops of {name[6:-4]}](content-aware/{name})" for name in crops)
        or "*Not drawn yet.*",
        "missing": missing_text(results),
    }
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def write(results, path, folder):
    """Writes the document."""
    path.write_text(text(results, folder), encoding="utf-8")
