"""Fills the CSV file: clips times rates times methods, each made picture compared with the true one between."""

import hashlib
import itertools
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import decode, media, metrics
from ...evidence import rows, vmaf
from .. import cadence, material, methods, publish, triplets

DEFAULT = Path(__file__).with_name("plan.toml")
QUALITY = {
    "file": "quality.csv",
    "key": ("clip", "fps", "kbps", "method"),
    "rest": (
        "frames",
        "kbps_measured",
        "psnr_db",
        "ssim",
        "vmaf",
        "vmaf_neg",
        "ms_per_frame",
        "graph_sha256",
        "clip_sha256",
        "coded_sha256",
    ),
}
HEIGHT = 360
BASELINES = ("repeat", "blend", *methods.MCI)
# What the edge makes of film with a network, which shows one of the neighbours where film's cadence tells which.
IN_THE_EDGE = " in the edge"


@dataclass(frozen=True)
class Case:
    """One clip at one rate: coded Frames, true Frames between, and what they are."""

    clip: dict
    fps: float
    kbps: int
    coded: media.Frames
    middle: media.Frames
    kbps_measured: float

    def key(self, method):
        return {"clip": self.clip["name"], "fps": round(self.fps, 3), "kbps": self.kbps, "method": method}


def plan(path=DEFAULT):
    """(clips by name, runs) of the manifest."""
    told = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    return {clip["name"]: clip for clip in told["clip"]}, told["run"]


def case(clip, path, step, kbps):
    """The Case of a clip's file, at 360 lines; coded with a key frame every two seconds."""
    stream = decode.probe(path)
    frames = media.read_video(path, *material.size_for(stream.width, stream.height, HEIGHT))
    frames, fps = media.Frames(frames.raw[clip.get("from", 0) :], frames.width, frames.height), stream.fps
    if clip.get("film"):
        count = len(frames)
        frames = material.differing(frames)
        # Counting the pictures of some seconds comes near enough to say which of film's rates it is.
        fps = min((24000 / 1001, 24.0, 25.0), key=lambda rate: abs(rate - fps * len(frames) / count))
    low_fps = fps / (2 * step)
    encode = media.Encode(kbps=kbps, fps=low_fps, keyint=round(material.KEYINT_S * low_fps)) if kbps else None
    coded, middle, measured = triplets.decimated(frames, step, encode)
    return Case(clip, low_fps, kbps, coded, middle, measured)


def models_for(clip, tiers, zoo):
    """{name: ONNX bytes} of the generic networks and those of the clip's cluster that the zoo has."""
    found = {}
    for tier in tiers:
        for cluster in dict.fromkeys(("generic", clip["cluster"])):
            entry = publish.entry_of(zoo, cluster, tier) if cluster else None
            if entry:
                found[entry["id"]] = (Path(zoo) / entry["file"]).read_bytes()
    return found


def _judged(made, truth):
    """PSNR, SSIM and, where FFmpeg with libvmaf is here, VMAF of pictures in order."""
    errors = [metrics.mse(a, b) for a, b in zip(made, truth, strict=True)]
    figures = {"psnr_db": metrics.psnr(float(np.mean(errors)))}
    figures["ssim"] = float(np.mean([metrics.ssim(a, b) for a, b in zip(made, truth, strict=True)]))
    try:
        vmaf.executable()
    except vmaf.VmafError:
        return figures
    height, width = truth[0].shape
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "truth.yuv"
        media.frames_from_luma(np.ascontiguousarray(np.stack(truth))).raw.tofile(reference)
        with vmaf.Judge(reference, width, height) as judge:
            for plane in made:
                judge.add(plane)
            told = judge.verdict()
    return figures | {"vmaf": told["vmaf"], "vmaf_neg": told["vmaf_neg"]}


def _in_the_edge_too(one, name, made):
    """What a method made, and what the edge would show of it."""
    yield name, made
    if name not in BASELINES:
        yield name + IN_THE_EDGE, cadence.film(one.coded, made)


def _sha(array):
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def measure_case(one, clip_sha256, models, table, say):
    """Measures what of a Case is not in the table yet, or was measured on other bytes."""
    coded_sha256 = _sha(one.coded.raw)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in models.items()}
    if cadence.is_film(one.coded):
        digests |= {name + IN_THE_EDGE: digest for name, digest in digests.items()}
    digests = dict.fromkeys(BASELINES, "") | digests
    wanted = []
    for name, digest in digests.items():
        known = table.get(**one.key(name))
        told = known and (known["graph_sha256"], known["clip_sha256"], known["coded_sha256"])
        if told != (digest, clip_sha256, coded_sha256):
            wanted.append(name)
    if not wanted:
        return
    count = len(one.middle)
    # FFmpeg leaves out the pictures at the ends, and so does everybody.
    ends = methods.minterpolate(one.coded, count, methods.MCI["minterpolate"])
    # Nothing is to be made across a cut, and a single one would outweigh a hundred other pictures.
    luma = one.coded.luma
    places = [index for index in sorted(ends.luma) if not material.is_cut(luma[index], luma[index + 1])]
    truth = [one.middle.luma[index] for index in places]
    chosen = {name: data for name, data in models.items() if {name, name + IN_THE_EDGE} & set(wanted)}
    made_by = methods.every(one.coded, count, chosen, [name for name in BASELINES if name in wanted])
    for name, made in itertools.chain.from_iterable(_in_the_edge_too(one, *pair) for pair in made_by):
        if name not in wanted:
            continue
        figures = _judged([made.luma[index] for index in places], truth)
        row = one.key(name) | figures | {"frames": len(places), "kbps_measured": one.kbps_measured}
        row |= {"ms_per_frame": made.seconds * 1000.0 or None, "graph_sha256": digests[name]}
        table.put(row | {"clip_sha256": clip_sha256, "coded_sha256": coded_sha256})
        say(f"{one.clip['name']} {one.fps:.2f} fps {one.kbps} kbit/s: {name} {figures['psnr_db']:.2f} dB")


def fill(plan_path, out, shared, zoo, only="", say=print):
    """Measures all that the plan wants; gives the table."""
    clips, runs = plan(plan_path)
    table = rows.Table(QUALITY, out)
    for run in runs:
        for name in run["clips"]:
            path = Path(shared) / clips[name]["path"]
            if only not in name or not path.exists():
                continue
            clip_sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            models = models_for(clips[name], run["tiers"], zoo)
            for step in run["steps"]:
                for kbps in run["kbps"]:
                    measure_case(case(clips[name], path, step, kbps), clip_sha256, models, table, say)
    return table
