"""`python3 -m acuity_trainer.evidence`: measures, draws and writes docs/content-aware.md."""

import argparse
import sys
from pathlib import Path

from . import plan

ROOT = Path(__file__).resolve().parents[4]
DOCS = ROOT / "docs"
EPILOG = """\
  python3 -m acuity_trainer.evidence all --models DIR --recordings DIR  what is not measured yet, then the document
  python3 -m acuity_trainer.evidence missing                              what the plan still wants
  python3 -m acuity_trainer.evidence apart --corpus DIR                   no test picture in any training material

Needs requirements.lock and requirements-evidence.lock. `measure` may be stopped at any time and goes on where it was; a
row is measured again only when its model's or clip's bytes are others. Networks trained on clean pictures do not ship:
`--models` names the folders they are in.
"""


def _tools(options):
    from . import clips, measure

    return measure.Tools(
        clips.Store(options.work, options.shared, options.recordings),
        tuple(options.models or ()), options.zoo, options.threads, options.frames,
        lambda text: print(text, flush=True),
    )  # fmt: skip


def _measure(options):
    from . import measure

    tools = _tools(options)
    written, finished = measure.run_plan(
        plan.load(options.plan), options.out, tools, options.only, options.minutes * 60.0
    )
    measure.read_costs(options.out, options.zoo)
    print(f"{written} rows measured" + ("" if finished else "; time is up, call again"))


def _time(options):
    from . import measure

    names = dict.fromkeys(name for run in plan.load(options.plan).runs for name in run.models)
    wanted = [name for name in names if not options.only or options.only in name]
    measure.time_models(wanted, options.out, _tools(options), options.runs)


def _crops(options):
    from . import crops

    crops.draw_all(plan.load(options.plan), options.out, _tools(options))


def _render(options):
    from . import document, plots

    whole = plan.load(options.plan)
    results = document.Results(options.out, whole)
    plots.draw_all(results, options.out)
    document.write(results, options.document, options.out)
    print(f"wrote {options.document.name} from {len(results.quality)} rows")


def _missing(options):
    from . import measure, rows

    wanted = measure.missing(plan.load(options.plan), rows.Table(rows.QUALITY, options.out))
    for key in wanted:
        every = f" every {key['every']}th" if key["every"] > 1 else ""
        print(f"{key['clip']} {key['protocol']} x{key['scale']} {key['kbps'] or ''}{every}: {key['method']}")
    print(f"{len(wanted)} cells are empty")


def _apart(options):
    from . import apart

    faults = apart.check(
        plan.load(options.plan), options.zoo, options.corpus or (), options.models or (), options.shared
    )
    for fault in faults:
        print(fault)
    if faults:
        sys.exit(1)
    print("no test picture in any training material that was named")


def _all(options):
    for step in (_measure, _crops, _render):
        step(options)


COMMANDS = {
    "all": (_all, "measure what is missing, then crops and document"),
    "measure": (_measure, "fill the CSV files with what the plan wants and is not there"),
    "time": (_time, "time the models on this machine, which should have nothing else to do"),
    "crops": (_crops, "draw the crops"),
    "render": (_render, "make plots and document from the CSV files alone"),
    "missing": (_missing, "list what the plan wants and the CSV files do not have"),
    "apart": (_apart, "check that no test picture is in the training material"),
}


def parser():
    """The command line."""
    top = argparse.ArgumentParser(
        prog="acuity_trainer.evidence",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (action, text) in COMMANDS.items():
        sub = commands.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        sub.set_defaults(action=action)
        sub.add_argument("--plan", type=Path, default=plan.DEFAULT, help="the manifest")
        sub.add_argument("--out", type=Path, default=DOCS / "content-aware", help="folder of the CSV files and plots")
        sub.add_argument("--document", type=Path, default=DOCS / "content-aware.md", help="the document")
        sub.add_argument("--zoo", type=Path, default=ROOT / "models" / "zoo", help="the models that ship")
        sub.add_argument("--models", type=Path, action="append", help="a folder of ONNX files, searched before the zoo")
        sub.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data", help="the shared media")
        sub.add_argument("--recordings", type=Path, help="folder of the training recordings, for seen video")
        sub.add_argument("--work", type=Path, default=ROOT / ".acuity" / "evidence", help="decoded and coded pictures")
        sub.add_argument("--threads", type=int, default=2, help="of ONNX Runtime and libvmaf")
        sub.add_argument("--frames", type=int, default=0, help="of each clip at most, for trying out; 0: all")
        sub.add_argument("--only", default="", help="only this clip or protocol (time: part of a model's name)")
        sub.add_argument(
            "--minutes", type=float, default=0.0, help="begin no new cell after so long; 0: go on to the end"
        )
        sub.add_argument("--runs", type=int, default=60, help="frames to time; the quickest counts")
        sub.add_argument("--corpus", type=Path, action="append", help="a training corpus' folder, for `apart`")
    return top


def main(arguments=None):
    """Runs one command; errors a person can mend come as one line."""
    options = parser().parse_args(arguments)
    try:
        options.action(options)
    except plan.PlanError as wrong:
        sys.exit(str(wrong))


if __name__ == "__main__":
    main()
