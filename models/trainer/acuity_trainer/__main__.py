"""`python3 -m acuity_trainer`: see `commands` for what there is, and --help of each."""

import argparse
import sys

from . import commands

REFUSALS = {"RefusedError", "TestMaterialError"}
MENDABLE = {
    "FetchError",
    "Interrupted",
    "LadderError",
    "MaterialError",
    "MediaError",
    "NotQuantisedError",
    "NotReproducibleError",
    "PlaylistError",
    "PublishError",
    "SourceError",
}


def _told(error):
    """The exit code of an error that a person can mend, None for any other; by name, so that nothing is imported."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & REFUSALS:
        return commands.REFUSED
    return commands.FAILED if names & MENDABLE else None


def main(arguments=None):
    """Runs one command; gives its exit code. Errors a person can mend come as one line."""
    parser = commands.parser()
    options = parser.parse_args(arguments)
    try:
        return options.action(options) or commands.DONE
    except argparse.ArgumentError as wrong:
        parser.error(str(wrong))
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return commands.KILLED
    except ImportError as missing:
        print(f"acuity_trainer: {missing}; see README.md, what must be installed", file=sys.stderr)
        return commands.FAILED
    except OSError as error:
        # a full disk, a folder that may not be written to
        print(f"acuity_trainer: {error}", file=sys.stderr)
        return commands.FAILED
    except Exception as error:
        code = _told(error)
        if code is None:
            raise
        print(f"acuity_trainer: {'refused: ' if code == commands.REFUSED else ''}{error}", file=sys.stderr)
        return code


if __name__ == "__main__":
    sys.exit(main())
