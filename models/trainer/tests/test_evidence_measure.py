"""The matrix is filled once: real clips, networks and figures, small ones."""

import shutil
import tempfile
import unittest
from pathlib import Path

import numpy as np

try:
    import onnx

    from acuity_trainer.evidence import clips, crops, measure, plan, rows, vmaf

    vmaf.executable()
except ImportError as missing:
    raise unittest.SkipTest(f"{missing}: requirements.lock and requirements-evidence.lock have it") from missing
except vmaf.VmafError as missing:
    raise unittest.SkipTest(str(missing)) from missing

from acuity_trainer import catalogue, media

from .test_media import textured

ZOO = Path(__file__).resolve().parents[2] / "zoo"
PLAN = """
[[clip]]
name = "mine"
path = "mine.mkv"
cluster = "freedoom"
says = "texture"

[[run]]
protocol = "coded"
clips = ["mine"]
kbps = [200]
native = true
models = ["generic-x2-s", "freedoom-x2-s"]

[[run]]
protocol = "clean"
clips = ["mine"]
every = 3
models = ["generic-x2-s-clean"]

[[crops]]
clip = "mine"
kbps = 200
models = ["generic-x2-s", "freedoom-x2-s"]
windows = [[0, 0, 0], [5, 64, 16]]
"""


@unittest.skipUnless(shutil.which("ffmpeg"), "there is no ffmpeg command")
@unittest.skipUnless((ZOO / "generic-x2-s.onnx").exists(), "the zoo has no generic-x2-s")
class Matrix(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.shared, self.models = self.folder / "shared", self.folder / "models"
        # A zoo of the test's own: what ships besides the generic network must not change what is measured here.
        self.zoo = self.folder / "zoo"
        for folder in (self.shared, self.models, self.zoo):
            folder.mkdir()
        shutil.copy(ZOO / "generic-x2-s.onnx", self.zoo)
        high = media.frames_from_luma(textured(10, 192, 256))
        media.encode_file(high, media.Encode(crf=6, preset="veryfast"), self.shared / "mine.mkv")
        (self.folder / "plan.toml").write_text(PLAN, encoding="utf-8")
        self.plan = plan.load(self.folder / "plan.toml")
        self.said = []

    def tools(self):
        store = clips.Store(self.folder / "work", self.shared)
        return measure.Tools(store, (self.models,), self.zoo, say=self.said.append)

    def run_plan(self):
        return measure.run_plan(self.plan, self.folder, self.tools())

    def table(self):
        return rows.Table(rows.QUALITY, self.folder)

    def put_model(self, name, note="", nudge=0.0):
        """The zoo's generic network under another name, with other metadata or with other weights."""
        model = onnx.load(ZOO / "generic-x2-s.onnx")
        entry = model.metadata_props.add()
        entry.key, entry.value = "note", note
        bias = next(one for one in model.graph.initializer if one.name == "skip.bias")
        values = onnx.numpy_helper.to_array(bias) + np.float32(nudge)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        (self.models / f"{name}.onnx").write_bytes(model.SerializeToString())

    def test_it_is_filled_once_and_only_what_changed_is_measured_again(self):
        self.assertEqual(self.run_plan(), (6, True))
        row = self.table().get(clip="mine", protocol="coded", scale=2, kbps=200, every=1, method="generic-x2-s")
        self.assertEqual((row["frames"], row["category"]), (10, "generic"))
        self.assertGreater(row["psnr_db"], 20)
        self.assertTrue(all(row[field] is not None for field in ("ssim", "vmaf", "vmaf_neg", "temporal_db", "flicker")))
        sparse = self.table().get(clip="mine", protocol="clean", scale=2, kbps=0, every=3, method="lanczos")
        self.assertEqual((sparse["frames"], sparse["vmaf"], sparse["temporal_db"]), (4, None, None))
        wanted = [key["method"] for key in measure.missing(self.plan, self.table())]
        self.assertEqual(wanted, ["freedoom-x2-s", "generic-x2-s-clean"])

        self.assertEqual(self.run_plan(), (0, True))
        self.put_model("freedoom-x2-s")
        self.assertEqual(self.run_plan(), (1, True))
        before = self.table().get(clip="mine", protocol="coded", scale=2, kbps=200, every=1, method="freedoom-x2-s")
        self.assertEqual((before["psnr_db"], before["category"]), (row["psnr_db"], "same_cluster"))

        self.put_model("freedoom-x2-s", note="told otherwise")
        self.assertEqual(self.run_plan(), (0, True))
        self.put_model("freedoom-x2-s", nudge=3.0)
        self.assertEqual(self.run_plan(), (1, True))
        after = self.table().get(clip="mine", protocol="coded", scale=2, kbps=200, every=1, method="freedoom-x2-s")
        self.assertLess(after["psnr_db"], before["psnr_db"])

    def test_clean_networks_do_not_come_from_the_zoo(self):
        (self.zoo / "generic-x2-s-clean.onnx").write_bytes((ZOO / "generic-x2-s.onnx").read_bytes())
        tools = measure.Tools(None, (), self.zoo)
        self.assertIsNone(measure.find_model("generic-x2-s-clean", tools))

    def test_time_runs_out_between_cells(self):
        written, finished = measure.run_plan(self.plan, self.folder, self.tools(), seconds=1e-9)
        self.assertEqual((written, finished), (0, False))

    def test_costs_come_from_the_catalogue(self):
        table = measure.read_costs(self.folder, ZOO)
        entries = [e for e in catalogue.read(ZOO / "catalogue.toml") if catalogue.task_of(e) == catalogue.UPSCALE]
        known = {(entry["tier"], entry["scale"]) for entry in entries}
        self.assertEqual({(row["tier"], row["scale"]) for row in table}, known)

    def test_a_sheet_shows_what_is_there(self):
        self.run_plan()
        crops.draw_all(self.plan, self.folder, self.tools())
        from PIL import Image

        with Image.open(self.folder / "crops-mine.png") as sheet:
            across = crops.WIDTH * crops.TIMES + crops.GAP
            self.assertEqual(sheet.width, 3 * across - crops.GAP)
            grey = np.asarray(sheet)
        reference = next(iter(self.tools().store.high(self.plan.clips["mine"], 2).frames.luma))
        shown = crops.shown(reference[: crops.HEIGHT, : crops.WIDTH])
        np.testing.assert_array_equal(grey[crops.HEAD : crops.HEAD + shown.shape[0], : shown.shape[1]], shown)


if __name__ == "__main__":
    unittest.main()
