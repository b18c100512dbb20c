"""The evidence: arithmetic of rates, tables of raw results, the plan, and figures of known pictures."""

import shutil
import tempfile
import unittest
from pathlib import Path

import numpy as np

from acuity_trainer import contract, media, metrics
from acuity_trainer.evidence import bjontegaard, clips, plan, rows, score, vmaf

from .test_media import textured

# The example in the README of FAU-LMS' `bjontegaard` package, and the one that Python ports of VCEG-M33 carry; expected
# values are what that package's version 1.3.0 gives, which agrees with JVET's sheet to ten digits.
X265 = (
    list(zip([9487.76, 4593.60, 2486.44, 1358.24], [40.037, 38.615, 36.845, 34.851], strict=True)),
    list(zip([9787.80, 4469.00, 2451.52, 1356.24], [40.121, 38.651, 36.970, 34.987], strict=True)),
)
VCEG = (
    list(zip([686.76, 309.58, 157.11, 85.95], [40.28, 37.18, 34.24, 31.42], strict=True)),
    list(zip([893.34, 407.8, 204.93, 112.75], [40.39, 37.21, 34.17, 31.24], strict=True)),
)


class Bjontegaard(unittest.TestCase):
    def test_published_examples(self):
        for curves, pchip, cubic in (
            (X265, -4.417485350589, -4.420462706026),
            (VCEG, 31.379878202398, 31.397374054909),
        ):
            self.assertAlmostEqual(bjontegaard.delta_rate(*curves), pchip, 7)
            self.assertAlmostEqual(bjontegaard.delta_rate(*curves, method="cubic"), cubic, 7)

    def test_the_curve_is_scipys_pchip(self):
        curve = bjontegaard.Pchip([0, 1, 2.5, 3, 7], [0, 2, 2.1, 5, 5.5])
        expected = [0.6960493119266, 2.0449739315471, 2.4064686804451, 5.4127858627859, 5.4998717060811]
        np.testing.assert_allclose(curve([0.25, 1.7, 2.6, 5, 6.9]), expected, rtol=1e-12)

    def test_its_integral_is_its_sum(self):
        curve = bjontegaard.Pchip([31, 33.5, 35, 38], [2.0, 2.4, 2.5, 3.3])
        at = np.linspace(31.5, 37, 200_001)
        self.assertAlmostEqual(curve.integral(31.5, 37), float(np.trapz(curve(at), at)), 7)

    def test_half_the_rate_everywhere_is_minus_fifty(self):
        half = [(rate / 2, quality) for rate, quality in VCEG[0]]
        self.assertAlmostEqual(bjontegaard.delta_rate(VCEG[0], half), -50.0, 9)
        percent, _, there, here = bjontegaard.best_point(VCEG[0], half)
        self.assertAlmostEqual(percent, -50.0, 6)
        self.assertAlmostEqual(here * 2, there, 6)

    def test_curves_that_never_meet_in_quality_give_nothing(self):
        far = [(rate, quality + 20) for rate, quality in VCEG[0]]
        self.assertIsNone(bjontegaard.delta_rate(VCEG[0], far))
        self.assertIsNone(bjontegaard.best_point(VCEG[0], far))
        with self.assertRaises(ValueError):
            bjontegaard.rate_at(VCEG[0], 99.0)

    def test_a_point_that_costs_more_for_less_is_left_out(self):
        worse = [*VCEG[0], (400.0, 36.0)]
        self.assertAlmostEqual(bjontegaard.rate_at(worse, 36.0), bjontegaard.rate_at(VCEG[0], 36.0), 9)


class Rows(unittest.TestCase):
    def row(self, **more):
        return {
            "clip": "a",
            "protocol": "coded",
            "scale": 2,
            "kbps": 600,
            "every": 1,
            "method": "lanczos",
            "psnr_db": 30.123456,
            **more,
        }

    def test_what_is_written_is_what_is_read(self):
        with tempfile.TemporaryDirectory() as folder:
            table = rows.Table(rows.QUALITY, folder)
            put = table.put(self.row(vmaf=None))
            table.put(self.row(method="bicubic"))
            again = rows.Table(rows.QUALITY, folder)
            self.assertEqual(len(again), 2)
            self.assertEqual(again.get(**{key: put[key] for key in rows.QUALITY["key"]}), put)
            self.assertEqual((put["psnr_db"], put["vmaf"]), (30.1235, None))

    def test_a_new_digest_replaces_the_row(self):
        with tempfile.TemporaryDirectory() as folder:
            table = rows.Table(rows.QUALITY, folder)
            table.put(self.row(graph_sha256="aa"))
            table.put(self.row(graph_sha256="bb", psnr_db=31.0))
            self.assertEqual([row["graph_sha256"] for row in rows.Table(rows.QUALITY, folder)], ["bb"])


class Plan(unittest.TestCase):
    def test_names_say_what_a_model_is(self):
        named = plan.model("freedoom-x3-v10-clean")
        self.assertEqual((named.cluster, named.scale, named.tier, named.trained_for), ("freedoom", 3, "v10", "clean"))
        self.assertEqual(named.generic, "generic-x3-v10-clean")
        for wrong in ("freedoom", "freedoom-x5-s", "freedoom-x2-xl", "Free-x2-s"):
            with self.assertRaises(plan.PlanError):
                plan.model(wrong)

    def test_the_shipped_plan_covers_what_the_document_claims(self):
        whole = plan.load()
        coded = {
            kbps
            for run in whole.runs
            if run.protocol == "coded" and run.scale == 2 and "freedoom1_demo2" in run.clips and run.every == 1
            for kbps in run.kbps
        }
        self.assertLessEqual({150, 300, 600, 1000, 1500}, coded)
        clean = {run.scale for run in whole.runs if run.protocol == "clean"}
        self.assertEqual(clean, {2, 3, 4})
        tiers = {plan.model(name).tier for run in whole.runs for name in run.models}
        self.assertEqual(tiers, set(contract.TIERS))

    def test_categories_are_apart(self):
        whole = plan.load()
        test, seen = whole.clips["freedoom1_demo2"], whole.clips["freedoom1_e2m1"]
        self.assertEqual(test.category("freedoom"), "same_cluster")
        self.assertEqual(test.category("generic"), "generic")
        self.assertEqual(test.category("openttd"), "other")
        self.assertEqual(seen.category("freedoom"), "seen")

    def test_faults_are_named(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "plan.toml"
            clip = '[[clip]]\nname = "a"\npath = "a.mp4"\ncluster = ""\nsays = ""\n'
            for run, told in (
                ('protocol = "odd"\nclips = ["a"]\nmodels = []', "protocol"),
                ('protocol = "clean"\nclips = ["b"]\nmodels = []', "no clip b"),
                ('protocol = "coded"\nclips = ["a"]\nmodels = []', "kbps"),
                ('protocol = "clean"\nclips = ["a"]\nmodels = ["generic-x3-s"]', "scale"),
            ):
                path.write_text(f"{clip}[[run]]\n{run}\n", encoding="utf-8")
                with self.assertRaisesRegex(plan.PlanError, told):
                    plan.load(path)


class Figures(unittest.TestCase):
    def test_an_error_that_stands_still_does_not_flicker(self):
        high = textured(6)
        still = score.Score()
        for plane in high:
            still.add(plane + 3, plane)
        told = still.figures()
        self.assertAlmostEqual(told["psnr_db"], metrics.psnr(9.0), 9)
        self.assertEqual((told["flicker"], told["temporal_db"], told["frames"]), (0.0, 99.0, 6))

    def test_noise_that_is_new_in_every_picture_flickers_in_full(self):
        high, rng = textured(12), np.random.default_rng(0)
        noisy = score.Score()
        for plane in high:
            noisy.add((plane + rng.integers(-4, 5, plane.shape)).astype(np.uint8), plane)
        told = noisy.figures()
        self.assertAlmostEqual(told["flicker"], 1.0, 1)
        self.assertAlmostEqual(told["psnr_db"] - told["temporal_db"], 3.01, 1)

    @unittest.skipUnless(shutil.which("ffmpeg"), "there is no ffmpeg command")
    def test_plain_scalers_in_parts_are_the_scaler_as_a_whole(self):
        low = media.frames_from_luma(
            np.concatenate([textured(12, seed=seed) for seed in range(score.CHUNK_FRAMES // 12 + 1)])
        )
        whole = media.scale(low, 256, 192, "lanczos").luma
        np.testing.assert_array_equal(np.stack(list(score.plain(low, 256, 192, "lanczos"))), whole)
        np.testing.assert_array_equal(np.stack(list(score.plain(low, 256, 192, "lanczos", 7))), whole[::7])

    def test_a_cut_keeps_chroma_beside_its_luma(self):
        rng = np.random.default_rng(1)
        frames = media.Frames(rng.integers(0, 256, (2, 32 * 20 * 3 // 2), dtype=np.uint8), 32, 20)
        cut = clips.cropped(frames, 6)
        self.assertEqual((cut.width, cut.height), (30, 18))
        np.testing.assert_array_equal(cut.luma, frames.luma[:, :18, :30])
        u = frames.raw[:, 640:800].reshape(2, 10, 16)[:, :9, :15]
        np.testing.assert_array_equal(cut.raw[:, 540 : 540 + 135].reshape(2, 9, 15), u)


def vmaf_is_here():
    """Whether FFmpeg with libvmaf is installed."""
    try:
        return bool(vmaf.executable())
    except vmaf.VmafError:
        return False


@unittest.skipUnless(vmaf_is_here(), "imageio-ffmpeg is not installed (requirements-evidence.lock)")
class Vmaf(unittest.TestCase):
    def judge(self, pictures, high):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "high.yuv"
            media.frames_from_luma(high).raw.tofile(path)
            with vmaf.Judge(path, high.shape[2], high.shape[1]) as judge:
                return score.judged(pictures, high, judge)

    def test_the_same_pictures_are_perfect_and_the_neighbours_are_not(self):
        high = textured(6, 192, 256)
        same = self.judge(high, high)
        self.assertGreater(same["vmaf"], 95)
        self.assertEqual((same["ssim"], same["psnr_db"]), (1.0, 99.0))
        shifted = self.judge(np.roll(high, 1, axis=0), high)
        self.assertLess(shifted["vmaf"], same["vmaf"] - 20)

    def test_ssim_is_the_trainers_own(self):
        high = textured(4, 192, 256)
        soft = media.scale(media.scale(media.frames_from_luma(high), 128, 96), 256, 192).luma
        told = self.judge(soft, high)
        mine = np.mean([metrics.ssim(a, b) for a, b in zip(soft, high, strict=True)])
        self.assertAlmostEqual(told["ssim"], float(mine), 3)

    def test_neg_gives_less_for_sharpening(self):
        high = textured(4, 192, 256)
        centre = high.astype(np.float32)
        blurred = (np.roll(centre, 1, 2) + np.roll(centre, -1, 2) + np.roll(centre, 1, 1) + np.roll(centre, -1, 1)) / 4
        sharp = np.clip(centre + 0.6 * (centre - blurred), 16, 235).astype(np.uint8)
        told = self.judge(sharp, high)
        self.assertLess(told["vmaf_neg"], told["vmaf"])

    def test_a_picture_of_another_size_is_refused(self):
        with vmaf.Judge("/dev/null", 256, 192) as judge, self.assertRaisesRegex(vmaf.VmafError, "agreed"):
            judge.add(np.zeros((96, 256), np.uint8))


if __name__ == "__main__":
    unittest.main()
