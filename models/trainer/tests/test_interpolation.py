"""Interpolation: network, file, corpus and training; small, quick, on one thread."""

import json
import tempfile
import unittest
from pathlib import Path

import numpy as np

from acuity_trainer import media, metrics

from .test_media import textured

try:
    import torch

    from acuity_trainer import running
    from acuity_trainer.interpolate import contract, grow, material, networks, train, triplets
except ImportError as missing:
    raise unittest.SkipTest(f"PyTorch is not here ({missing}); Debian: python3-torch") from missing

try:
    import onnxruntime  # noqa: F401
except ImportError as missing:
    onnxruntime, WHY = None, f"onnx and onnxruntime are not here ({missing}); see requirements.lock"
else:
    WHY = ""
    from acuity_trainer import export as upscaling
    from acuity_trainer.interpolate import export, methods, score

SHIFT = 3  # pixels a frame that the moving pictures below move to the right


def moving(count, height=96, width=128):
    """Frames of a texture that moves SHIFT pixels to the right from one to the next."""
    wide = textured(1, height, width + SHIFT * count)[0]
    lumas = [wide[:, SHIFT * (count - index) :][:, :width] for index in range(count)]
    return media.frames_from_luma(np.ascontiguousarray(np.stack(lumas)))


def lively(tier="s"):
    """An untrained network that has something to say: fields of whole pixels, masks that are not flat."""
    network = networks.build(tier)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.startswith("level") and name.endswith("2.weight"):
                value.mul_(40.0)
    return network


def small_corpus(folder):
    """A corpus of one item of a moving texture, not compressed."""
    coded, middle, _ = triplets.decimated(moving(25), 1, None)
    entry = triplets.put(folder, "one", coded.luma, middle.luma, {})
    triplets.finish(folder, [entry], sources={})


class Networks(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(3)
        torch.set_num_threads(1)

    def test_tiers_have_the_sizes_they_are_meant_to_have(self):
        sizes = {tier: networks.parameters_of(networks.build(tier)) for tier in contract.TIERS}
        self.assertTrue(100_000 <= sizes["s"] <= 150_000, sizes)
        self.assertTrue(sizes["s"] < sizes["m"] <= 400_000, sizes)

    def test_a_field_says_where_the_made_pixel_was_and_will_be(self):
        frames = moving(3)
        lumas = [torch.from_numpy(luma)[None, None].float() for luma in frames.luma.copy()]
        flow = torch.zeros(1, 2, 96, 128)
        flow[:, 0] = SHIFT
        inner = np.s_[..., 8:-8, 8:-8]
        for picture, way in ((lumas[0], -1), (lumas[2], 1)):
            found = networks.moved(picture, way * flow)
            self.assertLess(float((found - lumas[1])[inner].abs().max()), 0.01)

    def test_products_compare_under_every_displacement(self):
        first, second = torch.rand(1, 3, 9, 11), torch.rand(1, 3, 9, 11)
        found = networks.products(first, second, (1, 2))
        for channel, (dy, dx) in enumerate(networks.windows(1, 2)):
            mine = (first[0, :, 4 - dy, 5 - dx] * second[0, :, 4 + dy, 5 + dx]).mean()
            self.assertAlmostEqual(float(found[0, channel, 4, 5]), float(mine), places=5)
        # and outside there is nothing
        self.assertEqual(float(found[0, 0, 8, 10]), 0.0)

    def test_equal_pictures_give_themselves_where_nothing_moves(self):
        network = networks.build("s")
        picture = torch.full((1, 1, 64, 80), 0.4)
        made, _, flows = network(picture, picture)
        self.assertLess(float((made - picture).abs().max()), 1e-5)
        self.assertEqual([tuple(flow.shape[2:]) for flow in flows], [(4, 5), (8, 10), (16, 20), (64, 80)])

    def test_a_larger_tier_begins_with_what_a_smaller_one_makes(self):
        pictures = [torch.from_numpy(moving(2, 64, 96).luma[at] / 255.0).float()[None, None] for at in (0, 1)]
        small = lively()
        large = grow.grown(small, "m")
        self.assertGreater(networks.parameters_of(large), networks.parameters_of(small))
        with torch.no_grad():
            (made, _, flows), (same, _, fields) = small(*pictures), large(*pictures)
        self.assertGreater(float(flows[-1].abs().max()), 0.5, "something has to move for this to say anything")
        self.assertLess(float((flows[-1] - fields[-1]).abs().max()), 1e-3)
        self.assertLess(float((made - same).abs().max()), 1e-3)
        large(*pictures)[0].square().mean().backward()
        idle = [name for name, value in large.named_parameters() if not value.grad.abs().max() > 0]
        self.assertEqual(idle, [], "what is new can be trained")
        with self.assertRaises(ValueError):
            grow.grown(large, "s")


@unittest.skipIf(onnxruntime is None, WHY)
class Files(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(5)
        torch.set_num_threads(1)
        self.network = lively()
        self.data = export.written(self.network, {"id": "test-i2-s"})

    def picture(self, seed, height, width):
        small = np.random.default_rng(seed).integers(16, 236, (3, height // 8 + 2, width // 8 + 2), dtype=np.uint8)
        wide = small.repeat(8, 1).repeat(8, 2)
        return wide[0, :height, :width], np.ascontiguousarray(wide[1:, : height // 2, : width // 2])

    def torch_made(self, previous, following):
        """The made luma as the torch network says, float, for pictures of any even size."""
        height, width = previous.shape
        pads = [(0, -side % contract.STRIDE) for side in (height, width)]
        wide = [torch.from_numpy(np.pad(p, pads, "edge"))[None, None].float() / 255 for p in (previous, following)]
        with torch.no_grad():
            flows, mask = self.network.motion(*wide)
            flow, share = (part[..., :height, :width] for part in (flows[-1], torch.sigmoid(mask)))
            plain = [torch.from_numpy(p.copy())[None, None].float() for p in (previous, following)]
            first, second = networks.moved(plain[0], -flow), networks.moved(plain[1], flow)
            return (second + share * (first - second))[0, 0].numpy(), float((first - second).abs().mean()), flow

    def test_the_file_does_what_the_network_does_at_any_even_size(self):
        session = upscaling.runtime(self.data)
        for height, width in ((64, 96), (90, 128), (106, 130)):
            with self.subTest(f"{width}x{height}"):
                previous, following = self.picture(1, height, width), self.picture(2, height, width)
                luma, chroma, mismatch = export.made(session, previous, following)
                self.assertEqual((luma.shape, chroma.shape), ((height, width), (2, height // 2, width // 2)))
                mine, apart, flow = self.torch_made(previous[0], following[0])
                self.assertGreater(float(flow.abs().max()), 1.0, "a test of motion has motion in it")
                # Where a field points at the border of a pixel, a little rounding is a little of a step of 200 codes.
                self.assertLess(np.percentile(np.abs(luma - mine), 99.5), 1.01)
                self.assertAlmostEqual(mismatch, apart, delta=0.05)

    def test_chroma_is_moved_with_the_luma(self):
        session = upscaling.runtime(self.data)
        (luma, _), (other, _) = self.picture(1, 64, 96), self.picture(2, 64, 96)
        halves = [p.reshape(32, 2, 48, 2).mean((1, 3)).astype(np.uint8) for p in (luma, other)]
        made = export.made(session, (luma, np.stack([halves[0]] * 2)), (other, np.stack([halves[1]] * 2)))
        wanted = made[0].reshape(32, 2, 48, 2).mean((1, 3))
        self.assertTrue((made[1][0] == made[1][1]).all())
        self.assertLess(np.abs(made[1][0] - wanted).mean(), np.abs(halves[0] - wanted).mean() / 2)

    def test_what_stands_still_is_still_to_the_bit(self):
        previous, following = self.picture(1, 90, 128), self.picture(2, 90, 128)
        following[0][:48], following[1][:, :24] = previous[0][:48], previous[1][:, :24]
        luma, chroma, _ = export.made(upscaling.runtime(self.data), previous, following)
        self.assertTrue((luma[:44] == previous[0][:44]).all())
        self.assertTrue((chroma[:, :22] == previous[1][:, :22]).all())
        self.assertFalse((luma[48:] == previous[0][48:]).all())
        # of another colour, it does not stand still
        following[1][:, 4:8] ^= 128
        luma, _, _ = export.made(upscaling.runtime(self.data), previous, following)
        self.assertTrue((luma[24:44] == previous[0][24:44]).all())

    def test_the_same_network_gives_the_same_bytes_and_comes_back(self):
        self.assertEqual(export.written(self.network, {"id": "test-i2-s"}), self.data)
        again = export.read_network(self.data, "s")
        for (name, mine), theirs in zip(self.network.state_dict().items(), again.state_dict().values(), strict=True):
            self.assertLess(float((mine - theirs).abs().max()), 1e-6, name)

    def test_tensors_are_the_contracts(self):
        session = upscaling.runtime(self.data)
        given = {one.name: (one.type, one.shape) for one in session.get_inputs()}
        self.assertEqual(tuple(given), contract.INPUTS)
        self.assertEqual(given["next_chroma"], ("tensor(uint8)", [1, 2, "chroma_height", "chroma_width"]))
        self.assertEqual(tuple(one.name for one in session.get_outputs()), contract.OUTPUTS)


class Material(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.addCleanup(self.scratch.cleanup)
        self.folder = Path(self.scratch.name)

    def test_the_middle_lies_between_its_neighbours(self):
        frames = moving(14)
        for step in (1, 2):
            coded, middle, _ = triplets.decimated(frames, step, None)
            self.assertEqual(len(coded), len(middle) + 1)
            for index in range(len(middle)):
                at = 2 * step * index
                self.assertTrue((coded.luma[index] == frames.luma[at]).all())
                self.assertTrue((middle.luma[index] == frames.luma[at + step]).all())

    def test_patches_are_three_pictures_of_one_place(self):
        small_corpus(self.folder)
        corpus = triplets.Corpus(self.folder)
        previous, following, middle = corpus.batch(np.random.default_rng(1), 8, 64, 80)
        self.assertEqual(middle.shape, (8, 64, 80))
        for a, b, truth in zip(previous, following, middle, strict=True):
            # It moves to the right, or mirrored or backwards to the left; either way the middle is in the middle.
            errors = [
                metrics.mse(a[:, 8:-8], np.roll(truth, way * SHIFT, 1)[:, 8:-8])
                + metrics.mse(b[:, 8:-8], np.roll(truth, -way * SHIFT, 1)[:, 8:-8])
                for way in (-1, 1)
            ]
            self.assertEqual(min(errors), 0.0)
        again = corpus.batch(np.random.default_rng(1), 8, 64, 80)
        self.assertTrue(np.array_equal(again[2], middle), "a seed gives one batch")

    def test_nothing_is_drawn_across_a_cut(self):
        first, second = moving(14).luma, 255 - moving(14).luma
        frames = media.frames_from_luma(np.concatenate([first, second, first]))
        entry = material.stored(self.folder, "cut", frames, 30.0, material.Terms(96), ("", 0), {})
        self.assertEqual(entry["triplets"], 20)
        self.assertEqual(sorted(set(range(20)) - set(entry["whole"])), [6, 13])
        triplets.finish(self.folder, [entry])
        self.assertEqual(len(triplets.Corpus(self.folder).items[0]), 18)

    def test_repeated_pictures_go_and_slow_ones_stay(self):
        film = moving(12)
        pulled = media.Frames(film.raw[[index for index in range(12) for _ in range(2 + index % 2)]], 128, 96)
        self.assertTrue(np.array_equal(material.differing(pulled).raw, film.raw))
        still = media.Frames(film.raw[[0] * 10], 128, 96)
        self.assertEqual(len(material.differing(still)), 10)

    def test_sizes_and_rates(self):
        self.assertEqual(material.size_for(1280, 720, 360), (640, 360))
        self.assertEqual(material.size_for(720, 400, 360), (648, 360))
        self.assertEqual(material.size_for(320, 240, 360), (320, 240))
        self.assertIsNone(material.coding(30.0, (640, 360), "medium", 0))
        coding = material.coding(15.0, (640, 360), "medium", 600)
        self.assertEqual((coding.kbps, coding.keyint), (424, 30))


class Training(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.addCleanup(self.scratch.cleanup)
        self.folder = Path(self.scratch.name)
        small_corpus(self.folder / "corpus")
        self.settings = train.Settings(tier="s", steps=4, batch=2, height=64, width=96)

    def run_of(self, name, **changes):
        settings = train.Settings(**{**self.settings.__dict__, **changes})
        return train.Run(self.folder / name, self.folder / "corpus", settings)

    def test_a_run_that_was_cut_off_gives_the_same_weights(self):
        whole = self.run_of("whole").run(quiet=True)
        cut = self.run_of("cut")
        cut.run(stop_after_s=0.0, quiet=True)
        self.assertTrue(0 < cut.step < 4)
        self.run_of("cut").run(quiet=True)
        again, facts = train.load_average(self.folder / "cut", "s")
        self.assertEqual(facts["step"], 4)
        for name, value in whole.state_dict().items():
            self.assertTrue(torch.allclose(value, again.state_dict()[name], atol=1e-6), name)

    def test_a_dearer_tier_goes_on_where_a_cheaper_one_ended(self):
        run = self.run_of("cheap", steps=2)
        run.run(quiet=True)
        network, before = train.begin(run.folder, "m")
        self.assertEqual(network.shape, networks.build("m").shape)
        self.assertEqual([past["step"] for past in before], [2])

    def test_a_checkpoint_of_other_settings_is_refused(self):
        self.run_of("one").run(quiet=True)
        with self.assertRaises(running.Interrupted):
            self.run_of("one", seed=2)
        with self.assertRaises(running.Interrupted):
            train.load_average(self.folder / "one", "m")

    def test_training_learns_to_follow(self):
        run = self.run_of("learning", steps=150, learning_rate=2e-3)
        run.run(quiet=True)
        gain_db = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()][-1]["gain_db"]
        self.assertGreater(gain_db, 0.2)


@unittest.skipIf(onnxruntime is None, WHY)
class Methods(unittest.TestCase):
    def test_ffmpegs_pictures_are_paired_with_their_places(self):
        coded, middle, _ = triplets.decimated(moving(25), 1, None)
        made = methods.minterpolate(coded, len(middle), methods.MCI["minterpolate"])
        self.assertGreaterEqual(len(made.luma), len(middle) - 3)
        errors = {
            shift: np.mean([metrics.mse(picture, middle.luma[index + shift]) for index, picture in made.luma.items()
                            if 0 <= index + shift < len(middle)]) for shift in (-1, 0, 1)
        }  # fmt: skip
        self.assertLess(errors[0] * 4, min(errors[-1], errors[1]), errors)

    def test_scores_are_of_the_pictures_that_all_made(self):
        found = [{"repeat": {0: (4.0, 0.5), 1: (100.0, 0.1)}, "blend": {0: (1.0, 0.9)}}]
        scores = score.scored(found)
        self.assertAlmostEqual(scores["repeat"].psnr_db, metrics.psnr(4.0))
        self.assertAlmostEqual(scores["blend"].ssim, 0.9)

    def test_a_held_out_corpus_is_measured_with_the_file(self):
        with tempfile.TemporaryDirectory() as folder:
            small_corpus(folder)
            torch.manual_seed(1)
            data = export.written(networks.build("s"), {"id": "own"})
            scores, count = score.measure(folder, {"own": data}, ("repeat", "blend"))
            self.assertEqual(count, 12)
            self.assertEqual(list(scores), ["repeat", "blend", "own"])
            # untrained, it follows the slopes of the lumas, and that is far better than a blend of what moves
            self.assertGreater(scores["own"].psnr_db, scores["blend"].psnr_db + 3.0)
            self.assertEqual(score.overlap(folder, folder), 12)


if __name__ == "__main__":
    unittest.main()
