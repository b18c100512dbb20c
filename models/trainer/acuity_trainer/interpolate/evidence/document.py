"""docs/interpolation.md, made from the CSV file and the catalogue alone."""

from pathlib import Path

from ... import catalogue
from ...evidence import rows
from .. import contract
from . import measure

HEAD = """\
# Frame interpolation: the evidence

Made by `python3 -m acuity_trainer.interpolate.evidence all` in `models/trainer`; every figure is computed from the
rows in [interpolation/quality.csv](interpolation/quality.csv) and from the catalogue. Change nothing by hand.

A network makes the frame halfway between two decoded ones: motion is estimated for the made frame itself, from a
sixteenth to a quarter of the size, both frames are moved along it, and a mask decides pixel by pixel which of the
two is shown. "Generic" was trained on drawn scenes and other clips, "content-aware" goes on from it with video of
its cluster.

## How it was measured

- A clip is brought to {height} lines, every second (or fourth) picture is kept and coded by libx264 `medium` at a
  mean rate with a key frame every two seconds, or not coded (0 kbit/s). The made pictures are compared with the
  true, uncoded ones between.
- **PSNR-Y** is that of the mean squared error over all made pictures; those that FFmpeg leaves out at the ends, and
  those across a cut (means of 16x16 pixels that differ by more than 22 code values) count for nobody. **SSIM** is
  FFmpeg's, **VMAF** libvmaf's `vmaf_v0.6.1` over the made pictures alone.
- **`minterpolate`** is FFmpeg's filter with `mi_mode=mci`; "best" adds `mc_mode=aobmc:me_mode=bidir:vsbmc=1`.
- **ms** is processor time for one made picture on one thread: FFmpeg's whole filter, and the network on ONNX
  Runtime's own kernels with any frame size. The table of networks says what a frame takes there with its size
  fixed.
"""


TAIL = """
## How to read it

- `traffic_540p60` is film: 25 pictures a second, each shown two or three times. Between two decoded pictures the true
  one is a copy of one of them, and which one the two do not tell; the mean of both is the least wrong on average. But
  of six gaps between pictures one leads to the same picture again, and that tells it for four of the other five: "in
  the edge" is what a rendition shows, which keeps film's cadence where it recognises one (`enhancer/src/interpolate/
  cadence.rs`), and makes nothing there. The same clip with its repeats taken out is `traffic_film`, and is what the
  network of its cluster was trained on.
- Where stripes or bricks move by about the distance from one to the next, the network takes one for the other;
  `minterpolate` compares whole blocks, and is right there. Where one thing passes before another it is the other way
  about. The filmstrips of the game show one of each.

## In the edge

`[route.frame_rate]` offers renditions of twice or four times the rate, in the source's size or enlarged; it is off by
default. `acuity enhance FILE --frame-rate x2 -o OUT` does it for a file. Cuts, flashes and paused screens are not
interpolated, what is equal in both pictures stays to the bit, and what is late repeats: decision 27 in
[decisions](decisions.md). What the network is, and what else was tried: decision 28. What it costs end to end:
[measurements](measurements.md#frame-rate).
"""


def _gain(value, of):
    return "" if value is None or of is None else f"{value - of:+.2f}"


def _number(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


def _case(found, clip):
    """The lines of one clip at one rate; `found` {method: row}."""
    blend = found["blend"]["psnr_db"] if "blend" in found else None
    best = found.get("minterpolate", {}).get("psnr_db")
    others = sorted(set(found) - set(measure.BASELINES), key=lambda name: ("generic" not in name, name))
    order = [*measure.BASELINES, *others]
    lines = []
    for name in (name for name in order if name in found):
        row = found[name]
        first = (
            f"{clip} | {row['fps']:.2f} to {2 * row['fps']:.2f} | {row['kbps_measured']:.0f}" if not lines else " | | "
        )
        cells = [_number(row["psnr_db"], 2), _gain(row["psnr_db"], blend), _gain(row["psnr_db"], best)]
        cells += [_number(row["ssim"], 4), _number(row["vmaf"], 1), _number(row["ms_per_frame"], 1)]
        lines.append(
            f"| {first} | {_shown(name)} | " + " | ".join(cells) + " |"
        )
    return lines


def _shown(method):
    network, separator, rest = method.partition(measure.IN_THE_EDGE)
    return f"`{network}`{separator}{rest}" if "-i2-" in network else method


def tables(table, clips):
    """The table of quality."""
    lines = [
        "| clip | fps | kbit/s | method | PSNR-Y | over blend | over minterpolate | SSIM | VMAF | ms |",
        "|" + "---|" * 10,
    ]
    groups = {}
    for row in table:
        groups.setdefault((row["clip"], -row["fps"], -row["kbps"]), {})[row["method"]] = row
    for key in sorted(groups, key=lambda key: (list(clips).index(key[0]), *key[1:])):
        lines += _case(groups[key], key[0])
    return "\n".join(lines)


def networks(zoo):
    """The table of the networks that the zoo has."""
    lines = [
        "| network | parameters | kB | steps | ms a frame | held out: over blend | over generic |",
        "|" + "---|" * 7,
    ]
    for entry in catalogue.read(Path(zoo) / "catalogue.toml"):
        if catalogue.task_of(entry) == contract.TASK:
            told, size = entry["measured"], (Path(zoo) / entry["file"]).stat().st_size
            over = _gain(told["heldout_db"], told.get("heldout_generic_db"))
            steps = _steps(Path(zoo) / entry["record"])
            lines.append(
                f"| `{entry['id']}` | {entry['parameters']} | {size / 1000:.0f} | {steps} | {told['ms_per_frame']:.1f} "
                f"({told['machine']}) | {told['gain_db']:+.2f} | {over} |"
            )
    return "\n".join(lines)


def _steps(record):
    found = [line for line in record.read_text(encoding="utf-8").splitlines() if " steps, " in line]
    return found[0].split(" steps")[0] if found else ""


def text(table, zoo, plan_path, out):
    """The whole page; pictures that are there are shown."""
    clips, _ = measure.plan(plan_path)
    parts = [HEAD.format(height=measure.HEIGHT)]
    parts.append("| clip | what |\n|---|---|\n" + "\n".join(f"| {c['name']} | {c['says']} |" for c in clips.values()))
    parts += ["\n## Networks\n", networks(zoo), "\n## Quality\n", tables(table, clips)]
    for name, clip in clips.items():
        for number, strip in enumerate(clip.get("strips", []), 1):
            if (Path(out) / f"strip-{name}-{number}.png").exists():
                parts.append(f"\n{name}, {strip['says']}:\n")
                parts.append(f"![{name}: before, true, after, what is made](interpolation/strip-{name}-{number}.png)")
    return "\n".join(parts) + "\n" + TAIL


def write(path, zoo, plan_path, out):
    """Writes the page from the table in `out`."""
    table = rows.Table(measure.QUALITY, out)
    Path(path).write_text(text(table, zoo, plan_path, out), encoding="utf-8")
    return len(table)
