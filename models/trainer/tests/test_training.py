"""Networks, corpus and training: small, quick, on one thread."""

import json
import shutil
import tempfile
import unittest
from pathlib import Path

import numpy as np

try:
    import torch

    from acuity_trainer import corpus, networks, scenes, train
except ImportError as missing:
    raise unittest.SkipTest(f"PyTorch is not here ({missing}); Debian: python3-torch") from missing

from acuity_trainer import contract, media

from .test_media import textured


def small_corpus(folder):
    """A corpus of two stills, written with the real writer."""
    folder = Path(folder)
    items = []
    for index in range(2):
        high = media.frames_from_luma(textured(1, 192, 256, index))
        items.append(
            corpus._store(
                folder, f"still{index}", "still", high, corpus._degradations(np.random.default_rng(index), "still"), [0]
            )
        )
    (folder / "index.json").write_text(json.dumps({"seed": 0, "sources": {}, "items": items}), encoding="utf-8")


class Networks(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(3)
        torch.set_num_threads(1)

    def test_tiers_have_the_sizes_they_are_named_for(self):
        sizes = {tier: networks.parameters_of(networks.build(tier).collapsed()) for tier in contract.TIERS}
        self.assertTrue(9_000 <= sizes["s"] <= 12_000, sizes)
        self.assertTrue(36_000 <= sizes["m"] <= 44_000, sizes)

    def test_interpolation_kernels_are_swscales_bicubic(self):
        luma = textured(1)[0]
        kernels = networks.bicubic_phases()
        padded = torch.nn.functional.pad(torch.from_numpy(luma)[None, None].float(), (2, 2, 2, 2), mode="replicate")
        mine = torch.pixel_shuffle(torch.conv2d(padded, kernels), 2)[0, 0].numpy()
        theirs = media.scale(media.frames_from_luma(luma[None]), 256, 192).luma[0]
        inner = np.s_[8:-8, 8:-8]
        self.assertLess(np.abs(mine.clip(0, 255)[inner] - theirs[inner]).max(), 2.0)

    def test_a_flat_picture_stays_flat_up_to_the_border(self):
        network = networks.build("s")
        torch.nn.init.zeros_(network.tail.project)
        with torch.no_grad():
            out = network(torch.full((1, 1, 20, 24), 0.4))
        self.assertEqual(tuple(out.shape), (1, 1, 40, 48))
        self.assertLess(float((out - 0.4).abs().max()), 1e-5)

    def test_scenes_are_limited_range_moving_pictures(self):
        rng = np.random.default_rng(5)
        sprite = (rng.integers(16, 236, (40, 30), dtype=np.uint8), np.full((40, 30), 255, np.uint8))
        art = scenes.Art(
            stills=[textured(1, 400, 640)[0]],
            sprites=[sprite],
            tiles=[sprite],
            texts=[rng.integers(0, 256, (800, 640), dtype=np.uint8)],
        )
        for name, draw in scenes.KINDS.items():
            with self.subTest(name):
                frames = draw(np.random.default_rng(7), art, 3, 480, 272)
                self.assertEqual((frames.shape, frames.dtype), ((3, 272, 480), np.uint8))
                self.assertTrue(
                    np.array_equal(frames, draw(np.random.default_rng(7), art, 3, 480, 272)), "a seed gives one scene"
                )


@unittest.skipUnless(shutil.which("ffmpeg"), "there is no ffmpeg command")
class Training(unittest.TestCase):
    def settings(self, **more):
        return train.Settings(tier="s", steps=8, batch=2, patch=24, **more)

    def test_patches_are_aligned(self):
        with tempfile.TemporaryDirectory() as folder:
            small_corpus(folder)
            low, high, plain = corpus.Corpus(folder).batch(np.random.default_rng(1), 16, 32)
            self.assertEqual((low.shape, high.shape, plain.shape), ((16, 1, 32, 32), (16, 1, 64, 64), (16,)))
            halved = high.reshape(16, 32, 2, 32, 2).mean((2, 4))
            aligned = np.abs(halved - low[:, 0]).mean()
            shifted = np.abs(np.roll(halved, 1, 2) - low[:, 0]).mean()
            self.assertLess(aligned, shifted * 0.6)

    def test_a_killed_run_goes_on_as_if_nothing_had_been(self):
        with tempfile.TemporaryDirectory() as folder:
            corpus_folder = Path(folder) / "corpus"
            corpus_folder.mkdir()
            small_corpus(corpus_folder)
            whole = train.Run(Path(folder) / "whole", corpus_folder, self.settings()).run(quiet=True)
            cut = train.Run(Path(folder) / "cut", corpus_folder, self.settings())
            for _ in range(3):
                cut._train_step()
            cut.save()
            for _ in range(2):
                cut._train_step()  # lost: killed before the next checkpoint
            resumed = train.Run(Path(folder) / "cut", corpus_folder, self.settings())
            self.assertEqual(resumed.step, 3)
            for mine, theirs in zip(resumed.run(quiet=True).parameters(), whole.parameters(), strict=True):
                self.assertTrue(torch.allclose(mine, theirs, atol=1e-7))

    def test_a_checkpoint_of_other_settings_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            small_corpus(folder)
            train.Run(Path(folder) / "run", folder, self.settings()).save()
            with self.assertRaisesRegex(train.Interrupted, "other settings"):
                train.Run(Path(folder) / "run", folder, self.settings(seed=2))

    def test_training_beats_the_plain_kernel_on_what_it_saw(self):
        with tempfile.TemporaryDirectory() as folder:
            small_corpus(folder)
            run = train.Run(Path(folder) / "run", folder, train.Settings(tier="s", steps=120, batch=4, patch=32))
            run.run(quiet=True)
            self.assertGreater(run.validate(), 0.1)


if __name__ == "__main__":
    unittest.main()
