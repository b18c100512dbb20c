"""`evaluate`, `quantise`, `cost`, `testlist`: measuring what ships, and guarding what it is measured on."""

import sys
from pathlib import Path

from . import DONE, FAILED, NOT_PUBLISHED, SHARED, ZOO
from .learn import add_sources, sources

EVALUATE = """\
Three ways:
  evaluate --heldout ID                   measures a published model on its held-out video again and compares with the
                                          catalogue: within 0.02 dB, or exit code 1. The video is what `learn` kept in
                                          SCRATCH, decoded again; with --ladder or --pair it is fetched again as well
  evaluate MODEL.onnx --pair LOW HIGH     measures files on renditions that you have; writes nothing
  evaluate [MODEL.onnx...]                measures generic models on the test set; writes catalogue and records
"""

QUANTISE = """\
Scales of the integers are chosen on low pictures of the corpus. A model of a cluster is measured on its held-out pairs,
a generic one on the test set, both against the file that is published. Exit code 3 means that it lost too much: then$
the catalogue names no 8-bit file.
"""


def add(commands):
    sub = commands.add("evaluate", _evaluate, "measure exported models against bicubic and Lanczos", EVALUATE)
    sub.add_argument("models", nargs="*", type=Path, help="ONNX files; for the test set all of SCRATCH/onnx if none")
    sub.add_argument("--heldout", metavar="ID", help="a published model's id")
    add_sources(sub, required=False)
    sub.add_argument("--pairs", type=Path, metavar="FOLDER", help="or a corpus' folder of held-out pairs")
    sub.add_argument("--zoo", type=Path, default=ZOO, help="the catalogue's directory")
    sub.add_argument("--threads", type=int, default=1, help="ONNX Runtime's threads while measuring quality")
    group = sub.add_argument_group("the test set")
    group.add_argument("--shared", type=Path, default=SHARED, help="the shared test media")
    group.add_argument("--clips", nargs="+", help="only these clips: not comparable with the full set")
    group.add_argument("--stride", type=int, default=1, help="count every STRIDE-th frame only")
    group.add_argument("--frames", type=int, default=1200, help="frames of a clip at most")
    group.add_argument("--reencode", action="store_true", help="also measure after libx264 superfast at 2800 kbit/s")
    group.add_argument("--dry-run", action="store_true", help="print, write nothing")

    text = "make the 8-bit file of a published model, and publish it if that loses at most 0.05 dB in each clip"
    sub = commands.add("quantise", _quantise, text, QUANTISE)
    sub.add_argument("model", metavar="ID", help="a published model's id")
    sub.add_argument("--corpus", type=Path, help="the corpus it was trained on; what `learn` kept in SCRATCH if none")
    sub.add_argument("--heldout", type=Path, metavar="FOLDER", help="pairs it was not trained on; likewise")
    sub.add_argument("--shared", type=Path, default=SHARED, help="the shared test media, for generic models")
    sub.add_argument("--stride", type=int, default=1, help="of the test set, count every STRIDE-th frame only")
    sub.add_argument("--frames", type=int, default=1200, help="of the test set, frames of a clip at most")
    sub.add_argument("--threads", type=int, default=1, help="ONNX Runtime's threads while measuring quality")
    sub.add_argument("--zoo", type=Path, default=ZOO, help="the catalogue's directory")
    sub.add_argument("--dry-run", action="store_true", help="print, write nothing")

    sub = commands.add("cost", _cost, "time the zoo's models again and correct the catalogue, on an idle machine")
    sub.add_argument("--runs", type=int, default=200, help="frames; the quickest counts")
    sub.add_argument("--threads", type=int, default=2, help="ONNX Runtime's threads")
    sub.add_argument("--zoo", type=Path, default=ZOO, help="the catalogue's directory")
    sub.add_argument("--dry-run", action="store_true", help="print, write nothing")

    sub = commands.add("testlist", _testlist, "write the list of test material anew, after the test set has changed")
    sub.add_argument("--shared", type=Path, default=SHARED, help="the shared test media")


def _evaluate(options):
    from .. import remeasure

    chosen = sources(options)
    if options.heldout:
        good = remeasure.heldout_again(
            options.heldout, chosen, options.pairs, options.zoo, options.scratch, options.video * 60, options.threads
        )
        return DONE if good else FAILED
    if chosen or options.pairs:
        if not options.models:
            sys.exit("evaluate --ladder, --pair and --pairs need the ONNX files to measure")
        remeasure.models_on(options.models, chosen, options.pairs, options.scratch, options.video * 60, options.threads)
        return DONE
    return _test_set(options)


def _test_set(options):
    paths = options.models or sorted((options.scratch / "onnx").glob("*.onnx"))
    if not paths:
        sys.exit(f"no models in {options.scratch / 'onnx'}: export first, or name ONNX files")
    from .. import evaluate, int8

    beside = [path.with_name(f"{int8.name_of(path.stem)}{path.suffix}") for path in paths]
    paths = [*paths, *(path for path in beside if path not in paths and path.exists())]
    evaluate.test_set(
        {path.stem: path.read_bytes() for path in paths},
        options.shared,
        options.scratch / "testset",
        None if options.dry_run else options.zoo,
        clips=options.clips,
        stride=options.stride,
        frames=options.frames,
        reencode=options.reencode,
        threads=options.threads,
    )
    return DONE


def _quantise(options):
    from .. import requantise

    good = requantise.again(
        options.model,
        options.zoo,
        options.scratch,
        options.shared,
        options.corpus,
        options.heldout,
        options.frames,
        options.stride,
        options.threads,
        options.dry_run,
    )
    return DONE if good else NOT_PUBLISHED


def _cost(options):
    from .. import catalogue, evaluate
    from ..interpolate import publish as interpolation

    entries = catalogue.read(options.zoo / "catalogue.toml")
    for entry in entries:
        data = (options.zoo / entry["file"]).read_bytes()
        timed = evaluate if catalogue.task_of(entry) == catalogue.UPSCALE else interpolation
        milliseconds = timed.milliseconds_per_frame(data, options.threads, options.runs)
        entry["measured"].update({"ms_per_frame": round(milliseconds, 1), "machine": evaluate.machine(options.threads)})
        print(f"{entry['id']}: {milliseconds:.1f} ms a frame of 640x360, {evaluate.machine(options.threads)}")
        if "int8" in entry:
            data = (options.zoo / entry["int8"]["file"]).read_bytes()
            milliseconds = evaluate.milliseconds_per_frame(data, options.threads, options.runs)
            entry["int8"]["ms_per_frame"] = round(milliseconds, 1)
            print(f"{entry['id']} in 8-bit integers: {milliseconds:.1f} ms")
    if not options.dry_run:
        catalogue.write(options.zoo / "catalogue.toml", entries)


def _testlist(options):
    from .. import testlist

    testlist.make(options.shared)
