"""Runs the plan: every (clip, protocol, rate, method) that is not measured yet on these very files."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from .. import catalogue, contract, export
from ..results import PLAIN
from . import clips, plan, rows, score, vmaf

NATIVE = "native"


@dataclass
class Tools:
    """Where things are: the clips' Store, folders with models (searched in order), the zoo, threads, what prints."""

    store: clips.Store
    models: tuple
    zoo: Path
    threads: int = 1
    frames: int = 0
    say: object = print


def graph_digest(data):
    """SHA-256 of what makes a model's pictures, its graph with weights, its overlay: other metadata may change."""
    import onnx

    model = onnx.load_from_string(data)
    model.graph.name = ""
    digest = hashlib.sha256(model.graph.SerializeToString(deterministic=True))
    for entry in model.metadata_props:
        if entry.key == contract.OVERLAY_KEY:
            digest.update(entry.value.encode())
    return digest.hexdigest()


def find_model(name, tools):
    """(bytes, digest of its graph) of a model, or None; one trained on clean pictures never comes from the zoo."""
    places = [Path(folder) / f"{name}.onnx" for folder in tools.models]
    if not name.endswith("-clean"):
        places.append(Path(tools.zoo) / f"{name}.onnx")
    for path in places:
        if path.exists():
            data = path.read_bytes()
            return data, graph_digest(data)
    return None


def model_row(name, data, graph_sha256):
    """A row of models.csv, from what the file says about itself."""
    import onnx

    told = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
    named = plan.model(name)
    return {
        "model": name,
        "cluster": named.cluster,
        "scale": named.scale,
        "tier": named.tier,
        "trained_for": named.trained_for,
        "parameters": int(told["parameters"]),
        "bytes": len(data),
        "steps": int(told["steps"]) if told.get("steps") else None,
        "elapsed_s": float(told["elapsed_s"]) if told.get("elapsed_s") else None,
        "sha256": hashlib.sha256(data).hexdigest(),
        "graph_sha256": graph_sha256,
    }


def cells(whole, tools):
    """[(run, clip, kbps, methods)] in the plan's order, `methods` = {name: digest of its graph, "" for none}.

    What has no file yet is left out; `missing` tells it.
    """
    known, found = {}, []
    for run in whole.runs:
        for name in run.models:
            if name not in known:
                known[name] = find_model(name, tools)
        methods = dict.fromkeys(PLAIN, "") | ({NATIVE: ""} if run.native else {})
        methods |= {name: known[name][1] for name in run.models if known[name]}
        for clip_name in run.clips:
            clip = whole.clips[clip_name]
            if tools.store.path(clip):
                found += [(run, clip, kbps, methods) for kbps in run.kbps]
    return found


def missing(whole, table):
    """[(key fields, category)] of everything the plan wants and the table does not have, whatever the digests."""
    wanted = []
    for run in whole.runs:
        for name in run.clips:
            for kbps in run.kbps:
                for method in (*PLAIN, *((NATIVE,) if run.native else ()), *run.models):
                    key = {"clip": name, "protocol": run.protocol, "scale": run.scale, "kbps": kbps, "every": run.every}
                    if table.get(**key, method=method) is None and (key | {"method": method}) not in wanted:
                        wanted.append(key | {"method": method})
    return wanted


def _key(run, clip, kbps, method):
    return {
        "clip": clip.name,
        "protocol": run.protocol,
        "scale": run.scale,
        "kbps": kbps,
        "every": run.every,
        "method": method,
    }


def _done(table, key, graph_sha, clip_sha):
    row = table.get(**key)
    return row is not None and row["graph_sha256"] == graph_sha and row["clip_sha256"] == clip_sha


def run_cell(run, clip, kbps, methods, table, tools):
    """Measures what is missing of one cell; gives how many rows were written."""
    clip_sha = tools.store.sha256(clip)
    todo = [name for name, sha in methods.items() if not _done(table, _key(run, clip, kbps, name), sha, clip_sha)]
    if not todo:
        return 0
    high = tools.store.high(clip, run.scale, tools.frames)
    low = tools.store.low(clip, high, run.protocol, run.scale, kbps)
    # Rows of another encoder's pictures are not comparable with new ones.
    for name in methods:
        row = table.get(**_key(run, clip, kbps, name))
        if name not in todo and name != NATIVE and row["low_sha256"] != low.sha256:
            tools.say(f"{clip.name} {run.protocol} {kbps}: {name} was measured on other coded pictures, again")
            todo.append(name)
    for name in todo:
        started = time.monotonic()
        figures, facts = _measured(run, clip, kbps, name, methods[name], high, low, tools)
        row = table.put({**_key(run, clip, kbps, name), **facts, **figures, "clip_sha256": clip_sha})
        tools.say(
            f"{clip.name} {run.protocol} x{run.scale} {kbps}: {name} {row['psnr_db']:.3f} dB, SSIM {row['ssim']:.4f}, "
            f"VMAF {row['vmaf'] or 0:.2f}, NEG {row['vmaf_neg'] or 0:.2f}; "
            f"{row['frames']} frames in {time.monotonic() - started:.0f} s"
        )
    return len(todo)


def _measured(run, clip, kbps, name, sha, high, low, tools):
    """(figures, facts) of one method in one cell."""
    luma, every = high.frames.luma, run.every
    facts = {
        "category": "plain",
        "fps": high.fps,
        "kbps_measured": low.kbps,
        "graph_sha256": sha,
        "low_sha256": low.sha256,
    }
    if name in PLAIN:
        pictures = score.plain(low.frames, high.frames.width, high.frames.height, name, every)
    elif name == NATIVE:
        own = clips.native(high, kbps)
        facts |= {"category": NATIVE, "kbps_measured": own.kbps, "low_sha256": own.sha256}
        pictures = iter(own.frames.luma[::every])
    else:
        data, _ = find_model(name, tools)
        named = plan.model(name)
        facts |= {
            "category": clip.category(named.cluster),
            "cluster": named.cluster,
            "tier": named.tier,
            "trained_for": named.trained_for,
        }
        session = export.session(data, tools.threads)
        pictures = (export.upscale(session, plane) for plane in low.frames.luma[::every])
    if every > 1:
        return score.judged(pictures, luma[::every]), facts
    with vmaf.Judge(high.path, high.frames.width, high.frames.height, tools.threads) as judge:
        return score.judged(pictures, luma, judge), facts


def run_plan(whole, folder, tools, only=None, seconds=0.0):
    """Measures the plan into `folder`; stops at the first cell after `seconds`. Gives (rows written, finished)."""
    table, models = rows.Table(rows.QUALITY, folder), rows.Table(rows.MODELS, folder)
    started, written = time.monotonic(), 0
    for run, clip, kbps, methods in cells(whole, tools):
        if only and only not in (clip.name, run.protocol):
            continue
        if seconds and time.monotonic() - started > seconds:
            return written, False
        for name, sha in methods.items():
            if sha:
                row = model_row(name, find_model(name, tools)[0], sha)
                if (models.get(model=name) or {}).get("sha256") != row["sha256"]:
                    models.put(row)
        written += run_cell(run, clip, kbps, methods, table, tools)
    return written, True


def read_costs(folder, zoo):
    """Takes the milliseconds a frame over from the zoo's catalogue, at the low size they were timed with."""
    table = rows.Table(rows.COST, folder)
    for entry in catalogue.read(Path(zoo) / "catalogue.toml"):
        if catalogue.task_of(entry) != catalogue.UPSCALE:
            continue
        measured = entry["measured"]
        key = {"tier": entry["tier"], "scale": entry["scale"], "machine": measured["machine"]}
        known = table.get(**key)
        # Models of one tier and scale are one graph; the quickest measurement is the least disturbed one.
        if known is None or measured["ms_per_frame"] < known["ms_per_frame"]:
            table.put(
                {
                    **key,
                    "ms_per_frame": measured["ms_per_frame"],
                    "parameters": entry["parameters"],
                    "from": entry["id"],
                }
            )
    return table


def time_models(names, folder, tools, runs=60):
    """Times models on this machine at 640x360 (x2; other scales in proportion to 720p) and keeps it in cost.csv."""
    from .. import evaluate

    table, machine = rows.Table(rows.COST, folder), evaluate.machine(tools.threads)
    for name in names:
        found, named = find_model(name, tools), plan.model(name)
        if found is None:
            continue
        width, height = 1280 // named.scale & ~1, 720 // named.scale
        took = evaluate.milliseconds_per_frame(found[0], tools.threads, runs, width, height)
        parameters = model_row(name, *found)["parameters"]
        table.put(
            {
                "tier": named.tier,
                "scale": named.scale,
                "machine": machine,
                "ms_per_frame": took,
                "parameters": parameters,
                "from": name,
            }
        )
        tools.say(f"{name}: {took:.1f} ms a frame, {machine}")
