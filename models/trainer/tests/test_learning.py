"""`learn` from end to end: what it trains on and never does, what it publishes and what not, kills, seeds."""

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import numpy as np

try:
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
    import torch  # noqa: F401
except ImportError as missing:
    raise unittest.SkipTest(f"{missing}; see requirements.lock") from missing

from acuity_trainer import __main__ as command
from acuity_trainer import catalogue, commands, curves, heldout, learn, material, publish, spans, testlist
from acuity_trainer.results import Score

from . import renditions

ZOO = Path(__file__).resolve().parents[2] / "zoo"
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
HOME = Path(__file__).resolve().parents[1]
NO_FFMPEG = "there is no ffmpeg command"


def quiet(_):
    pass


def state_of(folder):
    """Names and digests of everything in a folder."""
    found = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in found]


def run(*arguments):
    """(exit code, what was said) of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = command.main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = left.code
    return code, out.getvalue() + err.getvalue()


@unittest.skipUnless(renditions.HAVE_FFMPEG, NO_FFMPEG)
class HeldOut(unittest.TestCase):
    """No picture that is measured on was ever trained on."""

    def test_no_held_out_picture_is_in_the_corpus(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            # a pattern that repeats every second: held-out pictures look like trained ones, byte for byte
            repeated = "loop=loop=-1:size=15,trim=end_frame=120,setpts=N/15/TB"
            low, high = renditions.pair(folder, low=repeated, high=repeated, more=("-x264-params", "scenecut=0"))
            sources = (spans.Files(str(low), str(high)),)
            manifest = material.prepare(sources, 2, folder / "m", say=quiet)
            self.assertEqual(heldout.overlap(folder / "m" / "corpus", folder / "m" / "heldout"), 0)
            # the same guard on video that does not repeat leaves nothing out
            low, high = renditions.pair(folder)
            again = material.prepare((spans.Files(str(low), str(high)),), 2, folder / "n", say=quiet)
            self.assertEqual(again["left_out_as_held_out"], 0)
            self.assertGreater(again["trained_pictures"], manifest["trained_pictures"] - 1)

    def test_times_and_digests_are_in_the_index_and_apart(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            master = renditions.ladder(folder / "origin", 8)
            source = spans.Ladder(str(master), renditions.LOW[1], renditions.HIGH[1])
            manifest = material.prepare((source,), 2, folder / "m", say=quiet)
            trained, held_out = (
                material.pictures_of(json.loads((folder / "m" / part / "index.json").read_text(encoding="utf-8")))[0]
                for part in ("corpus", "heldout")
            )
            self.assertEqual((len(trained), len(held_out)), (6 * renditions.FPS, 2 * renditions.FPS))
            self.assertLess(max(t for t, _ in trained), min(t for t, _ in held_out))
            self.assertFalse({digest for _, digest in trained} & {digest for _, digest in held_out})
            digests = manifest["sources"][0]["digests"]
            self.assertFalse(set(digests["trained"]) & set(digests["held_out"]))
            self.assertEqual(len(digests["trained"]), 12)
            for part in heldout.items(folder / "m" / "heldout"):
                self.assertEqual(part.high.dtype, np.uint8)

    def test_the_check_itself_finds_a_picture_that_is_in_both(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            low, high = renditions.pair(folder, seconds=6)
            material.prepare((spans.Files(str(low), str(high)),), 2, folder / "m", say=quiet)
            item = next(iter(heldout.items(folder / "m" / "heldout")))
            stored = sorted((folder / "m" / "corpus").glob("*.high.npy"))[0]
            pictures = np.load(stored)
            pictures[0] = item.high[0]
            np.save(stored, pictures)
            self.assertEqual(heldout.overlap(folder / "m" / "corpus", folder / "m" / "heldout"), 1)


class TestMaterial(unittest.TestCase):
    def test_the_list_knows_its_clips_and_no_stranger(self):
        files, prints = testlist.listing()
        self.assertGreaterEqual(len(prints), 6)
        self.assertEqual(set(files.values()), set(prints))
        names = list(prints)
        for index, name in enumerate(names):
            for other in names[index + 1 :]:
                self.assertGreater(testlist.apart(prints[name], prints[other]).min(), 2 * testlist.SAME_BITS)

    @unittest.skipUnless((SHARED / "video").is_dir(), "the shared data are not there")
    def test_every_test_clip_is_on_the_list(self):
        on_list = set(testlist.listing()[0].values()) | set(testlist.OWN_CLUSTER)
        self.assertEqual({path.stem for path in (SHARED / "video").glob("*.mp4")} - on_list, set())

    @unittest.skipUnless((SHARED / "video").is_dir() and renditions.HAVE_FFMPEG, "the shared data are not there")
    def test_a_test_clip_is_refused_by_digest_and_in_any_disguise(self):
        clip = SHARED / "video" / "freedoom1_demo2_720p30.mp4"
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for name, size, crf in (("low", "320:180", 34), ("high", "640:360", 23)):
                files.append(str(Path(folder) / f"{name}.mkv"))
                renditions.ffmpeg("-i", clip, "-t", "6", "-vf", f"scale={size}", *renditions.coded(crf, 30), files[-1])
            with self.assertRaisesRegex(testlist.TestMaterialError, "shows freedoom1_demo2_720p30"):
                material.prepare((spans.Files(*files),), 2, Path(folder) / "m", say=quiet)
            self.assertFalse((Path(folder) / "m" / "corpus").exists())
            with self.assertRaisesRegex(testlist.TestMaterialError, "by its digest"):
                material.prepare((spans.Files(files[0], str(clip)),), 4, Path(folder) / "n", say=quiet)
            # to measure on, it is what the test set is for
            manifest = material.prepare((spans.Files(*files),), 2, Path(folder) / "o", only="all", say=quiet)
            self.assertGreater(manifest["held_out_pictures"], 100)


class Verdict(unittest.TestCase):
    def scores(self, own, generic=None):
        scores = {"bicubic": Score(30.0, 0.9), "lanczos": Score(30.3, 0.9), "own": Score(own, 0.9)}
        return scores | ({"generic": Score(generic, 0.9)} if generic else {})

    def test_a_model_must_beat_generic_and_plain(self):
        for own, generic, published in (
            (31.0, 30.7, True),
            (31.0, 30.9, False),
            (31.0, None, True),
            (30.4, None, False),
            (30.4, 30.0, False),
        ):
            with self.subTest(own=own, generic=generic):
                name = "generic" if generic else None
                good, why = publish.verdict(self.scores(own, generic), "own", name)
                self.assertEqual(good, published, why)


@unittest.skipUnless(renditions.HAVE_FFMPEG, NO_FFMPEG)
class Learning(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.master = renditions.ladder(cls.folder / "origin", 6)

    def arguments(self, name, *more, steps=3, source=None):
        heights = ("--low", renditions.LOW[1], "--high", renditions.HIGH[1])
        return [
            "learn", "--cluster", "pattern", "--ladder", source or self.master, *heights, "--steps", steps,
            "--threads", 1, "--scratch", self.folder / name, "--zoo", self.folder / f"{name}-zoo", "--quiet", *more,
        ]  # fmt: skip

    def zoo(self, name, generic=True):
        zoo = self.folder / f"{name}-zoo"
        shutil.copytree(ZOO, zoo)
        if not generic:
            (zoo / "catalogue.toml").unlink()
        return zoo

    def test_published_measured_again_and_made_again(self):
        # Without a generic model to beat, the generic weights themselves beat the plain scaler on this sharp pattern.
        begin = ("--begin-with", ZOO / "generic-x2-s.onnx")
        zoo = self.zoo("good", generic=False)
        code, said = run(*self.arguments("good", *begin, "--about", "a drawn pattern, our own"))
        self.assertEqual(code, commands.DONE, said)
        (entry,) = catalogue.read(zoo / "catalogue.toml")
        self.assertEqual((entry["id"], entry["scale"], entry["tier"]), ("pattern-x2-s", 2, "s"))
        self.assertEqual(entry["sha256"], hashlib.sha256((zoo / entry["file"]).read_bytes()).hexdigest())
        self.assertGreater(entry["measured"]["heldout_db"], entry["measured"]["heldout_plain_db"] + 0.2)
        self.assertNotIn("heldout_generic_db", entry["measured"])
        record = (zoo / entry["record"]).read_text(encoding="utf-8")
        self.assertIn("a drawn pattern, our own", record)
        self.assertIn("0.0 to 4.0 | 4.0 to 6.0", record)
        self.assertNotIn(str(self.folder), record)
        png = (zoo / "records" / "pattern-x2-s.png").read_bytes()
        self.assertTrue(png.startswith(b"\x89PNG") and len(png) < curves.MOST_BYTES)

        again = ("evaluate", "--heldout", "pattern-x2-s", "--scratch", self.folder / "good", "--zoo", zoo)
        code, said = run(*again)
        self.assertEqual(code, commands.DONE, said)
        self.assertIn("(+0.000)", said)
        with renditions.served(self.folder / "origin") as (url, asked):
            code, said = run(*again, "--ladder", f"{url}/master.m3u8", "--low", 128, "--high", 256)
            self.assertTrue(asked)
        self.assertEqual(code, commands.DONE, said)
        self.assertIn("reproduced", said)

        # The catalogue's figure is checked, not believed.
        text = (zoo / "catalogue.toml").read_text(encoding="utf-8")
        told = re.search(r"heldout_db = ([0-9.]+)", text)
        (zoo / "catalogue.toml").write_text(
            text.replace(told[0], f"heldout_db = {float(told[1]) + 0.03:.4f}"), encoding="utf-8"
        )
        code, said = run(*again)
        self.assertEqual((code, "not reproduced" in said), (commands.FAILED, True), said)
        (zoo / "catalogue.toml").write_text(text, encoding="utf-8")

        # A seed gives the same bytes again, another one does not.
        for name, seed in (("same", 1), ("other", 2)):
            other = self.zoo(name, generic=False)
            self.assertEqual(run(*self.arguments(name, *begin, "--seed", seed))[0], commands.DONE)
            (found,) = catalogue.read(other / "catalogue.toml")
            self.assertEqual(found["sha256"] == self.digest_without_words(entry, zoo, found, other), seed == 1)

    def digest_without_words(self, entry, zoo, found, other):
        """The other model's digest if both hold the same weights, else nothing: --about is in the metadata."""
        weights = [
            {one.name: one.raw_data for one in onnx.load(str(place / "pattern-x2-s.onnx")).graph.initializer}
            for place in (zoo, other)
        ]
        self.assertEqual(set(weights[0]), set(weights[1]))
        return found["sha256"] if weights[0] == weights[1] else ""

    def test_a_run_of_ones_own_is_published_only_if_nothing_of_it_was_measured_on(self):
        zoo = self.zoo("own", generic=False)
        begin = ("--begin-with", ZOO / "generic-x2-s.onnx")
        code, said = run(*self.arguments("own", *begin, "--dry-run"))
        self.assertEqual((code, catalogue.read(zoo / "catalogue.toml")), (commands.DONE, []), said)
        (material_folder,) = (self.folder / "own" / "learn" / "pattern-x2").glob("material-*")
        (run_folder,) = (self.folder / "own" / "learn" / "pattern-x2" / "runs").iterdir()
        publishing = ["publish", "--cluster", "pattern", "--run", run_folder, "--tier", "s", "--zoo", zoo]
        publishing += ["--corpus", material_folder / "corpus", "--heldout"]
        code, said = run(*publishing, material_folder / "corpus")
        self.assertEqual(code, commands.FAILED, said)
        self.assertIn("are in the training corpus as well", said)
        code, said = run(*publishing, material_folder / "heldout")
        self.assertEqual(code, commands.DONE, said)
        self.assertEqual([entry["id"] for entry in catalogue.read(zoo / "catalogue.toml")], ["pattern-x2-s"])
        again = ("evaluate", "--heldout", "pattern-x2-s", "--pairs", material_folder / "heldout", "--zoo", zoo)
        self.assertEqual(run(*again, "--scratch", self.folder / "own")[0], commands.DONE)
        low, high = renditions.pair(self.folder, seconds=6)
        model = zoo / "pattern-x2-s.onnx"
        code, said = run("evaluate", model, "--pair", low, high, "--scratch", self.folder / "own")
        self.assertEqual(code, commands.DONE, said)
        self.assertRegex(said, r"pattern-x2-s +\d+\.\d{3}")

    def test_a_model_without_gain_is_not_published(self):
        zoo = self.zoo("bad")
        before = state_of(zoo)
        code, said = run(*self.arguments("bad", steps=1), "--no-overlay")
        self.assertEqual(code, commands.NOT_PUBLISHED, said)
        self.assertRegex(said, r"pattern-x2-s is not published: [+-]0\.\d+ dB over the generic model")
        self.assertEqual(state_of(zoo), before)

    def test_what_stands_still_becomes_part_of_the_model(self):
        # Half of the pattern does: without training at all that is worth publishing.
        zoo = self.zoo("still")
        code, said = run(*self.arguments("still", steps=1))
        self.assertEqual(code, 0, said)
        self.assertRegex(said, r"standing pictures at .*: \d+\.\d% of the error gone in parts that were left out")
        record = (zoo / "records" / "pattern-x2-s.md").read_text(encoding="utf-8")
        self.assertIn("bytes of pictures of what stands still", record)
        # The same run without them, in the same scratch: the verdict is the weights' own.
        code, said = run(*self.arguments("still", steps=1), "--no-overlay")
        self.assertEqual(code, commands.NOT_PUBLISHED, said)

    def test_an_unrelated_pair_is_refused_and_leaves_nothing(self):
        zoo = self.zoo("unrelated")
        before = state_of(zoo)
        low, _ = renditions.pair(self.folder)
        other = renditions.video(self.folder / "other.mp4", kind=renditions.OTHER)
        code, said = run(
            "learn", "--cluster", "pattern", "--pair", low, other, "--scratch", self.folder / "unrelated", "--zoo", zoo
        )
        self.assertEqual(code, commands.REFUSED, said)
        self.assertRegex(said, r"refused: low.mp4 to other.mp4: the renditions show different pictures: 0%")
        self.assertEqual(len(said.strip().splitlines()), 2, said)
        self.assertEqual(state_of(zoo), before)
        self.assertEqual(list((self.folder / "unrelated").rglob("index.json")), [])

    def test_errors_are_one_line(self):
        for arguments, code, text in (
            (("--ladder", self.folder / "absent.m3u8"), commands.FAILED, "there is no such file"),
            (("--pair", "absent.mp4", "too.mp4"), commands.FAILED, "there is no such file"),
            ((), 2, "give at least one"),
            (("--about", "see https" + "://example.org"), 2, "without paths and links"),
        ):
            with self.subTest(text):
                got, said = run("learn", "--cluster", "pattern", *arguments, "--scratch", self.folder / "errors")
                self.assertEqual(got, code, said)
                self.assertIn(text, said.strip().splitlines()[-1])
                self.assertNotIn("Traceback", said)

    def test_a_killed_learner_goes_on_where_it_was(self):
        self.zoo("killed")
        slow = {"left": 7}

        def hang(path):
            """The origin serves a few segments and then keeps silent."""
            if path.endswith(".ts"):
                slow["left"] -= 1
                if slow["left"] < 0:
                    time.sleep(1.0)
            return False

        with renditions.served(self.folder / "origin", hang) as (url, asked):
            arguments = self.arguments("killed", source=f"{url}/master.m3u8", steps=10**6)
            learner = self.started(arguments)
            self.wait_for(lambda: slow["left"] < 0, learner)
            self.kill(learner)
            here = len(list((self.folder / "killed").rglob("*.segment")))
            self.assertGreaterEqual(here, 7)
            before, slow["left"] = len(asked), 10**9

            learner = self.started(arguments)
            self.wait_for(lambda: list((self.folder / "killed").rglob("checkpoint.pt")), learner)
            self.kill(learner)
            self.assertEqual(len(asked) - before, 12 - here, "only what was missing is fetched")

            learner = self.started(arguments)
            said = learner.stdout.readline()
            while said and "training" not in said:
                said = learner.stdout.readline()
            self.kill(learner)
        self.assertRegex(said, r"going on at step \d+")

    def started(self, arguments):
        call = [sys.executable, "-u", "-m", "acuity_trainer", *map(str, arguments)]
        return subprocess.Popen(
            call, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def kill(self, process):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()

    def wait_for(self, happened, process, most_s=240):
        until = time.monotonic() + most_s
        while not happened():
            self.assertIsNone(process.poll(), "it ended by itself")
            self.assertLess(time.monotonic(), until, "nothing happened")
            time.sleep(0.05)


class Budget(unittest.TestCase):
    def test_it_is_divided_by_cost_and_nobody_starves(self):
        parts = learn.shares(("s", "m", "l"), 2)
        self.assertAlmostEqual(sum(parts.values()), 1.0)
        self.assertLess(parts["s"], parts["m"])
        self.assertLess(parts["m"], parts["l"])
        self.assertGreater(parts["s"], 0.05)
        self.assertEqual(learn.shares(("m",), 2), {"m": 1.0})


if __name__ == "__main__":
    unittest.main()
