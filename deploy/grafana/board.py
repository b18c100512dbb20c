#!/usr/bin/env python3
"""Writes Grafana's dashboard, acuity.json beside this file: `board.py` writes it, `board.py --check` says whether it is as
this file says. Kept as a program because a board's JSON is a thousand lines of which a hundred are meant.

Queries ask for job="$job" and instance=~"$instance"; recorded series (instance:...) are those of
deploy/prometheus/acuity.rules.yml, so Prometheus needs these rules for the board to be whole.
"""

import argparse
import json
import sys
from pathlib import Path

from panels import AT, SOURCE, placed, variable
from rows import ROWS

FILE = Path(__file__).resolve().parent / "acuity.json"


def board():
    return {
        "uid": "acuity",
        "title": "Acuity",
        "description": "Edges that enhance video in flight: what viewers get, what it gains, what it costs.",
        "tags": ["acuity"],
        "schemaVersion": 38,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-3h", "to": "now"},
        "refresh": "30s",
        "timezone": "",
        "annotations": {"list": [annotation()]},
        "links": [],
        "templating": {
            "list": [
                {
                    "type": "datasource",
                    "name": "datasource",
                    "label": "Data source",
                    "query": "prometheus",
                    "current": {},
                },
                variable("job", "Job", "label_values(acuity_build_info, job)", False),
                variable("instance", "Instance", 'label_values(acuity_build_info{job="$job"}, instance)', True),
            ]
        },
        "panels": placed(ROWS),
    }


def annotation():
    """A line where a process started."""
    return {
        "name": "Starts",
        "enable": True,
        "datasource": SOURCE,
        "expr": f"changes(process_start_time_seconds{{{AT}}}[2m]) > 0",
        "iconColor": "blue",
        "titleFormat": "{{instance}} started",
    }


def main():
    arguments = argparse.ArgumentParser(description="Writes acuity.json beside this file.")
    arguments.add_argument(
        "--check", action="store_true", help="write nothing; 1 if the file is not as it would be written"
    )
    check = arguments.parse_args().check
    text = json.dumps(board(), indent=1, ensure_ascii=False) + "\n"
    if not check:
        FILE.write_text(text)
        return 0
    if FILE.read_text() == text:
        return 0
    print(f"{FILE.name} is not what board.py writes: run it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
