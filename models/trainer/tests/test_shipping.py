"""What leaves the trainer: ONNX under the contract, catalogue, records, and the zoo as it is."""

import hashlib
import json
import tempfile
import unittest
from pathlib import Path

import numpy as np

from acuity_trainer import catalogue, contract, records
from acuity_trainer.results import ClipResult, Score

ZOO = Path(__file__).resolve().parents[2] / "zoo"

try:
    import onnx
    import onnxruntime  # noqa: F401
except ImportError as missing:
    onnx = None
    WHY = f"onnx and onnxruntime are not here ({missing}); see requirements.lock"
else:
    WHY = ""

try:
    import torch
except ImportError:
    torch = None


def measured_clip(name="clip"):
    methods = {
        "bicubic": Score(30.0, 0.9),
        "lanczos": Score(30.2, 0.91),
        "m": Score(30.9, 0.92),
        "m+x264": Score(30.7, 0.915),
    }
    return ClipResult(name, 10, 600.0, "ab" * 32, methods)


METADATA = {
    "cluster": "generic",
    "tier": "s",
    "macs_per_pixel": "10",
    "parameters": "12",
    "training_data": 'stills "x"',
    "steps": "5",
    "elapsed_s": "1",
    "settings": json.dumps({"seed": 1}),
    "curve": json.dumps([{"step": 1, "gain_db": 0.1}]),
    "sources": json.dumps({"a": {"package": "p", "files": 1, "licence": "not stated", "sha256": "0" * 64}}),
}


class Catalogue(unittest.TestCase):
    def entry(self):
        stills = {
            "Set5": {"bicubic": 33.0, "lanczos": 33.2, "m": 34.0},
            "Set14": {"bicubic": 30.0, "lanczos": 30.2, "m": 31.0},
        }
        return catalogue.entry(
            "m", b"bytes", METADATA, [measured_clip(), measured_clip("other")], stills, 12.345, "box"
        ), stills

    def test_gain_is_over_the_better_plain_scaler(self):
        entry, _ = self.entry()
        self.assertAlmostEqual(entry["measured"]["gain_db"], 0.7)
        self.assertAlmostEqual(entry["measured"]["gain_after_encoder_db"], 0.5)
        self.assertAlmostEqual(entry["measured"]["ssim_gain"], 0.01)

    def test_what_is_written_reads_back(self):
        entry, _ = self.entry()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "catalogue.toml"
            catalogue.write(path, [entry])
            catalogue.write(path, [{**entry, "id": "n", "tier": "m"}])
            first, second = catalogue.read(path)
        self.assertEqual((first["id"], second["id"]), ("m", "n"))
        self.assertEqual(first["training_data"], 'stills "x"')
        self.assertEqual(first["sha256"], hashlib.sha256(b"bytes").hexdigest())
        self.assertAlmostEqual(first["measured"]["set5_db"], 34.0)
        self.assertIsInstance(first["measured"]["macs_per_pixel"], float)

    def test_the_record_names_licences_and_no_machine(self):
        entry, stills = self.entry()
        text = records.generic(entry, METADATA, [measured_clip()], stills, 1)
        self.assertIn("not stated", text)
        self.assertIn("+0.70", text)
        self.assertEqual(records.leaks(text), [])
        self.assertTrue(records.leaks("see /home/x and https" + "://example.org"))


class Zoo(unittest.TestCase):
    def test_every_file_is_the_one_the_catalogue_means(self):
        entries = catalogue.read(ZOO / "catalogue.toml")
        self.assertTrue(entries, "the zoo has no catalogue")
        for entry in entries:
            with self.subTest(entry["id"]):
                data = (ZOO / entry["file"]).read_bytes()
                self.assertLess(len(data), 3_000_000)
                self.assertEqual(hashlib.sha256(data).hexdigest(), entry["sha256"])
                record = (ZOO / entry["record"]).read_text(encoding="utf-8")
                self.assertIn(entry["sha256"], record)
                if "int8" in entry:
                    data = (ZOO / entry["int8"]["file"]).read_bytes()
                    self.assertLess(len(data), 3_000_000)
                    self.assertEqual(hashlib.sha256(data).hexdigest(), entry["int8"]["sha256"])
                    self.assertLessEqual(entry["int8"]["loss_db"], 0.05)
                    self.assertIn(entry["int8"]["sha256"], record)
                self.assertLessEqual(len(entry["licence"]), 64)

    @unittest.skipIf(onnx is None, WHY)
    def test_every_file_keeps_the_contract(self):
        from acuity_trainer import export

        entries = [e for e in catalogue.read(ZOO / "catalogue.toml") if catalogue.task_of(e) == catalogue.UPSCALE]
        files = [(entry, entry["file"]) for entry in entries]
        files += [(entry, entry["int8"]["file"]) for entry in entries if "int8" in entry]
        for entry, file in files:
            with self.subTest(file):
                session = export.runtime((ZOO / file).read_bytes())
                (given,), (got,) = session.get_inputs(), session.get_outputs()
                self.assertEqual((given.name, given.type), (contract.INPUT_NAME, "tensor(uint8)"))
                self.assertEqual((got.name, got.type), (contract.OUTPUT_NAME, "tensor(uint8)"))
                scale = entry["scale"]
                for height, width in ((18, 32), (37, 41)):
                    out = session.run(None, {contract.INPUT_NAME: np.full((1, 1, height, width), 128, np.uint8)})[0]
                    self.assertEqual((out.shape, out.dtype), ((1, 1, scale * height, scale * width), np.uint8))
                for shade in (16, 60, 128, 200, 235):
                    flat = session.run(None, {contract.INPUT_NAME: np.full((1, 1, 24, 30), shade, np.uint8)})[0]
                    phases = flat[0, 0].reshape(24, scale, 30, scale).swapaxes(1, 2)
                    self.assertTrue((phases == phases[12, 15]).all(), "no frame around a flat picture")
                    # A specialised network may give the phases of a shade that its videos do not have a level each,
                    # and in 8-bit integers all may.
                    apart = 0 if entry["cluster"] == "generic" and file == entry["file"] else 2
                    self.assertLessEqual(int(flat.max()) - int(flat.min()), apart, f"{shade} stays flat")
                    self.assertLessEqual(np.abs(flat.astype(int) - shade).max(), 2, f"{shade} keeps its shade")


@unittest.skipIf(onnx is None, WHY)
@unittest.skipIf(torch is None, "PyTorch is not here")
class Export(unittest.TestCase):
    def test_the_graph_computes_what_the_network_does(self):
        from acuity_trainer import export, networks

        for tier in contract.TIERS:
            with self.subTest(tier):
                torch.manual_seed(1)
                network = networks.build(tier)
                data = export.build(network.collapsed(), {"id": "test"}).SerializeToString()
                luma = np.random.default_rng(2).integers(0, 256, (2, 1, 45, 61), dtype=np.uint8)
                got = export.runtime(data).run(None, {contract.INPUT_NAME: luma})[0]
                with torch.no_grad():
                    expected = (
                        network(torch.from_numpy(luma).float() / 255)
                        .mul(255)
                        .add(0.5)
                        .floor()
                        .clamp(0, 255)
                        .byte()
                        .numpy()
                    )
                difference = np.abs(got.astype(int) - expected)
                self.assertLessEqual(difference.max(), 1)
                self.assertLess((difference > 0).mean(), 0.001, "rounding ties only")

    def test_the_graph_does_not_change_unnoticed(self):
        from acuity_trainer import export

        rng = np.random.default_rng(7)
        shapes = [
            ("skip", 4, 1, 5),
            ("head", 16, 1, 5),
            *((f"body{i}", 16, 16, 3) for i in range(4)),
            ("tail", 4, 16, 3),
        ]
        layers = [
            (name, rng.normal(0, 0.1, (outputs, inputs, size, size)), rng.normal(0, 0.1, outputs))
            for name, outputs, inputs, size in shapes
        ]
        graph = export.build(layers, {"id": "test"}).graph.SerializeToString(deterministic=True)
        # Of version 1 of the contract: whoever changes it measures the zoo again.
        self.assertTrue(hashlib.sha256(graph).hexdigest().startswith("1b7e7421d4e70213"))

    def test_only_plain_operators(self):
        from acuity_trainer import export, networks

        model = export.build(networks.build("s").collapsed(), {"id": "test"})
        self.assertLessEqual(
            {node.op_type for node in model.graph.node}, {"Cast", "Pad", "Conv", "Relu", "Add", "DepthToSpace", "Clip"}
        )
        self.assertLessEqual(model.opset_import[0].version, 17)


if __name__ == "__main__":
    unittest.main()
