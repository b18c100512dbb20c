"""Networks in 8-bit integers: the contract, what they lose, and that too much of it is not published."""

import contextlib
import hashlib
import io
import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

from acuity_trainer import __main__ as program
from acuity_trainer import catalogue, commands, contract, corpus, records

try:
    import onnx
    import onnxruntime  # noqa: F401

    from acuity_trainer import export, int8, networks, overlay, quantise
except ImportError as missing:
    onnx, WHY = None, f"onnx, onnxruntime and PyTorch are needed ({missing}); see requirements.lock"
else:
    WHY = ""

ZOO = Path(__file__).resolve().parents[2] / "zoo"
LOW = (72, 96)


def scene(seed, scale=2):
    """(low, high) uint8 of one picture: smooth shades, edges and fine detail, halved by averages, a little noise."""
    rng = np.random.default_rng(seed)
    height, width = (scale * side for side in LOW)
    y, x = np.mgrid[:height, :width]
    high = 110 + 60 * np.sin(y / rng.uniform(15, 40) + x / rng.uniform(15, 40))
    for _ in range(12):
        top, left = rng.integers(0, height - 8), rng.integers(0, width - 8)
        high[top : top + rng.integers(4, 50), left : left + rng.integers(4, 60)] = rng.integers(20, 230)
    high[height // 2 :, : width // 3] += 25 * np.sin(x[height // 2 :, : width // 3] * 1.3)
    high = np.clip(high, 16, 235)
    low = high.reshape(LOW[0], scale, LOW[1], scale).mean((1, 3)) + rng.normal(0, 1.5, LOW)
    return np.clip(np.round(low), 0, 255).astype(np.uint8), np.round(high).astype(np.uint8)


def seen(seeds=range(6)):
    return quantise.Calibration(tuple(scene(seed)[0] for seed in seeds), "ab" * 32)


# What a cluster never looks like: nothing is left of brighter pictures.
def dark():
    return quantise.Calibration((np.full(LOW, 16, np.uint8),), "00" * 32)


def unseen(count=4):
    return [(f"clip{seed}", [scene(seed)]) for seed in range(50, 50 + count)]


@unittest.skipIf(onnx is None, WHY)
class Made(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.exact = (ZOO / "generic-x2-s.onnx").read_bytes()
        cls.integer = quantise.of(cls.exact, seen())

    def test_it_keeps_the_contract(self):
        for scale in contract.SCALES:
            with self.subTest(scale=scale):
                exact = (ZOO / f"generic-x{scale}-s.onnx").read_bytes()
                run = export.runtime(quantise.of(exact, seen()))
                (given,), (got,) = run.get_inputs(), run.get_outputs()
                self.assertEqual((given.name, given.type), (contract.INPUT_NAME, "tensor(uint8)"))
                self.assertEqual((got.name, got.type), (contract.OUTPUT_NAME, "tensor(uint8)"))
                pictures = np.random.default_rng(1).integers(0, 256, (2, 1, 37, 41), np.uint8)
                both = run.run(None, {contract.INPUT_NAME: pictures})[0]
                self.assertEqual((both.shape, both.dtype), ((2, 1, scale * 37, scale * 41), np.uint8))
                np.testing.assert_array_equal(run.run(None, {contract.INPUT_NAME: pictures[1:]})[0][0], both[1])

    def test_all_layers_are_integers(self):
        model = onnx.load_from_string(self.integer)
        held = {entry.name: entry.data_type for entry in model.graph.initializer if entry.dims and len(entry.dims) == 4}
        self.assertEqual(set(held.values()), {onnx.TensorProto.INT8})
        self.assertEqual(len(held), 7)
        self.assertLess(len(self.integer), 0.5 * len(self.exact))
        self.assertLessEqual(model.opset_import[0].version, contract.OPSET)

    def test_the_interpolation_keeps_the_sums_of_its_kernels(self):
        for scale in contract.SCALES:
            exact = (ZOO / f"generic-x{scale}-s.onnx").read_bytes()
            weight = next(weight for name, weight, _ in export.read_layers(exact) if name == "skip")
            integers, scales = quantise.interpolation(weight)
            made = integers * scales[:, None, None, None].astype(np.float64)
            np.testing.assert_allclose(made.sum((1, 2, 3)), weight.sum((1, 2, 3), dtype=np.float64), rtol=1e-6)
            self.assertLess(np.abs(made - weight).max(), 1.01 * scales.max())
            self.assertLessEqual(np.abs(integers.astype(int)).max(), 127)

    def test_it_loses_next_to_nothing(self):
        judged = int8.verdict(int8.measured(unseen(), self.exact, self.integer))
        self.assertTrue(judged.good, judged)
        pictures = [(low, export.upscale(export.session(self.exact), low)) for _, ((low, _),) in unseen()]
        for _, (same, near) in int8.measured([("all", pictures)], self.exact, self.integer).items():
            self.assertEqual(same, 99.0)
            self.assertGreater(near, 45.0)

    def test_scales_from_other_pictures_are_found_out(self):
        judged = int8.verdict(int8.measured(unseen(), self.exact, quantise.of(self.exact, dark())))
        self.assertFalse(judged.good, judged)
        self.assertGreater(judged.worst_db, 0.5)
        self.assertIn("not published", judged.told("x"))

    def test_one_clip_that_loses_is_enough(self):
        parts = {"a": (30.0, 30.0), "b": (30.0, 30.1), "c": (30.0, 29.94)}
        judged = int8.verdict(parts)
        self.assertEqual((judged.good, judged.worst), (False, "c"))
        self.assertLess(judged.loss_db, 0.0)
        self.assertTrue(int8.verdict(parts | {"c": (30.0, 29.96)}).good)

    def test_the_same_pictures_give_the_same_bytes(self):
        self.assertEqual(quantise.of(self.exact, seen()), self.integer)
        self.assertNotEqual(quantise.of(self.exact, seen(range(3))), self.integer)

    def test_metadata_goes_along_and_says_what_it_was_made_from(self):
        shape = (1, *LOW), (1, 18, 24), (1, 144, 192), (1, 18, 24)
        held = overlay.Overlay(LOW, 30.0, (overlay.Box((0, 0), *(np.ones(one, np.uint8) for one in shape)),))
        data = export.build(networks.build("s").collapsed(), {"id": "test", "tier": "s"}, held).SerializeToString()
        mine, made = (export.metadata_of(one) for one in (data, quantise.of(data, seen())))
        self.assertIn(contract.OVERLAY_KEY, mine)
        self.assertEqual(made.pop("quantised"), '{"corpus": "' + "ab" * 32 + '", "pictures": 6}')
        self.assertEqual(made, mine)

    def test_a_vdsr_stays_as_it_is(self):
        said = []
        data = export.build(networks.build("v10").collapsed(), {"id": "test"}).SerializeToString()
        self.assertIsNone(int8.made("test", data, seen(), said.append))
        self.assertIn("VDSR", said[0])


@unittest.skipIf(onnx is None, WHY)
class Told(unittest.TestCase):
    """The catalogue's table and the record's paragraph."""

    def test_what_is_written_reads_back(self):
        entry = {"id": "m", "cluster": "c", "scale": 2, "tier": "s", "measured": {"gain_db": 1.0}}
        for loss_db, told in ((0.01234, 0.0123), (-0.004, -0.004), (-0.00001, 0.0), (0.00004, 0.0), (0.0, 0.0)):
            judged = int8.Verdict(loss_db, 0.02, "clip", 3)
            entry["int8"] = int8.table("m", b"bytes", judged, 7.25)
            with tempfile.TemporaryDirectory() as folder:
                catalogue.write(Path(folder) / "catalogue.toml", [entry])
                catalogue.write(Path(folder) / "catalogue.toml", [])
                (found,) = catalogue.read(Path(folder) / "catalogue.toml")
            self.assertEqual(
                found["int8"],
                {
                    "file": "m.int8.onnx",
                    "sha256": hashlib.sha256(b"bytes").hexdigest(),
                    "loss_db": told,
                    "ms_per_frame": 7.2,
                },
            )
            text = catalogue.entry_toml(entry)
            self.assertLess(text.index("tier ="), text.index("[model.int8]"))
            self.assertLess(text.index("[model.int8]"), text.index("[model.measured]"))

    def test_an_older_file_that_is_not_named_goes(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "m.int8.onnx").write_bytes(b"old")
            entry = {"id": "m", "cluster": "c", "scale": 2, "tier": "s", "measured": {}}
            catalogue.put(folder, entry, {"records/m.md": b"text"})
            self.assertEqual(sorted(path.name for path in Path(folder).rglob("*.*")), ["catalogue.toml", "m.md"])

    def test_the_paragraph_is_replaced_not_repeated(self):
        text = "# m\n\n12 parameters;\nSHA-256 of the file: `ab`.\n\n## Measured\n\nMuch.\n"
        entry = {"int8": {"file": "m.int8.onnx", "sha256": "cd" * 32}}
        facts = {"pictures": 24, "corpus": "ef" * 32}
        first = records.with_int8(text, records.int8_line(entry, int8.Verdict(0.01, 0.02, "clip", 3), facts))
        self.assertIn("+0.010 dB of luma PSNR against the file above (mean over 3 clips; +0.020 dB in the worst", first)
        none = records.with_int8(first, records.int8_line({}, int8.Verdict(0.01, 0.0712, "clip", 3), facts))
        self.assertIn("it would lose 0.071 dB in clip", none)
        self.assertNotIn("cd" * 32, none)
        again = records.with_int8(none, records.int8_line(entry, int8.Verdict(0.01, 0.02, "clip", 3), facts))
        self.assertEqual(again, first)
        sparse = records.int8_line(entry, int8.Verdict(0.01, 0.02, "clip", 3, 6), facts)
        self.assertIn("(mean over 3 clips, every 6th frame; +0.020 dB", sparse)
        self.assertEqual(first.replace(first.split("\n\n")[2] + "\n\n", ""), text)


@unittest.skipIf(onnx is None, WHY)
class Command(unittest.TestCase):
    """`quantise` of a model that is published."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.zoo = self.folder / "zoo"
        (self.zoo / "records").mkdir(parents=True)
        shutil.copy(ZOO / "generic-x2-s.onnx", self.zoo / "pattern-x2-s.onnx")
        text = (ZOO / "records/generic-x2-s.md").read_text(encoding="utf-8").replace("generic-x2-s", "pattern-x2-s")
        (self.zoo / "records/pattern-x2-s.md").write_text(text, encoding="utf-8")
        (entry,) = (one for one in catalogue.read(ZOO / "catalogue.toml") if one["id"] == "generic-x2-s")
        entry.pop("int8", None)
        named = {"id": "pattern-x2-s", "cluster": "pattern", "file": "pattern-x2-s.onnx"}
        catalogue.write(self.zoo / "catalogue.toml", [entry | named | {"record": "records/pattern-x2-s.md"}])
        for name, seeds in (("corpus", range(8)), ("heldout", range(50, 54))):
            (self.folder / name).mkdir()
            items = []
            for seed in seeds:
                low, high = scene(seed)
                items.append(
                    corpus.store_pairs(self.folder / name, f"clip{seed}", "pair", high[None], [low[None]], [{}], 2)
                )
            corpus.write_index(self.folder / name, items, 2)

    def run_it(self, *more):
        arguments = ["quantise", "pattern-x2-s", "--zoo", self.zoo, "--scratch", self.folder]
        arguments += ["--heldout", self.folder / "heldout", *more]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = program.main([str(one) for one in arguments])
        return code, said.getvalue()

    def entry(self):
        (entry,) = catalogue.read(self.zoo / "catalogue.toml")
        return entry

    def test_a_good_one_is_published_and_a_broken_one_takes_it_away(self):
        before = self.entry()
        code, said = self.run_it("--corpus", self.folder / "corpus")
        self.assertEqual(code, commands.DONE, said)
        told = self.entry()
        data = (self.zoo / told["int8"]["file"]).read_bytes()
        self.assertEqual(hashlib.sha256(data).hexdigest(), told["int8"]["sha256"])
        self.assertLessEqual(told["int8"]["loss_db"], int8.MOST_LOSS_DB)
        self.assertEqual({key: value for key, value in told.items() if key != "int8"}, before)
        record = (self.zoo / told["record"]).read_text(encoding="utf-8")
        self.assertIn(told["int8"]["sha256"], record)

        with mock.patch.object(quantise, "calibration", lambda folder: dark()):
            code, said = self.run_it("--corpus", self.folder / "corpus")
        self.assertEqual(code, commands.NOT_PUBLISHED, said)
        self.assertIn("is not published in 8-bit integers", said)
        self.assertEqual(self.entry(), before)
        self.assertFalse((self.zoo / "pattern-x2-s.int8.onnx").exists())
        self.assertIn(records.INT8_NONE, (self.zoo / told["record"]).read_text(encoding="utf-8"))

    def test_what_it_cannot_know_is_asked_for(self):
        code, said = self.run_it()
        self.assertEqual(code, commands.FAILED)
        self.assertIn("give its --corpus", said)


if __name__ == "__main__":
    unittest.main()
