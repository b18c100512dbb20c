"""`learn --task interpolate` from a file to the zoo, and what it refuses."""

import contextlib
import hashlib
import io
import json
import shutil
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from acuity_trainer import catalogue, commands, spans, testlist
from acuity_trainer.results import Score

from . import renditions

try:
    import onnxruntime  # noqa: F401
    import torch  # noqa: F401

    from acuity_trainer.__main__ import main
    from acuity_trainer.interpolate import material, publish, score
    from acuity_trainer.interpolate.evidence import document, measure
except ImportError as missing:
    raise unittest.SkipTest(f"{missing}: see requirements.lock") from missing

SHARED = commands.SHARED
ZOO = commands.ZOO


def quiet(*_):
    """Says nothing."""


class Verdict(unittest.TestCase):
    def test_a_model_must_beat_generic_and_blending(self):
        for own, generic, published in (
            (31.0, 30.7, True),
            (31.0, 30.9, False),
            (31.0, None, True),
            (30.1, None, False),
        ):
            with self.subTest(own=own, generic=generic):
                scores = {"repeat": Score(28.0, 0.8), "blend": Score(30.0, 0.9), "own": Score(own, 0.9)}
                scores |= {"generic": Score(generic, 0.9)} if generic else {}
                self.assertEqual(publish.verdict(scores, "own", "generic" if generic else None)[0], published)


@unittest.skipUnless(renditions.HAVE_FFMPEG, "there is no ffmpeg command")
class Learning(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.video = cls.folder / "pattern_60.mkv"
        source = "testsrc2=size=192x128:rate=60:duration=7"
        renditions.ffmpeg("-f", "lavfi", "-i", source, *renditions.coded(16, 60), cls.video)

    def learn(self, name, *more):
        said = io.StringIO()
        arguments = ["learn", "--task", "interpolate", "--cluster", "pattern", "--steps", "2", "--threads", "1"]
        arguments += ["--low", "128", "--scratch", str(self.folder / name), "--zoo", str(self.folder / f"{name}-zoo")]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main([*arguments, "--quiet", *map(str, more)])
        return code, said.getvalue()

    def settings_small(self):
        """Patches that fit the small video."""
        from acuity_trainer.interpolate import learn, train

        small = train.Settings(tier="s", steps=2, batch=1, height=64, width=96)
        return mock.patch.object(learn, "_settings", lambda plan, tier: small)

    def test_from_a_file_to_the_zoo(self):
        (self.folder / "whole-zoo").mkdir()
        with self.settings_small(), mock.patch.object(publish, "LEAST_GAIN_DB", -50.0):
            code, said = self.learn("whole", "--file", self.video, "--about", "a test picture")
        self.assertEqual(code, commands.DONE, said)
        zoo = self.folder / "whole-zoo"
        (entry,) = catalogue.read(zoo / "catalogue.toml")
        told = (entry["id"], entry["task"], entry["contract"], entry["scale"], catalogue.task_of(entry))
        self.assertEqual(told, ("pattern-i2-s", "interpolate", 2, 2, "interpolate"))
        data = (zoo / entry["file"]).read_bytes()
        self.assertEqual(hashlib.sha256(data).hexdigest(), entry["sha256"])
        self.assertIn(entry["sha256"], (zoo / entry["record"]).read_text(encoding="utf-8"))
        self.assertIn("over blend", said)
        folder = next((self.folder / "whole" / "learn" / "pattern-i2").glob("material-*"))
        self.assertEqual(score.overlap(folder / "corpus", folder / "heldout"), 0)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        (facts,) = manifest["sources"]
        self.assertLessEqual(facts["trained_s"][-1][1], facts["held_out_s"][0][0])
        # the page of evidence finds it
        self.assertIn("`pattern-i2-s` | 119820", document.networks(zoo))

    def test_a_model_that_is_no_better_than_a_blend_stays_out(self):
        (self.folder / "bad-zoo").mkdir()
        with self.settings_small():
            code, said = self.learn("bad", "--file", self.video)
        self.assertEqual(code, commands.NOT_PUBLISHED, said)
        self.assertEqual(catalogue.read(self.folder / "bad-zoo" / "catalogue.toml"), [])

    def test_a_file_is_for_interpolation_and_tiers_are_its_own(self):
        with self.assertRaises(SystemExit):
            self.learn("usage", "--file", self.video, "--task", "upscale")
        with self.assertRaises(SystemExit):
            self.learn("usage", "--file", self.video, "--tiers", "v10")

    @unittest.skipUnless((SHARED / "video").is_dir(), "the shared data are not there")
    def test_test_clips_are_refused(self):
        clip = str(SHARED / "video" / "freedoom1_demo3_720p60.mp4")
        with self.assertRaises(testlist.TestMaterialError):
            material.prepare((spans.Files(clip, clip),), material.Terms(), self.folder / "refused", 600.0, say=quiet)

    def test_a_case_of_the_evidence_is_cut_and_coded(self):
        one = measure.case({"name": "pattern", "cluster": "", "from": 20}, self.video, 2, 0)
        self.assertEqual((one.fps, len(one.coded), len(one.middle)), (15.0, 100, 99))
        self.assertEqual(measure.models_for(one.clip, ["s"], self.folder / "none"), {})


class Shipped(unittest.TestCase):
    def test_interpolating_models_keep_the_contract(self):
        from acuity_trainer import export as upscaling
        from acuity_trainer.interpolate import contract

        for entry in catalogue.read(ZOO / "catalogue.toml"):
            if catalogue.task_of(entry) == contract.TASK:
                with self.subTest(entry["id"]):
                    session = upscaling.runtime((ZOO / entry["file"]).read_bytes())
                    self.assertEqual(tuple(one.name for one in session.get_inputs()), contract.INPUTS)
                    self.assertEqual(tuple(one.name for one in session.get_outputs()), contract.OUTPUTS)
                    self.assertEqual((entry["contract"], entry["scale"]), (contract.VERSION, contract.FACTOR))


if __name__ == "__main__":
    unittest.main()
