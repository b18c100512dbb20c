"""What the raw rows say: gains, curves, rates saved, data used. All that the document states is computed here."""

from .. import contract
from ..results import PLAIN
from . import bjontegaard, measure, plan, rows

GAME, GAME_KBPS = "freedoom1_demo2", 600
TIERS = list(contract.TIERS)
# A curve is judged over the whole range of the targets or not at all.
RATES_KBPS = (150, 300, 600, 1000, 1500)
BYTES_PER_KBIT = 125.0


class Results:
    """The CSV files of a folder, and the plan they were measured by."""

    def __init__(self, folder, whole):
        self.whole = whole
        self.quality = rows.Table(rows.QUALITY, folder)
        self.models = rows.Table(rows.MODELS, folder)
        self.costs = rows.Table(rows.COST, folder)

    def cell(self, clip, protocol="coded", scale=2, kbps=GAME_KBPS, every=1):
        """{method: row} of all that was measured on the very same low pictures; {} where nothing was."""
        kbps = 0 if protocol == "clean" else kbps
        wanted = (clip, protocol, scale, kbps, every)
        found = {key[-1]: row for key, row in self.quality.rows.items() if key[:-1] == wanted}
        first = next((found[name] for name in PLAIN if name in found), None)
        if first is None:
            return {}
        return {
            name: row for name, row in found.items()
            if name == measure.NATIVE or (row["low_sha256"], row["frames"]) == (first["low_sha256"], first["frames"])
        }  # fmt: skip

    def bytes_of(self, model):
        """Size of a model's file, None where it was never measured."""
        row = self.models.get(model=model)
        return row["bytes"] if row else None

    def missing(self):
        """Keys that the plan wants and the rows lack."""
        return measure.missing(self.whole, self.quality)


def plain(cell):
    """The row of the better plain scaler, by PSNR; None in an empty cell."""
    found = [cell[name] for name in PLAIN if name in cell]
    return max(found, key=lambda row: row["psnr_db"]) if len(found) == len(PLAIN) else None


def over_plain(cell, method, figure="psnr_db"):
    """How much a method is above the better plain scaler; None where either is missing."""
    base = plain(cell)
    if base is None or method not in cell or cell[method][figure] is None or base[figure] is None:
        return None
    return cell[method][figure] - base[figure]


def over_generic(cell, method, figure="psnr_db"):
    """How much a content-aware method is above the generic one of its size and protocol; None where that is missing."""
    base = cell.get(plan.model(method).generic)
    if base is None or method not in cell or cell[method][figure] is None or base[figure] is None:
        return None
    return cell[method][figure] - base[figure]


def networks(cell, cluster=None):
    """Names of the networks in a cell, generic before content-aware, small before large; of one cluster if named."""
    found = [name for name, row in cell.items() if row["tier"] and cluster in (None, row["cluster"])]
    return sorted(found, key=lambda name: (TIERS.index(cell[name]["tier"]), cell[name]["cluster"] != "generic", name))


def largest(cell, cluster):
    """The dearest network of a cluster in a cell, or None."""
    found = networks(cell, cluster)
    return max(found, key=lambda name: TIERS.index(cell[name]["tier"])) if found else None


def curve(results, clip, method, protocol="coded", figure="psnr_db"):
    """[(kbit/s as measured, figure)] of a method, `plain` being the better scaler; [] if a rate is missing."""
    points = []
    for kbps in RATES_KBPS:
        cell = results.cell(clip, protocol, 2, kbps)
        row = plain(cell) if method == "plain" else cell.get(method)
        if row is None or row[figure] is None:
            return []
        points.append((row["kbps_measured"], row[figure]))
    return points


def curves(results, clip, figure="psnr_db"):
    """{method: curve} of every method that was measured at all rates: plain, networks, native."""
    names = ["plain", *networks(results.cell(clip)), measure.NATIVE]
    found = {name: curve(results, clip, name, figure=figure) for name in names}
    return {name: points for name, points in found.items() if points}


def savings(results, clip, figure="psnr_db"):
    """[(anchor, method, delta rate %, best point or None)] of content-aware networks against the others."""
    known, found = curves(results, clip, figure), []
    for method in known:
        if method in ("plain", measure.NATIVE) or method.startswith("generic-"):
            continue
        for anchor in ("plain", plan.model(method).generic, measure.NATIVE):
            if anchor in known:
                percent = bjontegaard.delta_rate(known[anchor], known[method])
                found.append((anchor, method, percent, bjontegaard.best_point(known[anchor], known[method])))
    return found


def data_use(results, clip):
    """Rates at which methods reach one quality, and their models' bytes: (quality, {method: (kbit/s, bytes)}), or None.

    The quality is the one that plain gives at its middle rate, or the nearest that all methods reach.
    """
    known = curves(results, clip)
    if "plain" not in known or not any(name not in ("plain", measure.NATIVE) for name in known):
        return None
    reached = [name for name in known if name != measure.NATIVE]
    low = max(min(q for _, q in known[name]) for name in reached)
    high = min(max(q for _, q in known[name]) for name in reached)
    if high <= low:
        return None
    quality = min(max(known["plain"][len(RATES_KBPS) // 2][1], low), high)
    used = {}
    for name, points in known.items():
        if min(q for _, q in points) <= quality <= max(q for _, q in points):
            size = 0 if name in ("plain", measure.NATIVE) else results.bytes_of(name)
            used[name] = (bjontegaard.rate_at(points, quality), size or 0)
    return quality, used


def megabytes(use, minutes):
    """Data a viewer's edge fetched after so many minutes, model included, in MB of 10^6 bytes."""
    rate_kbps, size = use
    return (rate_kbps * BYTES_PER_KBIT * 60.0 * minutes + size) / 1e6


def break_even_s(use, anchor):
    """Seconds after which a method with its model has used less than `anchor`; None if never."""
    spared = (anchor[0] - use[0]) * BYTES_PER_KBIT
    return use[1] / spared if spared > 0 else None


def cost_ms(results, tier, scale=2, machine=None):
    """(milliseconds a frame, machine) of a tier, the quickest on a CPU unless a machine is named; None if not timed."""
    found = [
        row for row in results.costs
        if (row["tier"], row["scale"]) == (tier, scale)
        and (row["machine"] == machine if machine else "GPU" not in row["machine"])
    ]  # fmt: skip
    best = min(found, key=lambda row: row["ms_per_frame"], default=None)
    return (best["ms_per_frame"], best["machine"]) if best else None


def tier_table(results, protocol):
    """[(tier, parameters, {"generic"|"content": dB over plain}, dB over generic)] on the frames that all tiers saw."""
    cell = {}
    for every in sorted({run.every for run in results.whole.runs if run.every > 1}):
        cell = cell or results.cell(GAME, protocol, every=every)
    suffix, cluster = ("-clean" if protocol == "clean" else ""), results.whole.clips[GAME].cluster
    found = []
    for tier in TIERS:
        names = {"generic": f"generic-x2-{tier}{suffix}", "content": f"{cluster}-x2-{tier}{suffix}"}
        gains = {kind: over_plain(cell, name) for kind, name in names.items() if name in cell}
        if gains:
            known = next(results.models.get(model=name) for name in names.values() if name in cell)
            found.append((tier, known["parameters"], gains, over_generic(cell, names["content"])))
    return found


def targets(results):
    """[(what, target, measured or None, method, met or None)]: what the networks were to reach, and what they do."""
    found = []

    def add(what, target, value, method="", below=False):
        met = None if value is None else (value <= target if below else value >= target)
        found.append((what, target, value, method, met))

    cluster = results.whole.clips[GAME].cluster
    for protocol, small, large in (("coded", (2.2, 1.5), (3.0, None)), ("clean", (6.5, 3.0), (8.5, 5.0))):
        suffix = "-clean" if protocol == "clean" else ""
        own, cell = f"{cluster}-x2-s{suffix}", results.cell(GAME, protocol)
        named = f"game, {protocol}" + (f" {GAME_KBPS} kbit/s" if protocol == "coded" else "") + ", dB over "
        add(f"{named}plain", small[0], over_plain(cell, own), own)
        add(f"{named}generic of its size", small[1], over_generic(cell, own) if own in cell else None, own)
        every = max(run.every for run in results.whole.runs)
        wide = results.cell(GAME, protocol, every=every)
        # The small tier alone says nothing about a largest one.
        top = largest(wide, cluster) if len(networks(wide, cluster)) > 1 else None
        # On every frame where every frame was measured.
        cells = (cell, wide) if top else ()
        gains = [gain for gain in (over_plain(one, top) for one in cells if top in one) if gain is not None]
        add(f"{named}plain, largest tier", large[0], next(iter(gains), None), top or "")
        if large[1] is not None:
            gains = [gain for gain in (over_generic(one, top) for one in cells) if gain is not None]
            add(f"{named}generic, largest tier", large[1], next(iter(gains), None), top or "")
    for clip, least in (("openttd_b", 0.5), ("bbb", 0.2)):
        own, cell = f"{results.whole.clips[clip].cluster}-x2-s", results.cell(clip)
        value = over_generic(cell, own) if own in cell else None
        add(f"{clip}, coded {GAME_KBPS} kbit/s, dB over generic of its size", least, value, own)
    saved = [
        (percent, best, method)
        for anchor, method, percent, best in savings(results, GAME)
        if anchor == "plain" and best
    ]
    mean = min(saved, key=lambda one: one[0], default=(None, None, ""))
    add("game, Bjontegaard rate against plain, per cent", -45.0, mean[0], mean[2], below=True)
    best = min(saved, key=lambda one: one[1][0], default=(None, (None,), ""))
    add("game, rate at equal PSNR at the best point, per cent", -57.0, best[1][0], best[2], below=True)
    return found
