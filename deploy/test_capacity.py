"""The capacity page says what its program says, and the program what was measured. How to run: test_deploy.py."""

import dataclasses
import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

from capacity import BUSY, MEASURED, TIERS, Region, cores_of, estimate, region_table, tiers_table

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/capacity.md"
PROGRAM = ROOT / "deploy/capacity.py"


def program(*options):
    done = subprocess.run([sys.executable, PROGRAM, *options], capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


def but(**changes):
    return estimate(dataclasses.replace(Region(), **changes))


class Figures(unittest.TestCase):
    def test_each_is_in_the_measurements(self):
        text = (ROOT / "docs/measurements.md").read_text()
        for name, figure in MEASURED.items():
            self.assertIn(figure.source, text, name)
            self.assertIn(f"{figure.value:g}", figure.source.replace("**", ""), name)

    def test_a_stream_costs_what_was_measured(self):
        # 4.2 times real time on two cores
        self.assertAlmostEqual(cores_of("s"), 0.476, places=3)
        self.assertAlmostEqual(BUSY, 0.79)
        for tier in TIERS:
            self.assertTrue(0.1 < cores_of(tier) < 2, tier)


class Sums(unittest.TestCase):
    def test_by_hand(self):
        # 100 channels by s, nothing else: 47.6 cores to make them, 2000 viewers at 3.5 Mbit/s are 7 Gbit/s
        sums = but(
            viewers=2000, weak_share=1, live_share=1, channels=100, live_tier="s", enhanced_mbit=3.5, segment_s=5
        )
        self.assertAlmostEqual(sums["making_cores"], 47.6, places=1)
        self.assertAlmostEqual(sums["egress_gbit"], 7)
        self.assertAlmostEqual(sums["serving_cores"], 400 * (225 + 126) / 1e6)
        self.assertEqual((sums["nodes_by_line"], sums["nodes_by_cores"]), (1, 4))
        self.assertEqual(sums["nodes"], 4 + Region().spare_nodes)
        self.assertAlmostEqual(sums["origin_gbit"], 100 * 0.6 / 1000)

    def test_more_is_never_less(self):
        base = estimate(Region())
        for change in ({"viewers": 2_000_000}, {"channels": 400}, {"title_hours": 40_000.0}, {"live_tier": "l"}):
            more = but(**change)
            for name in ("making_cores", "nodes", "streams_made"):
                self.assertGreaterEqual(more[name], base[name], (change, name))
        self.assertLess(but(front_hits=0.95)["nodes"], base["nodes"])
        self.assertLess(but(streams_per_card=50)["making_cores"], base["making_cores"])

    def test_nobody_makes_more_than_is_watched(self):
        few = but(viewers=10, weak_share=1)
        self.assertLessEqual(few["streams_made"], 10)
        alone = but(shared=False)
        self.assertLessEqual(alone["streams_made"], alone["enhanced_viewers"])
        self.assertGreater(alone["nodes"], 100 * estimate(Region())["nodes"])

    def test_nobody_watching_is_no_fault(self):
        sums = but(weak_share=0)
        self.assertEqual((sums["streams_made"], sums["making_cores"]), (0, 0))


class Page(unittest.TestCase):
    def test_its_tables_are_the_programs(self):
        page = PAGE.read_text()
        self.assertIn(tiers_table(), page)
        self.assertIn(region_table(Region()), page)

    def test_each_assumption_is_on_it(self):
        page = PAGE.read_text()
        rows = dict(re.findall(r"^\| `--([\w-]+)` \| ([^|]+) \|", page, re.MULTILINE))
        fields = {field.name.replace("_", "-"): field.default for field in dataclasses.fields(Region)}
        fields.pop("shared")
        self.assertEqual(set(rows), set(fields))
        for flag, default in fields.items():
            plain = default if isinstance(default, str) else f"{default:,g}" if default < 1e6 else f"{default:,}"
            self.assertEqual(rows[flag].strip().replace(",", ""), plain.replace(",", ""), flag)

    def test_other_sums_on_it_are_right(self):
        page = PAGE.read_text()
        for options, nodes in re.findall(
            r"^\| `deploy/capacity\.py (--[^`]+)` \|[^|]*\| ([\d,]+) \|", page, re.MULTILINE
        ):
            status, said, _ = program(*options.split())
            self.assertEqual(status, 0)
            self.assertIn(f"to spare | **{nodes}** |", said, options)


class Command(unittest.TestCase):
    def test_help_and_json(self):
        status, said, _ = program("--help")
        self.assertEqual(status, 0)
        for field in dataclasses.fields(Region):
            self.assertIn("--" + field.name.replace("_", "-"), said)
        status, said, _ = program("--json", "--channels", "50")
        self.assertEqual(status, 0)
        told = json.loads(said)
        self.assertEqual(told["assumed"]["channels"], 50)
        self.assertEqual(told["takes"], but(channels=50))

    def test_what_makes_no_sense_is_refused(self):
        for options in (
            ["--weak-share", "30"],
            ["--viewers", "-1"],
            ["--viewers", "0"],
            ["--node-load", "0"],
            ["--live-tier", "xxl"],
            ["--segment-s", "nan"],
        ):
            status, _, said = program(*options)
            self.assertEqual(status, 2, options)
            self.assertIn(options[0], said)


if __name__ == "__main__":
    unittest.main()
