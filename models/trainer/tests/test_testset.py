"""The test set at every scale: sizes that divide, rates in proportion, x2 as it always was."""

import shutil
import unittest
from pathlib import Path

from acuity_trainer import testset

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


class Rates(unittest.TestCase):
    def test_smaller_low_pictures_get_fewer_bits_but_more_a_pixel(self):
        self.assertEqual(testset.low_kbps(2), testset.LOW_KBPS)
        for scale in (3, 4):
            self.assertLess(testset.low_kbps(scale), testset.LOW_KBPS)
            self.assertGreater(testset.low_kbps(scale) * scale**2, testset.LOW_KBPS * 4)


@unittest.skipUnless((SHARED / "video").is_dir() and shutil.which("ffmpeg"), "the shared data or ffmpeg are not there")
class Clips(unittest.TestCase):
    def test_pairs_of_every_scale_fit(self):
        sizes = {2: ((640, 360), (1280, 720)), 3: ((426, 240), (1278, 720)), 4: ((320, 180), (1280, 720))}
        for scale, (low, high) in sizes.items():
            with self.subTest(scale):
                pair = testset.load_clip(SHARED, "cockatoo_720p20", None, 6, scale)
                self.assertEqual((pair.low.width, pair.low.height), low)
                self.assertEqual((pair.high.width, pair.high.height), high)
                self.assertEqual(len(pair.low), 6)

    def test_stills_of_every_scale_fit(self):
        for scale in (2, 3, 4):
            for _, low, high in testset.load_stills(SHARED, "Set5", scale):
                self.assertEqual(tuple(scale * side for side in low.shape), high.shape)


if __name__ == "__main__":
    unittest.main()
