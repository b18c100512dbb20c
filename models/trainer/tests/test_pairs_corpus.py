"""A corpus of pairs at other scales, and that the recipe of the first-person game keeps away from its test levels."""

import importlib.util
import tempfile
import unittest
from pathlib import Path

import numpy as np

try:
    import torch

    from acuity_trainer import corpus, train
except ImportError as missing:
    raise unittest.SkipTest(f"PyTorch is not here ({missing}); Debian: python3-torch") from missing

from acuity_trainer import media

from .test_media import textured

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def recipe(name):
    """A script of the recipes as a module."""
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pair_corpus(folder, scale, frames=3):
    """Clean pairs of one textured clip."""
    high = textured(frames, 192, 240)
    low = media.scale(media.frames_from_luma(high), 240 // scale, 192 // scale).luma
    notes = [{"clean": True}, {"clean": True}]
    entry = corpus.store_pairs(folder, "clip", "pair", high, [low, low], notes, scale)
    corpus.write_index(folder, [entry], scale, cluster="test")


class Pairs(unittest.TestCase):
    def setUp(self):
        torch.set_num_threads(1)

    def test_patches_are_aligned_at_every_scale(self):
        for scale in (2, 3, 4):
            with self.subTest(scale), tempfile.TemporaryDirectory() as folder:
                pair_corpus(folder, scale)
                low, high, plain = corpus.Corpus(folder).batch(np.random.default_rng(1), 12, 24)
                self.assertEqual(high.shape, (12, 1, 24 * scale, 24 * scale))
                self.assertTrue((plain > 0).all())
                shrunk = high.reshape(12, 24, scale, 24, scale).mean((2, 4))
                aligned = np.abs(shrunk - low[:, 0]).mean()
                self.assertLess(aligned, np.abs(np.roll(shrunk, 1, 2) - low[:, 0]).mean() * 0.6)

    def test_a_batch_is_that_of_its_seed(self):
        with tempfile.TemporaryDirectory() as folder:
            pair_corpus(folder, 2)
            first, second = (corpus.Corpus(folder).batch(np.random.default_rng([4, 2]), 6, 24) for _ in range(2))
            self.assertTrue(all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)))

    def test_sizes_that_do_not_fit_are_refused(self):
        with tempfile.TemporaryDirectory() as folder, self.assertRaisesRegex(ValueError, "divided by 2"):
            corpus.store_pairs(folder, "x", "pair", textured(1, 192, 240), [textured(1, 96, 118)], [{}], 2)

    def test_a_run_of_another_scale_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            pair_corpus(folder, 3)
            with self.assertRaisesRegex(train.Interrupted, "scale 3, not 2"):
                train.Run(Path(folder) / "run", folder, train.Settings(tier="s", steps=2))

    def test_training_at_scale_3_gains(self):
        with tempfile.TemporaryDirectory() as folder:
            pair_corpus(folder, 3)
            settings = train.Settings(tier="s", scale=3, steps=100, batch=4, patch=32, relative=False)
            run = train.Run(Path(folder) / "run", folder, settings)
            run.run(quiet=True)
            self.assertGreater(run.validate(), 0.1)
            network, facts = train.load_average(Path(folder) / "run", "s")
            self.assertEqual((network.scale, facts["step"]), (3, 100))


class FirstPersonGame(unittest.TestCase):
    def test_no_level_of_a_test_clip_is_recorded(self):
        freedoom = recipe("freedoom")
        if not (freedoom.WADS / "freedoom1.wad").exists():
            self.skipTest("Freedoom is not here (Debian: freedoom)")
        clips = freedoom.clips(2.0, 1)
        levels = {(wad, level) for _, wad, level, _, _ in clips}
        self.assertGreater(len(levels), 20)
        for wad, demo in freedoom.TEST_DEMOS:
            header = freedoom.Wad(freedoom.WADS / f"{wad}.wad").demos()[demo]
            self.assertNotIn((wad, freedoom.level_of(wad, header)), levels)
        for _, wad, level, demo, _ in clips:
            self.assertEqual(freedoom.level_of(wad, demo), level)

    def test_the_bot_walks(self):
        freedoom = recipe("freedoom")
        square = [(0, 0), (0, 512), (512, 512), (512, 0)]  # clockwise: the right side of each wall looks inward
        lumps = {
            "VERTEXES": np.array(square, "<i2").tobytes(),
            "LINEDEFS": np.array([[i, (i + 1) % 4, 1, 0, 0, 0, 0xFFFF] for i in range(4)], "<u2").tobytes(),
            "SIDEDEFS": np.zeros((1, 15), "<u2").tobytes(),
            "SECTORS": np.array([[0, 128] + [0] * 11], "<i2").tobytes(),
            "THINGS": np.array([[256, 256, 90, 1, 7]], "<i2").tobytes(),
        }
        level = freedoom.Level(lumps)
        self.assertAlmostEqual(level.free(256, 256, 0.0), 240.0)
        commands = np.frombuffer(freedoom.walk(level, 140, 3), np.int8).reshape(-1, 4)
        self.assertEqual(len(commands), 140)
        self.assertGreater(np.abs(commands[:, 2]).sum(), 20)
        self.assertGreater((commands[:, 0] > 0).mean(), 0.4)


if __name__ == "__main__":
    unittest.main()
