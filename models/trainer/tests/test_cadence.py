"""Film's cadence: the rule that measures is the rule of the edge."""

import unittest
from pathlib import Path

import numpy as np

from acuity_trainer import media
from acuity_trainer.interpolate import cadence
from acuity_trainer.interpolate.methods import Made

from .test_media import textured

CASES = Path(__file__).resolve().parents[3] / "enhancer" / "src" / "interpolate" / "cadence_cases.txt"


class Cadence(unittest.TestCase):
    def test_cases_of_the_edge(self):
        cases = [line.split() for line in CASES.read_text(encoding="utf-8").splitlines() if not line.startswith("//")]
        self.assertGreater(len(cases), 10)
        for gaps, expected in cases:
            with self.subTest(gaps=gaps):
                base = {"#": 1.0, ".": 0.1, "x": float("nan")}
                told = [base[gap] + at * 7 % 5 * 0.02 for at, gap in enumerate(gaps)]
                self.assertEqual(cadence.middles(told), expected)

    def test_film_shows_what_was_filmed(self):
        wide = textured(1, 90, 700)[0]
        shown = [wide[:, 5 * (at * 25 // 60) :][:, :160] for at in range(96)]
        frames = media.frames_from_luma(np.ascontiguousarray(np.stack(shown[::2])))
        self.assertTrue(cadence.is_film(frames))
        nothing = np.zeros_like(shown[0])
        made = cadence.film(frames, Made(dict.fromkeys(range(47), nothing))).luma
        kept = [at for at in made if made[at] is nothing]
        self.assertLessEqual(len(kept), 8, "one of each turn of six is not told")
        for at in set(made) - set(kept):
            np.testing.assert_array_equal(made[at], shown[2 * at + 1], f"gap {at}")

    def test_what_moves_evenly_is_no_film(self):
        wide = textured(1, 90, 700)[0]
        shown = [wide[:, 5 * at :][:, :160] for at in range(48)]
        self.assertFalse(cadence.is_film(media.frames_from_luma(np.ascontiguousarray(np.stack(shown)))))


if __name__ == "__main__":
    unittest.main()
