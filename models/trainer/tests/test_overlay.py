"""What stands still: found in pictures that share it, believed only where it is, the same from an exported file."""

import base64
import contextlib
import tempfile
import unittest
import zlib
from pathlib import Path

import numpy as np
import torch

from acuity_trainer import contract, networks, overlay
from acuity_trainer.overlay import entry, fit

with contextlib.suppress(ImportError):
    import onnxruntime  # noqa: F401  (without it exported files are not looked at)

    from acuity_trainer import export

LOW, BAR = (72, 96), slice(52, 72)


def smooth(rng, height, width):
    """Noise with some shape to it, float 0..255."""
    noise = torch.from_numpy(rng.random((1, 1, height // 4 + 1, width // 4 + 1), np.float32))
    large = torch.nn.functional.interpolate(noise, scale_factor=4, mode="bilinear")
    return large[0, 0, :height, :width].numpy() * 200 + 28


def halved(high):
    """Low pictures by averages of 2x2."""
    return high.reshape(*high.shape[:-2], high.shape[-2] // 2, 2, high.shape[-1] // 2, 2).mean((-3, -1))


class Scenes:
    """Parts that show other pictures each, above one bar of fine detail; the encoder's noise over it all."""

    def __init__(self, parts=10, bars=1, standing=True):
        rng = np.random.default_rng(5)
        self.bars = [rng.integers(30, 220, (2 * (BAR.stop - BAR.start), 2 * LOW[1])) for _ in range(bars)]
        self.pairs = []
        for part in range(parts):
            high = np.stack([smooth(rng, 2 * LOW[0], 2 * LOW[1]) for _ in range(4)])
            if standing:
                high[:, 2 * BAR.start : 2 * BAR.stop] = self.bars[part % bars]
            low = halved(high) + rng.normal(0, 2, (2, 4, *LOW))
            self.pairs.append((np.clip(np.round(low), 0, 255).astype(np.uint8), np.round(high).astype(np.uint8)))

    def seen(self, network):
        return fit.look(self.pairs, lambda luma: made_of(network, luma).round().clip(0, 255).astype(np.uint8))


def made_of(network, luma):
    with torch.no_grad():
        return network(torch.from_numpy(np.array(luma))[None, None].float() / 255)[0, 0].numpy() * 255


def plain():
    torch.manual_seed(1)
    return networks.build("s").silence()


def mse(one, other):
    return float(np.square(np.asarray(one, float) - other).mean())


class Found(unittest.TestCase):
    def test_a_bar_that_every_part_shares_is_found_and_put_right(self):
        network, scenes = plain(), Scenes()
        found, share = fit.found(scenes.seen(network))
        (box,) = found.boxes
        # Its uppermost blocks border on what moves, and are not judged to stand still.
        self.assertEqual(box.at, (BAR.start + overlay.REACH, 0))
        self.assertEqual(box.low.shape, (1, BAR.stop - BAR.start - overlay.REACH, LOW[1]))
        self.assertGreater(share, 0.5)
        low, high = scenes.pairs[3][0][0, 1], scenes.pairs[3][1][1]
        made = made_of(network, low)
        corrected = found.correct(low, made)
        bar = slice(2 * BAR.start + 8, None)
        self.assertLess(mse(corrected[bar], high[bar]), 0.05 * mse(made[bar], high[bar]))
        np.testing.assert_array_equal(corrected[: 2 * BAR.start], made[: 2 * BAR.start])

    def test_two_bars_that_alternate_are_both_kept(self):
        network, scenes = plain(), Scenes(bars=2)
        found, _ = fit.found(scenes.seen(network))
        self.assertEqual([len(box.low) for box in found.boxes], [2])
        for part in (0, 1):
            low, high = scenes.pairs[part][0][0, 0], scenes.pairs[part][1][0]
            made, bar = made_of(network, low), slice(2 * BAR.start + 8, None)
            self.assertLess(mse(found.correct(low, made)[bar], high[bar]), 0.05 * mse(made[bar], high[bar]))

    def test_where_nothing_stands_still_there_is_no_overlay(self):
        found, share = fit.found(Scenes(standing=False).seen(plain()))
        self.assertIsNone(found)
        self.assertLess(share, fit.LEAST_SHARE)

    def test_one_long_item_is_enough(self):
        network, scenes = plain(), Scenes()
        lows = np.concatenate([low for low, _ in scenes.pairs], 1)
        highs = np.concatenate([high for _, high in scenes.pairs])
        scenes.pairs = [(lows, highs)]
        self.assertIsNotNone(fit.found(scenes.seen(network))[0])

    def test_no_entry_comes_from_fewer_parts_than_said(self):
        scenes = Scenes()
        rng = np.random.default_rng(9)
        for low, high in scenes.pairs[2:]:
            high[:, 2 * BAR.start :] = rng.integers(30, 220, (4, *scenes.bars[0].shape))
            low[:] = np.round(halved(high.astype(float)))
        found = fit.fit(scenes.seen(plain()), 30.0)
        self.assertIsNone(found)


class Believed(unittest.TestCase):
    def setUp(self):
        self.network, self.scenes = plain(), Scenes()
        self.overlay, _ = fit.found(self.scenes.seen(self.network))
        self.low, self.high = self.scenes.pairs[0][0][0, 0], self.scenes.pairs[0][1][0]

    def test_another_picture_at_its_place_stays_as_it_is(self):
        other = np.round(smooth(np.random.default_rng(77), *LOW)).astype(np.uint8)
        made = made_of(self.network, other)
        np.testing.assert_array_equal(self.overlay.correct(other, made), made)

    def test_another_size_stays_as_it_is(self):
        small = self.low[:64]
        made = made_of(self.network, small)
        np.testing.assert_array_equal(self.overlay.correct(small, made), made)

    def test_a_flash_is_followed(self):
        bright = np.clip(self.low.astype(int) + 25, 0, 255).astype(np.uint8)
        made, bar = made_of(self.network, bright), slice(2 * BAR.start + 8, None)
        wanted = self.high[bar].astype(float) + 25
        self.assertLess(mse(self.overlay.correct(bright, made)[bar], wanted), 0.2 * mse(made[bar], wanted))

    def test_part_of_it_covered_is_left_alone_there(self):
        covered = self.low.copy()
        covered[BAR.start + 2 : BAR.stop - 2, 40:60] = 235
        made = made_of(self.network, covered)
        corrected = self.overlay.correct(covered, made)
        inside = (slice(2 * (BAR.start + 4), 2 * (BAR.stop - 4)), slice(2 * 44, 2 * 56))
        np.testing.assert_array_equal(corrected[inside], made[inside])
        away = (slice(2 * BAR.start + 8, None), slice(0, 2 * 24))
        self.assertLess(mse(corrected[away], self.high[away]), 0.1 * mse(made[away], self.high[away]))

    def test_it_is_the_same_after_being_written_and_read(self):
        with tempfile.TemporaryDirectory() as folder:
            self.overlay.save(Path(folder) / "overlay.npz")
            again = overlay.load(Path(folder) / "overlay.npz")
        made = made_of(self.network, self.low)
        np.testing.assert_array_equal(again.correct(self.low, made), self.overlay.correct(self.low, made))
        self.assertEqual(again.facts(), self.overlay.facts())


def drawn(rng, frame=(40, 64), scale=2):
    """An Overlay of two boxes that overlap, of noise."""

    def box(at, entries, height, width):
        sizes = (height, width), (height // 4, width // 4), (scale * height, scale * width)
        low, known, picture = ((entries, *size) for size in sizes)
        arrays = (rng.integers(16, 236, low), rng.integers(0, 2, known), rng.integers(16, 236, picture))
        return overlay.Box(at, *(part.astype(np.uint8) for part in (*arrays, rng.integers(0, 256, known))))

    return overlay.Overlay(frame, 90.0, (box((8, 16), 2, 16, 24), box((12, 0), 1, 24, 32)))


class Carried(unittest.TestCase):
    """The text in a model file's metadata."""

    def test_what_is_written_reads_back(self):
        mine = drawn(np.random.default_rng(3))
        again = entry.read(entry.text(mine))
        self.assertEqual((again.frame, again.tolerance), (mine.frame, mine.tolerance))
        for one, other in zip(mine.boxes, again.boxes, strict=True):
            self.assertEqual(one.at, other.at)
            for name in overlay.ARRAYS:
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        self.assertEqual(entry.text(again), entry.text(mine))

    def test_its_bytes_are_those_that_the_edge_reads(self):
        mine = drawn(np.random.default_rng(3))
        data = zlib.decompress(base64.b64decode(entry.text(mine)))
        length = int.from_bytes(data[:4], "little")
        header = (
            '{"block": 4, "boxes": [{"at": [8, 16], "entries": 2, "size": [16, 24]}, '
            '{"at": [12, 0], "entries": 1, "size": [24, 32]}], "frame": [40, 64], "middle": 128, "reach": 4, '
            '"scale": 2, "tolerance": 90.0, "version": 1}'
        )
        self.assertEqual(data[4 : 4 + length].decode(), header)
        parts = [getattr(box, name).tobytes() for box in mine.boxes for name in ("low", "known", "picture", "kept")]
        self.assertEqual(data[4 + length :], b"".join(parts))

    def test_what_is_none_is_refused(self):
        held = entry.text(drawn(np.random.default_rng(3)))
        data = zlib.decompress(base64.b64decode(held))
        packed = [
            base64.b64encode(zlib.compress(wrong)).decode()
            for wrong in (b"", data[:-1], data + b"x", data.replace(b'"version": 1', b'"version": 2'))
        ]
        for wrong in ("", "no base64!", held[:40], *packed):
            with self.subTest(wrong[:12]), self.assertRaises(entry.OverlayError):
                entry.read(wrong)

    def test_the_finished_picture_is_what_its_boxes_say_one_after_the_other(self):
        rng = np.random.default_rng(4)
        mine = drawn(rng)
        luma = rng.integers(16, 236, mine.frame).astype(np.uint8)
        for box in reversed(mine.boxes):
            place = tuple(slice(at, at + side) for at, side in zip(box.at, box.low.shape[1:], strict=True))
            luma[place] = box.low[0]
        made = rng.integers(0, 256, (80, 128)).astype(np.uint8)
        wanted = made.astype(np.float32)
        for box in mine.boxes:
            (y, x), (height, width) = box.at, box.low.shape[1:]
            part = np.s_[2 * y : 2 * (y + height), 2 * x : 2 * (x + width)]
            wanted[part] = wanted[part] + box.correction(luma, wanted[part], mine.tolerance)
        self.assertGreater(np.abs(wanted - made).max(), 50)
        applied = mine.applied(luma, made)
        np.testing.assert_array_equal(applied, np.floor(wanted + np.float32(0.5)).clip(0, 255).astype(np.uint8))
        self.assertIs(mine.applied(luma[:, :60], made), made)


@unittest.skipUnless("export" in globals(), "onnx or onnxruntime is not installed")
class Exported(unittest.TestCase):
    def test_the_file_says_what_the_arrays_say(self):
        for tier, scale, bars in (("s", 2, 1), ("s", 2, 2), ("v10", 2, 1)):
            with self.subTest(tier=tier, scale=scale, bars=bars):
                torch.manual_seed(3)
                network, scenes = networks.build(tier, scale).silence(), Scenes(bars=bars)
                found, _ = fit.found(scenes.seen(network))
                data = export.build(network.collapsed(), {"id": "test"}, found).SerializeToString()
                bare = export.session(export.build(network.collapsed(), {"id": "test"}).SerializeToString())
                session = export.session(data)
                self.assertIsNone(bare.overlay)
                low = scenes.pairs[1][0][1, 2]
                mine = export.upscale(session, low)
                np.testing.assert_array_equal(mine, found.applied(low, export.upscale(bare, low)))
                wanted = np.clip(np.round(found.correct(low, made_of(network, low))), 0, 255)
                self.assertLessEqual(np.abs(mine - wanted).max(), 1)
                self.assertGreater(np.mean(mine != export.upscale(bare, low)), 0.1)
                for other in (low[:40], low[:, :51], np.ascontiguousarray(low.T)):
                    np.testing.assert_array_equal(export.upscale(session, other), export.upscale(bare, other))

    def test_the_graph_is_the_network_alone(self):
        layers = plain().collapsed()
        bare, held = (export.build(layers, {"id": "test"}, one) for one in (None, drawn(np.random.default_rng(3))))
        self.assertEqual(bare.graph, held.graph)
        self.assertEqual([one.key for one in bare.metadata_props], ["id"])
        self.assertEqual([one.key for one in held.metadata_props], [contract.OVERLAY_KEY, "id"])

    def test_training_can_go_on_from_a_model_that_has_one(self):
        network, scenes = plain(), Scenes()
        found, _ = fit.found(scenes.seen(network))
        layers = export.read_layers(export.build(network.collapsed(), {"id": "test"}, found).SerializeToString())
        self.assertEqual([name for name, *_ in layers], [name for name, *_ in network.collapsed()])


if __name__ == "__main__":
    unittest.main()
