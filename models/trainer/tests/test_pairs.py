"""Which renditions are taken for the same video, and which are refused, with what reason."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

from acuity_trainer import decode, material, pairs, spans, testlist

from . import renditions

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def moving(count=60, height=24, width=40, seed=0):
    """Block means of a picture that moves: float16 [count, height, width]."""
    rng = np.random.default_rng(seed)
    big = np.kron(rng.uniform(30, 220, (height // 2 + count, width // 2 + count)), np.ones((2, 2)))
    return np.stack([big[i // 2 : i // 2 + height, i : i + width] for i in range(count)]).astype(np.float16)


def features(low, high, fps=15.0):
    told = pairs.Features()
    told.times_s = [index / fps for index in range(len(low))]
    told.low, told.high = list(low), list(high)
    return told


def noisy(means, codes=1.5, seed=1):
    return (means + np.random.default_rng(seed).normal(0, codes, means.shape)).astype(np.float16)


class Pairing(unittest.TestCase):
    def step(self, lows, highs, tolerance_s=0.02):
        return list(pairs.in_step(iter([(t, "l") for t in lows]), iter([(t, "h") for t in highs]), tolerance_s))

    def test_time_bases_apart_pair_one_to_one(self):
        lows = [round(i / 30 * 90000) / 90000 for i in range(300)]
        highs = [round(i / 30 * 1000) / 1000 for i in range(300)]
        self.assertEqual(len(self.step(lows, highs, 0.5 / 30)), 300)

    def test_a_missing_picture_costs_one_pair_and_shifts_nothing(self):
        lows = [i / 25 for i in range(100)]
        highs = lows[:40] + lows[41:]
        found = self.step(lows, highs)
        self.assertEqual(len(found), 99)
        self.assertNotIn(40 / 25, [time_s for time_s, _, _ in found])

    def test_who_stayed_alone_is_counted(self):
        stepped = pairs.in_step(iter([(0.0, 0), (1.0, 0), (2.0, 0)]), iter([(1.0, 0)]), 0.1)
        with self.assertRaises(StopIteration) as over:
            next(stepped)
            next(stepped)
        self.assertEqual(over.exception.value, (2, 0))

    def test_sizes(self):
        def stream(width, height):
            return decode.Stream(width, height, 25.0, 1.0, 0.0)

        self.assertEqual(pairs.check_sizes(stream(426, 240), stream(1280, 720), 3), (1278, 720))
        for low, high, scale, why in (
            ((640, 480), (1280, 720), 2, "other shapes"),
            ((640, 360), (1920, 1080), 2, "give --scale 3"),
            ((320, 180), (1920, 1080), 2, "give other renditions"),
            ((641, 361), (1282, 722), 2, "odd sizes"),
        ):
            with self.subTest(why), self.assertRaisesRegex(pairs.RefusedError, why):
                pairs.check_sizes(stream(*low), stream(*high), scale)

    def test_block_means_are_means(self):
        luma = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)
        means = pairs.block_means(luma, 16)
        self.assertEqual(means.shape, (3, 4))
        self.assertAlmostEqual(float(means[2, 3]), luma[32:48, 48:64].mean(), delta=0.1)


class Judging(unittest.TestCase):
    def refused(self, low, high):
        with self.assertRaises(pairs.RefusedError) as told:
            pairs.examine(features(low, high), 320)
        return told.exception

    def test_the_same_video_badly_compressed_is_taken(self):
        high = moving()
        verdict = pairs.examine(features(noisy(high, 3.0), high), 320)
        self.assertTrue(verdict.good.all())
        self.assertEqual(verdict.dropped, ())

    def test_other_video_is_refused_with_figures(self):
        error = self.refused(moving(), moving(seed=9))
        self.assertEqual(error.reason, "unrelated")
        self.assertRegex(str(error), r"0% of \d+ windows match, median correlation -?0\.\d\d, \d+\.\d dB")

    def test_every_offset_is_found_with_its_sign_and_size(self):
        whole = moving(120)
        for lag in (-20, -3, -1, 1, 2, 15):
            with self.subTest(lag=lag):
                start = 30
                low, high = whole[start : start + 60], whole[start - lag : start - lag + 60]
                error = self.refused(noisy(low), high)
                self.assertEqual((error.reason, error.lag_frames), ("offset", lag))

    def test_half_of_the_time_late_is_not_an_exact_offset(self):
        whole = moving(120)
        high = np.concatenate([whole[30:50], whole[44:84]])
        error = self.refused(whole[30:90], high)
        self.assertEqual((error.reason, error.lag_frames), ("offset", 0))

    def test_a_logo_is_found_where_it_is(self):
        high = moving()
        low = noisy(high)
        low[:, 2:4, 33:37] = 235
        error = self.refused(low, high)
        self.assertEqual(error.reason, "overlay")
        self.assertIn("32x16 low pixels at x 264, y 16", str(error))

    def test_bars_and_levels(self):
        high = moving()
        low = noisy(high)
        low[:, :3] = 16
        low[:, -3:] = 16
        self.assertEqual(self.refused(low, high).reason, "letterbox")
        self.assertEqual(self.refused((16 + high * (219 / 255)).astype(np.float16), high).reason, "levels")

    def test_an_advertisement_is_left_out_and_the_rest_is_used(self):
        high = moving(150)
        low = noisy(high)
        low[45:75] = moving(30, seed=4)
        verdict = pairs.examine(features(low, high), 320)
        self.assertEqual(verdict.dropped, ((3.0, 74 / 15),))
        self.assertTrue(verdict.good[:45].all() and verdict.good[75:].all())
        self.assertFalse(verdict.good[45:75].any())

    def test_single_pictures_out_of_step_are_left_out(self):
        high = moving(90)
        low = noisy(high)
        low[40] = low[39]
        verdict = pairs.examine(features(low, high), 320)
        self.assertFalse(verdict.good[40])
        self.assertGreater(verdict.good.sum(), 85)

    def test_fades_and_stills_are_no_evidence_against(self):
        high = moving()
        high[20:40] = 16
        verdict = pairs.examine(features(noisy(high, 0.5), high), 320)
        self.assertTrue(verdict.good.all())
        still = np.repeat(moving(1), 60, 0)
        self.assertTrue(pairs.examine(features(noisy(still), still), 320).good.all())


@unittest.skipUnless(renditions.HAVE_FFMPEG, "there is no ffmpeg command")
class RealFiles(unittest.TestCase):
    """Through FFmpeg, libx264 and back: what `learn` does before it trains."""

    def prepare(self, folder, low, high, **more):
        sources = (spans.Files(str(low), str(high)),)
        return material.prepare(sources, 2, Path(folder) / "material", say=lambda _: None, **more)

    def test_reasons(self):
        cases = {
            "offset": {"high": f"setpts=PTS+3/{renditions.FPS}/TB,tpad=start=3"},
            "overlay": {"high": "drawbox=x=320:y=16:w=48:h=32:color=white:t=fill"},
            "levels": {"low": "lutyuv=y=val*0.85+16"},
            "letterbox": {"low": "scale=384:192,pad=384:256:0:32"},
        }
        for reason, filters in cases.items():
            with self.subTest(reason), tempfile.TemporaryDirectory() as folder:
                files = renditions.pair(folder, **filters)
                with self.assertRaises(pairs.RefusedError) as told:
                    self.prepare(folder, *files)
                self.assertEqual(told.exception.reason, reason, str(told.exception))
                self.assertFalse((Path(folder) / "material" / "manifest.json").exists())

    def test_an_unrelated_pair_and_another_frame_rate(self):
        with tempfile.TemporaryDirectory() as folder:
            low, high = renditions.pair(folder)
            other = renditions.video(Path(folder) / "other.mp4", kind=renditions.OTHER)
            with self.assertRaises(pairs.RefusedError) as told:
                self.prepare(folder, low, other)
            self.assertEqual(told.exception.reason, "unrelated")
            fast = renditions.video(Path(folder) / "fast.mp4", fps=25)
            with self.assertRaisesRegex(pairs.RefusedError, "low 15.00, high 25.00"):
                self.prepare(folder, low, fast)

    def test_an_exact_offset_can_be_corrected(self):
        with tempfile.TemporaryDirectory() as folder:
            late = f"tpad=start=3:start_mode=clone,trim=end_frame={8 * renditions.FPS}"
            low, high = renditions.pair(folder, high=late)
            manifest = self.prepare(folder, low, high, correct_offset=True)
            self.assertEqual(manifest["sources"][0]["corrected_frames"], 3)
            self.assertGreater(manifest["sources"][0]["correlation"], 0.99)

    def test_a_full_disk_is_told_before_anything_is_decoded(self):
        with tempfile.TemporaryDirectory() as folder:
            low, high = renditions.pair(folder, seconds=6)
            usage = mock.Mock(return_value=mock.Mock(free=1_000_000))
            with (
                mock.patch.object(material.shutil, "disk_usage", usage),
                self.assertRaisesRegex(material.MaterialError, "0.0 GB are free: make room"),
            ):
                self.prepare(folder, low, high)

    def test_containers_that_begin_at_other_times(self):
        with tempfile.TemporaryDirectory() as folder:
            low, high = renditions.pair(folder)
            moved = Path(folder) / "high.ts"
            renditions.ffmpeg("-i", high, "-c", "copy", "-muxdelay", "0.7", moved)
            manifest = self.prepare(folder, low, moved)
            self.assertEqual(manifest["sources"][0]["corrected_frames"], 0)
            self.assertGreaterEqual(manifest["sources"][0]["pictures"], 8 * renditions.FPS - 2)


    def test_ladders_of_both_containers_and_encrypted_ones(self):
        heights = renditions.LOW[1], renditions.HIGH[1]
        for container, encrypted in (("mpegts", False), ("fmp4", False), ("mpegts", True)):
            with self.subTest(container, encrypted=encrypted), tempfile.TemporaryDirectory() as folder:
                folder, key = Path(folder), None
                if encrypted:
                    key = folder / "info"
                    (folder / "k").write_bytes(bytes(range(16)))
                    key.write_text(f"{folder}/k\n{folder}/k\n", encoding="utf-8")
                master = renditions.ladder(folder / "origin", 6, container, key=key)
                source = spans.Ladder(str(master), *heights)
                manifest = material.prepare((source,), 2, folder / "m", say=lambda _: None)
                self.assertEqual(manifest["sources"][0]["pictures"], 6 * renditions.FPS)
                self.assertEqual(manifest["trained_pictures"], 4 * renditions.FPS)


@unittest.skipUnless((SHARED / "hls" / "ocean").is_dir(), "the shared data are not there")
class RealLadders(unittest.TestCase):
    def test_renditions_of_two_streams_are_refused(self):
        home = SHARED / "hls"
        with tempfile.TemporaryDirectory() as folder:
            joined = Path(folder) / "low.ts"
            joined.write_bytes(b"".join((home / "ocean/360p" / f"seg_{i:03d}.ts").read_bytes() for i in range(4)))
            unrelated = spans.Files(str(joined), str(SHARED / "video" / "cockatoo_720p20.mp4"))
            with self.assertRaises((pairs.RefusedError, testlist.TestMaterialError)):
                material.prepare((unrelated,), 2, Path(folder) / "m", say=lambda _: None)
            with self.assertRaises(pairs.RefusedError) as told:
                material.prepare((unrelated,), 2, Path(folder) / "m", only="all", say=lambda _: None)
            self.assertIn(told.exception.reason, ("frame rate", "unrelated"))


if __name__ == "__main__":
    unittest.main()
