"""`fetch`, `corpus`, `generic`, `export`: the networks for all content, from public packages to ONNX files."""

import json
from pathlib import Path

from . import SHARED, tiers
from .learn import add_int8


def add(commands):
    from .. import contract

    sub = commands.add("fetch", _fetch, "download and unpack the training material that sources.toml names")
    sub.add_argument("--shared", type=Path, default=SHARED, help="the shared test and training media")

    text = "make the x2 training corpus: stills, clips and drawn scenes through libx264"
    sub = commands.add("corpus", _corpus, text, "recipes/rescaled.py makes those of x3 and x4 out of it.")
    sub.set_defaults(scale=2)
    sub.add_argument("--shared", type=Path, default=SHARED, help="the shared test and training media")
    sub.add_argument("--corpus", type=Path, help="its folder; SCRATCH/corpus-x2 unless given")
    sub.add_argument("--scenes", type=int, default=240, help="synthetic moving scenes to draw")
    sub.add_argument("--workers", type=int, default=2, help="processes")
    sub.add_argument("--seed", type=int, default=1, help="of every random choice")

    sub = commands.add("generic", _generic, "train one tier of the generic network; goes on with an unfinished run")
    sub.add_argument("--tier", choices=list(contract.TIERS), required=True, help="its size, see contract.py")
    _scale(sub)
    sub.add_argument("--minutes", type=float, default=0.0, help="time budget; without it only steps count")
    sub.add_argument("--steps", type=int, default=100_000, help="steps of the whole schedule")
    sub.add_argument("--learning-rate", type=float, default=2e-3, help="highest rate; falls along a cosine")
    sub.add_argument("--begin-with", type=Path, help="a run's folder or an ONNX file to take the first weights from")
    sub.add_argument("--robust-share", type=float, default=0.25, help="part of the schedule with the robust loss")
    sub.add_argument("--corpus", type=Path, help="the corpus' folder; SCRATCH/corpus-xSCALE unless given")
    sub.add_argument("--run", type=Path, help="the run's folder; SCRATCH/runs/generic-xSCALE-TIER unless given")
    sub.add_argument("--threads", type=int, default=1, help="PyTorch's threads")
    sub.add_argument("--seed", type=int, default=1, help="of weights and batches")
    sub.add_argument("--quiet", action="store_true", help="no progress bar")

    sub = commands.add("export", _export, "write the generic runs' averaged weights as ONNX under the tensor contract")
    sub.add_argument("--tiers", type=tiers, default="s,m", help="which runs, as s,m", metavar="TIERS")
    _scale(sub)
    sub.add_argument("--corpus", type=Path, help="the corpus' folder; SCRATCH/corpus-xSCALE unless given")
    sub.add_argument("--run", type=Path, help="the run's folder, for one tier")
    add_int8(sub)


def _scale(sub):
    sub.add_argument("--scale", type=int, choices=[2, 3, 4], default=2, help="how many times larger the output is")


def _corpus_folder(options):
    return options.corpus or options.scratch / f"corpus-x{options.scale}"


def _run_folder(options, tier):
    return options.run or options.scratch / "runs" / f"generic-x{options.scale}-{tier}"


def _fetch(options):
    from .. import sources

    sources.fetch(options.scratch, options.shared)


def _corpus(options):
    from .. import corpus

    folder = _corpus_folder(options)
    if (folder / "index.json").exists():
        print(f"{folder} is there already")
        return
    corpus.build(folder, options.scratch, options.shared, options.seed, options.scenes, options.workers)


def _generic(options):
    from .. import train

    settings = train.Settings(
        tier=options.tier,
        scale=options.scale,
        seed=options.seed,
        steps=options.steps,
        budget_s=options.minutes * 60.0,
        threads=options.threads,
        learning_rate=options.learning_rate,
        robust_share=options.robust_share,
    )
    folder = _run_folder(options, options.tier)
    run = train.Run(folder, _corpus_folder(options), settings, begin_with=options.begin_with)
    run.run(quiet=options.quiet)
    print(
        f"{options.tier}: {run.step} steps in {run.elapsed_s:.0f} s, "
        f"{run.validate():+.3f} dB over bicubic on validation patches"
    )


def _export(options):
    from .. import curves, export, int8, networks, publish, quantise, train

    index = json.loads((_corpus_folder(options) / "index.json").read_text(encoding="utf-8"))
    out = options.scratch / "onnx"
    out.mkdir(parents=True, exist_ok=True)
    calibrated = quantise.calibration(_corpus_folder(options)) if options.int8 else None
    for tier in options.tiers:
        run = _run_folder(options, tier)
        network, facts = train.load_average(run, tier)
        layers = network.collapsed()
        name = publish.model_id("generic", options.scale, tier)
        metadata = {
            "id": name,
            "cluster": "generic",
            "scale": options.scale,
            "tier": tier,
            "contract": 1,
            "parameters": networks.parameters_of(layers),
            "macs_per_pixel": networks.macs_per_pixel(layers),
            "steps": facts["step"],
            "elapsed_s": facts["elapsed_s"],
            "settings": json.dumps(facts["settings"], sort_keys=True),
            "history": json.dumps(facts["history"], sort_keys=True),
            "sources": json.dumps(index["sources"], sort_keys=True),
            "curve": json.dumps(curves.points(run)),
            "training_data": "stills and synthetic scenes from "
            + ", ".join(index["sources"])
            + "; coded by libx264 (CRF 15 to 36 and 330 to 1100 kbit/s for 360p30), a tenth stills, most of them clean",
        }
        data = export.write(out / f"{name}.onnx", layers, metadata)
        print(f"{name}.onnx: {metadata['parameters']} parameters, {len(data)} bytes, after {facts['step']} steps")
        integers, path = int8.made(name, data, calibrated), out / f"{int8.name_of(name)}.onnx"
        path.unlink(missing_ok=True)
        if integers:
            path.write_bytes(integers)
            print(f"{path.name}: {len(integers)} bytes")
