"""Never a test frame in training: the check itself, and what ships."""

import hashlib
import json
import tempfile
import unittest
from pathlib import Path

import numpy as np

from acuity_trainer import media
from acuity_trainer.evidence import apart, plan

ROOT = Path(__file__).resolve().parents[3]
CLIPS = ROOT.parent / "shared" / "data" / "video"
FILM = hashlib.sha256(b"a film").hexdigest()
CLIP = hashlib.sha256(b"a test clip").hexdigest()
CUT = plan.Cut("clip", FILM, (100.0, 116.0))


def told(*ranges, digest=FILM):
    """What an index tells of one source."""
    return list(apart.in_json({"sources": {"film.mp4": {"sha256": digest, "seconds": list(ranges)}}}, "index"))


class Check(unittest.TestCase):
    def test_a_test_clip_in_an_index_is_found(self):
        self.assertEqual(
            apart.faults(told([0, 5], digest=CLIP), {CLIP: "clip"}), [f"index: trained on clip ({CLIP[:16]})"]
        )
        self.assertEqual(apart.faults(told([0, 5]), {CLIP: "clip"}), [])

    def test_a_stretch_that_touches_the_tests_is_found(self):
        for stretch, fine in (
            ([0, 98], True),
            ([0, 99.5], False),
            ([110, 111], False),
            ([116.5, 130], False),
            ([118, 130], True),
        ):
            self.assertEqual(apart.faults(told(stretch), {}, [CUT]) == [], fine, stretch)
        self.assertTrue(apart.faults(told([0, 98], [90, 105]), {}, [CUT]))

    def test_the_plans_own_cut_is_guarded(self):
        cuts = plan.load().cuts
        film = next(cut for cut in cuts if cut.clip == "bbb")
        self.assertEqual(apart.faults(told([26, 34], digest=film.sha256), {}, cuts), [])
        self.assertEqual(len(apart.faults(told([15, 23], digest=film.sha256), {}, cuts)), 1)

    def test_a_work_without_stretches_counts_whole(self):
        self.assertIn("all of the work", apart.faults(told(), {}, [CUT])[0])

    def test_a_record_is_read_but_not_its_tests(self):
        record = (
            f"# x\n## Trained\n| film.mp4 | - | 0.0 to 98.0 | 200.0 to 210.0 | `{FILM}` |\n"
            f"## Tested on\n| clip | `{CLIP[:16]}` |\n"
        )
        found = list(apart.in_record(record, "x.md"))
        self.assertEqual(found, [apart.Material("x.md", FILM, ((0.0, 98.0),))])
        self.assertEqual(apart.faults(found, {CLIP: "clip"}, [CUT]), [])
        begun = record.replace("## Tested on", "## More")
        self.assertEqual(len(apart.faults(apart.in_record(begun, "x.md"), {CLIP: "clip"})), 1)

    def corpus(self, folder, high):
        """A corpus of one item, as far as the check reads it."""
        np.save(Path(folder) / "mine.high.npy", high)
        (Path(folder) / "index.json").write_text(json.dumps({"items": [{"name": "mine"}]}), encoding="utf-8")
        return folder

    def test_strange_pictures_are_let_pass(self):
        high = np.random.default_rng(3).integers(16, 235, (6, 720, 1280), dtype=np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(apart.picture_faults(self.corpus(folder, high)), [])

    @unittest.skipUnless(CLIPS.exists(), "the shared clips are not here")
    def test_pictures_of_a_test_clip_are_known_again_in_another_size_and_encoding(self):
        frames = media.read_video(CLIPS / "openttd_b.mp4", 960, 540, start_s=3.0, limit=60)
        coded, _ = media.encode_decode(frames, media.Encode(crf=30, preset="veryfast"))
        with tempfile.TemporaryDirectory() as folder:
            self.assertIn("openttd_b", apart.picture_faults(self.corpus(folder, coded.luma[::5]))[0])


class Shipped(unittest.TestCase):
    def test_no_test_clip_is_in_what_the_zoo_was_trained_on(self):
        zoo, shared = ROOT / "models" / "zoo", CLIPS.parent
        try:
            import onnx  # noqa: F401

            found = list(apart.materials(zoo))
        except ImportError:
            records = sorted((zoo / "records").glob("*.md"))
            found = [one for path in records for one in apart.in_record(path.read_text(encoding="utf-8"), path.name)]
        self.assertGreater(len(found), 10)
        whole = plan.load()
        known = apart.forbidden(whole, shared if shared.exists() else None)
        self.assertGreaterEqual(len(known), 5)
        self.assertEqual(apart.faults(found, known, whole.cuts), [])


if __name__ == "__main__":
    unittest.main()
