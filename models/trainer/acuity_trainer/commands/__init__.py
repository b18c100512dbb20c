"""The command line: one module for each purpose, each adding its commands to the parser.

A module has `add(commands)`, where `commands` is a Commands; what a command does is a
function of the parsed options that gives an exit code, or None for 0. Heavy imports
belong into those functions: `--help` must answer at once, and where PyTorch or ONNX is
missing only what needs it may fail.
"""

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
ZOO = ROOT / "models" / "zoo"
SCRATCH = ROOT / ".acuity" / "train"
SHARED = ROOT.parent / "shared" / "data"

# Exit codes, the same for every command (argparse itself ends with 2).
DONE, FAILED, NOT_PUBLISHED, REFUSED, KILLED = 0, 1, 3, 4, 130

TEXT = """\
Trains Acuity's networks: small ones, each for one kind of video.

  learn     from a stream whose origin still has a high rendition to a published model, in one go
  evaluate  measures again, from the exported file, what the catalogue says
  quantise  makes the 8-bit file of a model that is published

The generic networks, which every other begins with and is compared with:

  fetch, corpus, generic, export, evaluate, cost

Each command's --help says what it needs and leaves behind. A command that was killed goes on where it was when it
is called again. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing was worth publishing, 4 material refused.
"""


class Commands:
    """The subcommands of a parser."""

    def __init__(self, parser):
        self._sub = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(self, name, action, text, more=""):
        """A subcommand with the options that all share; gives its parser. `more` comes after the options."""
        sub = self._sub.add_parser(name, help=text, description=text + ".", epilog=more, formatter_class=_Help)
        sub.add_argument("--scratch", type=Path, default=SCRATCH, help="where all that is made or fetched is kept")
        sub.set_defaults(action=action)
        return sub


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except those that say nothing."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False, [], "", 0) else super()._get_help_string(action)


def tiers(text):
    """An argparse type: comma-separated tiers of the contract."""
    from .. import contract

    chosen = tuple(text.split(","))
    if unknown := [tier for tier in chosen if tier not in contract.TIERS]:
        raise argparse.ArgumentTypeError(f"no tier {', '.join(unknown)}; there are {', '.join(contract.TIERS)}")
    return chosen


def parser():
    """The whole command line."""
    from . import generic, learn, measure

    top = argparse.ArgumentParser(prog="acuity_trainer", description=TEXT, formatter_class=_Help)
    commands = Commands(top)
    for module in (learn, measure, generic):
        module.add(commands)
    return top
