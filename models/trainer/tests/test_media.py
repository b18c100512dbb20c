"""Pictures in and out of the `ffmpeg` command, and the two measures."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np

from acuity_trainer import media, metrics


def textured(count=6, height=96, width=128, seed=0):
    """Moving smooth texture with edges, uint8 [count, height, width] in limited range."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (height // 8 + 4, width // 8 + 4)).astype(np.uint8)
    big = np.kron(coarse, np.ones((8, 8), np.uint8))
    return np.stack([big[i : i + height, 2 * i : 2 * i + width] for i in range(count)])


@unittest.skipUnless(shutil.which("ffmpeg"), "there is no ffmpeg command")
class Media(unittest.TestCase):
    def test_luma_keeps_its_limited_range(self):
        luma = np.full((2, 64, 64), 16, np.uint8)
        luma[:, 32:] = 235
        decoded, _ = media.encode_decode(media.frames_from_luma(luma), media.Encode(crf=1))
        self.assertEqual(decoded.luma.shape, luma.shape)
        self.assertLessEqual(np.abs(decoded.luma.astype(int) - luma).max(), 2)

    def test_frames_come_back_in_order_through_b_pictures(self):
        luma = np.stack([np.full((64, 64), 20 + 8 * i, np.uint8) for i in range(20)])
        decoded, kbps = media.encode_decode(media.frames_from_luma(luma), media.Encode(crf=18, preset="medium"))
        self.assertLess(np.abs(decoded.luma.mean((1, 2)) - luma.mean((1, 2))).max(), 3)
        self.assertGreater(kbps, 0)

    def test_an_image_becomes_limited_range(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "white.png"
            media.write_png(path, np.full((32, 48), 235, np.uint8))
            self.assertEqual(media.probe_size(path), (48, 32))
            self.assertLessEqual(abs(int(media.read_still(path).max()) - 235), 1)

    def test_a_failure_says_whose(self):
        with self.assertRaisesRegex(media.MediaError, "absent.mp4"):
            media.probe_size("absent.mp4")

    def test_measures_agree_with_ffmpeg(self):
        high = textured()
        low, _ = media.encode_decode(media.frames_from_luma(high), media.Encode(crf=34))
        with tempfile.TemporaryDirectory() as folder:
            for name, frames in (("a", low), ("b", media.frames_from_luma(high))):
                (Path(folder) / f"{name}.yuv").write_bytes(frames.raw.tobytes())
            shape = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "128x96", "-i"]
            for name, mine, digits in (
                ("psnr", metrics.psnr(np.mean([metrics.mse(a, b) for a, b in zip(low.luma, high, strict=True)])), 2),
                ("ssim", np.mean([metrics.ssim(a, b) for a, b in zip(low.luma, high, strict=True)]), 3),
            ):
                told = subprocess.run(
                    [
                        "ffmpeg",
                        "-nostdin",
                        *shape,
                        f"{folder}/a.yuv",
                        *shape,
                        f"{folder}/b.yuv",
                        "-lavfi",
                        name,
                        "-f",
                        "null",
                        "-",
                    ],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stderr
                theirs = float(re.search(rf"{name.upper()} [yY]:([0-9.]+)", told).group(1))
                self.assertAlmostEqual(mine, theirs, digits)

    def test_identical_pictures_have_a_finite_psnr(self):
        self.assertEqual(metrics.psnr(0.0), 99.0)
        self.assertAlmostEqual(metrics.ssim(textured()[0], textured()[0]), 1.0)


if __name__ == "__main__":
    unittest.main()
