"""`python3 -m acuity_trainer.interpolate.evidence`: measures, draws and writes docs/interpolation.md."""

import argparse
import sys
from pathlib import Path

from ... import media
from . import measure

ROOT = Path(__file__).resolve().parents[5]
DOCS = ROOT / "docs"
EPILOG = """\
  python3 -m acuity_trainer.interpolate.evidence all       what is not measured yet, then pictures and document

Needs requirements.lock; with requirements-evidence.lock VMAF is measured too. `measure` may be stopped at any time and
goes on where it was; a row is measured again only when its model's, clip's or coded pictures' bytes are others.
"""


def _measure(options):
    table = measure.fill(options.plan, options.out, options.shared, options.zoo, options.only)
    print(f"{len(table)} rows")


def _strips(options):
    from . import strip

    clips, runs = measure.plan(options.plan)
    for name, clip in clips.items():
        path = options.shared / clip["path"]
        if "strips" not in clip or options.only not in name or not path.exists():
            continue
        tiers = next(run["tiers"] for run in runs if name in run["clips"])
        one, models = measure.case(clip, path, 1, 600), measure.models_for(clip, tiers, options.zoo)
        for number, place in enumerate(clip["strips"], 1):
            strip.draw(options.out / f"strip-{name}-{number}.png", one, place, models)


def _render(options):
    from . import document

    count = document.write(options.document, options.zoo, options.plan, options.out)
    print(f"wrote {options.document.name} from {count} rows")


def _all(options):
    for step in (_measure, _strips, _render):
        step(options)


COMMANDS = {
    "all": (_all, "measure what is missing, then pictures and document"),
    "measure": (_measure, "fill the CSV file with what the plan wants and is not there"),
    "strips": (_strips, "draw the filmstrips"),
    "render": (_render, "make the document from the CSV file alone"),
}


def parser():
    """The command line."""
    top = argparse.ArgumentParser(
        prog="acuity_trainer.interpolate.evidence",
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
        sub.add_argument("--plan", type=Path, default=measure.DEFAULT, help="the manifest")
        sub.add_argument("--out", type=Path, default=DOCS / "interpolation", help="folder of the CSV file and pictures")
        sub.add_argument("--document", type=Path, default=DOCS / "interpolation.md", help="the document")
        sub.add_argument("--zoo", type=Path, default=ROOT / "models" / "zoo", help="the models that ship")
        sub.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data", help="the shared media")
        sub.add_argument("--only", default="", help="part of a clip's name")
    return top


def main(arguments=None):
    """Runs one command; errors a person can mend come as one line."""
    options = parser().parse_args(arguments)
    try:
        options.action(options)
    except media.MediaError as wrong:
        sys.exit(str(wrong))


if __name__ == "__main__":
    main()
