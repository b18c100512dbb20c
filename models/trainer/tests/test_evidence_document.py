"""The document says what the rows say, and the plots are drawn from them."""

import importlib.util
import math
import re
import tempfile
import unittest
from pathlib import Path

try:
    from acuity_trainer.evidence import document, findings, measure, plan, rows
except ImportError as missing:
    raise unittest.SkipTest(f"the evidence needs the packages of requirements.lock: {missing}") from missing

DOCS = Path(__file__).resolve().parents[3] / "docs"
TIER_DB = {"s": 0.0, "m": 0.2, "l": 0.5, "v10": 0.6, "v15": 0.8, "v20": 1.0}


def made_up(folder, keep=lambda key: True):
    """Rows for the whole shipped plan, with gains easy to reckon: generic +1, content-aware +3, other 0.1 dB."""
    whole = plan.load()
    quality, models, costs = (rows.Table(kind, folder) for kind in (rows.QUALITY, rows.MODELS, rows.COST))
    quality.path.parent.mkdir(parents=True, exist_ok=True)
    for key in measure.missing(whole, quality):
        clip, method = whole.clips[key["clip"]], key["method"]
        base = 32.0 + 5 * math.log10((key["kbps"] or 1500) / 600)
        row = {
            **key,
            "category": "plain",
            "frames": 250 // key["every"],
            "fps": 30.0,
            "kbps_measured": float(key["kbps"]),
        }
        row |= {"clip_sha256": "c" * 64, "low_sha256": "d" * 64, "ssim": 0.9}
        gain = {"bicubic": -0.1, "lanczos": 0.0, measure.NATIVE: -1.0}.get(method)
        if method == measure.NATIVE:
            row |= {"category": measure.NATIVE, "low_sha256": "e" * 64}
        if gain is None:
            named = plan.model(method)
            category = clip.category(named.cluster)
            gain = {"generic": 1.0, "other": 0.1}.get(category, 3.0) + TIER_DB[named.tier]
            row |= {
                "category": category,
                "cluster": named.cluster,
                "tier": named.tier,
                "trained_for": named.trained_for,
            }
            facts = {"model": method, "cluster": named.cluster, "scale": named.scale, "tier": named.tier, "steps": 1000}
            facts |= {"trained_for": named.trained_for, "parameters": 10_000, "bytes": 50_000, "sha256": "a" * 64}
            models.rows[(method,)] = {field: facts.get(field) for field in models.fields}
            cost = {
                "tier": named.tier,
                "scale": named.scale,
                "machine": "a CPU",
                "ms_per_frame": 20.0 + TIER_DB[named.tier],
            }
            costs.rows[costs.key(cost)] = {field: cost.get(field) for field in costs.fields}
        if key["every"] == 1:
            row |= {"vmaf": 70 + gain, "vmaf_neg": 68 + gain, "temporal_db": base + gain - 2, "flicker": 0.5}
        row["psnr_db"] = base + gain
        if keep(key):
            quality.rows[quality.key(row)] = {field: row.get(field) for field in quality.fields}
    for table in (quality, models, costs):
        table.path.write_text(table.text(), encoding="utf-8")
    return findings.Results(folder, whole)


class Findings(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.addCleanup(self.scratch.cleanup)
        self.folder = Path(self.scratch.name)

    def test_gains_are_over_the_better_scaler_and_over_the_generic_of_the_same_size(self):
        results = made_up(self.folder)
        cell = results.cell("freedoom1_demo2")
        self.assertEqual(findings.plain(cell)["method"], "lanczos")
        self.assertAlmostEqual(findings.over_plain(cell, "freedoom-x2-m"), 3.2)
        self.assertAlmostEqual(findings.over_generic(cell, "freedoom-x2-m"), 2.0)
        self.assertEqual(findings.largest(cell, "freedoom"), "freedoom-x2-l")

    def test_three_decibels_are_what_the_curve_says_they_are(self):
        results = made_up(self.folder)
        # 5 dB a decade: 3 dB are 10^(-3/5) of the rate, wherever both reach.
        expected = (10 ** (-3 / 5) - 1) * 100
        saved = {
            (anchor, method): (percent, best)
            for anchor, method, percent, best in findings.savings(results, findings.GAME)
        }
        percent, best = saved["plain", "freedoom-x2-s"]
        self.assertAlmostEqual(percent, expected, 1)
        self.assertAlmostEqual(best[0], expected, 1)
        self.assertIn((measure.NATIVE, "freedoom-x2-s"), saved)

    def test_rows_of_other_pictures_are_not_compared(self):
        results = made_up(self.folder)
        key = {"clip": "bbb", "protocol": "coded", "scale": 2, "kbps": 600, "every": 1, "method": "bbb-x2-s"}
        results.quality.get(**key)["low_sha256"] = "f" * 64
        self.assertNotIn("bbb-x2-s", results.cell("bbb"))

    def test_a_missing_rate_leaves_the_curve_out(self):
        results = made_up(self.folder, lambda key: (key["method"], key["kbps"]) != ("freedoom-x2-s", 300))
        self.assertEqual(findings.curve(results, findings.GAME, "freedoom-x2-s"), [])
        self.assertIn("freedoom-x2-m", findings.curves(results, findings.GAME))

    def test_the_model_is_repaid(self):
        self.assertAlmostEqual(findings.megabytes((800.0, 50_000), 10), 60.05)
        self.assertAlmostEqual(findings.break_even_s((300.0, 50_000), (700.0, 0)), 1.0)
        self.assertIsNone(findings.break_even_s((800.0, 50_000), (700.0, 0)))

    def test_targets_are_judged_one_by_one(self):
        told = {what: (value, met) for what, _, value, _, met in findings.targets(made_up(self.folder))}
        self.assertTrue(told["game, coded 600 kbit/s, dB over plain"][1])
        self.assertFalse(told["game, clean, dB over plain"][1])
        self.assertAlmostEqual(told["game, coded 600 kbit/s, dB over plain, largest tier"][0], 4.0)

    def test_nothing_measured_gives_a_document_without_figures(self):
        results = findings.Results(self.folder, plan.load())
        self.assertTrue(all(met is None for *_, met in findings.targets(results)))
        text = document.text(results, self.folder)
        self.assertIn("Not measured yet", text)
        self.assertNotIn("$", text)

    def test_a_full_plan_lacks_nothing(self):
        text = document.text(made_up(self.folder), self.folder)
        self.assertIn("the plan is complete", text)
        self.assertNotIn("Not measured yet", text.split("## Bitrate")[0])

    @unittest.skipUnless(importlib.util.find_spec("matplotlib"), "matplotlib is not installed (requirements.lock)")
    def test_every_plot_is_drawn_and_small(self):
        from acuity_trainer.evidence import plots

        drawn = plots.draw_all(made_up(self.folder), self.folder)
        self.assertEqual(len(drawn), 6)
        for name in drawn:
            self.assertLess((self.folder / name).stat().st_size, plots.MOST_BYTES)

    def test_labels_are_kept_apart(self):
        from acuity_trainer.evidence.plots import apart

        placed = sorted(apart([10.0, 11.0, 11.5, 40.0], 5.0))
        self.assertTrue(all(b - a > 4.99 for a, b in zip(placed, placed[1:], strict=False)))
        self.assertEqual(placed[-1], 40.0)


@unittest.skipUnless((DOCS / "content-aware.md").exists(), "docs/content-aware.md is not made yet")
class Committed(unittest.TestCase):
    def test_the_document_is_what_the_rows_give(self):
        results = findings.Results(DOCS / "content-aware", plan.load())
        self.assertGreater(len(results.quality), 0)
        text = (DOCS / "content-aware.md").read_text(encoding="utf-8")
        self.assertEqual(text, document.text(results, DOCS / "content-aware"), "run `render` again")

    def test_its_links_lead_somewhere_and_its_pictures_are_small(self):
        text = (DOCS / "content-aware.md").read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#]+)\)", text)
        self.assertGreater(len(links), 3)
        for link in links:
            self.assertTrue((DOCS / link).exists(), link)
            if link.endswith(".png"):
                self.assertLess((DOCS / link).stat().st_size, 80_000, link)


if __name__ == "__main__":
    unittest.main()
