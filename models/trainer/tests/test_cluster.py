"""Clusters: near and far, groups, the file, and the embedding network on real pictures."""

import contextlib
import hashlib
import io
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np

from acuity_trainer import cluster, cluster_fit, embedding, media

ZOO = Path(__file__).resolve().parents[2] / "zoo"

try:
    import onnx
    import onnxruntime  # noqa: F401
except ImportError as missing:
    onnx = None
    WHY = f"onnx and onnxruntime are not here ({missing}); see requirements.lock"
else:
    WHY = ""


def plane_clusters(threshold=2.0):
    """Two clusters and something unlike them, in two dimensions."""
    return cluster.Clusters(
        threshold,
        0.5,
        2,
        "0" * 64,
        [
            cluster.Cluster("game", np.array([2.0, 2.0]), np.array([[0.0, 0], [10, 0]])),
            cluster.Cluster("film", np.array([6.0]), np.array([[0.0, 10]])),
        ],
        np.array([[0.0, 4.5]]),
    )


def clip(folder, pattern, name, seconds=2, more=()):
    path = Path(folder) / name
    source = ["-f", "lavfi", "-i", pattern, "-t", str(seconds)]
    subprocess.run([*media.QUIET, "-y", *source, *more, "-c:v", "libx264", str(path)], check=True)
    return path


class Assignment(unittest.TestCase):
    def test_the_edges_rule(self):
        clusters = plane_clusters()
        # The same table as in models/src/clusters_tests.rs.
        for vector, expected in [
            ([0.5, 0.0], "game"),
            ([10.0, -2.0], "game"),
            ([10.0, -2.1], None),
            ([0.0, 8.0], "film"),
            ([0.0, 6.0], None),
            ([500.0, 0.0], None),
        ]:
            self.assertEqual(clusters.assign(np.array(vector)), expected, vector)

    def test_no_clusters_assign_nothing(self):
        self.assertIsNone(cluster.Clusters(1.0, 0.5, 2, "0" * 64).assign(np.zeros(2)))

    def test_a_video_is_what_half_of_its_windows_are(self):
        clusters = plane_clusters()
        inside, outside = [0.0, 0.5], [50.0, 50.0]
        verdict = cluster.judge(clusters, "v", np.array([inside, inside, outside]))
        self.assertEqual((verdict.cluster, verdict.inside, verdict.windows), ("game", 2, 3))
        self.assertEqual(cluster.judge(clusters, "v", np.array([inside, outside, outside])).cluster, "")
        self.assertEqual(cluster.judge(clusters, "v", np.array([outside, outside])).cluster, "")


class Grouping(unittest.TestCase):
    def test_alike_videos_share_a_group_and_others_do_not(self):
        rng = np.random.default_rng(1)
        around = lambda x, y: np.array([x, y]) + rng.normal(0, 0.2, (4, 2))  # noqa: E731
        vectors = [around(0, 0), around(9, 9), around(0.5, 0), around(9, 8.5), around(-9, 9)]
        self.assertEqual(cluster.group(vectors, 2.0).tolist(), [0, 1, 0, 1, 2])

    def test_centroids_cover(self):
        rng = np.random.default_rng(2)
        vectors = np.concatenate([rng.normal(0, 0.1, (30, 3)), rng.normal(5, 0.1, (3, 3))])
        found = cluster.centroids_of(vectors, 1.5)
        self.assertEqual(len(found), 2)
        np.testing.assert_array_equal(found, cluster.centroids_of(vectors, 1.5))
        self.assertEqual(len(cluster.centroids_of(vectors, 0.0, most=7)), 7)

    def test_a_new_cluster_keeps_clear_of_its_neighbours(self):
        clusters = plane_clusters()
        wide = cluster.add(clusters, "other", np.array([[100.0, 100.0], [100.2, 100.0]]))
        self.assertEqual(wide.radii.tolist(), [clusters.threshold])
        tight = cluster.add(clusters, "third", np.array([[101.0, 100.0]]))
        self.assertLess(tight.radii[0], 0.51)
        self.assertEqual(clusters.assign(np.array([101.1, 100.0])), "third")

    def test_what_becomes_a_cluster_is_no_longer_unlike(self):
        clusters = plane_clusters()
        cluster.add(clusters, "other", np.array([[0.3, 4.5]]))
        self.assertEqual(len(clusters.unlike), 0)
        self.assertEqual(clusters.assign(np.array([0.0, 4.5])), "other")

    def test_a_known_cluster_grows_only_where_it_is_new(self):
        clusters = plane_clusters()
        cluster.add(clusters, "game", np.array([[0.1, 0.0], [0.0, 0.2], [30.0, 0.0]]))
        self.assertEqual(len(clusters.clusters[0].centroids), 3)
        self.assertEqual(clusters.assign(np.array([30.5, 0.0])), "game")

    def test_names(self):
        for name in ("", "Game", "a-b", "generic", "x" * 33):
            with self.assertRaises(cluster.ClusterError, msg=name):
                cluster.add(plane_clusters(), name, np.zeros((1, 2)))


class File(unittest.TestCase):
    def test_what_is_written_is_read(self):
        clusters = plane_clusters()
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / cluster.NETWORK).write_bytes(b"network")
            clusters.sha256 = hashlib.sha256(b"network").hexdigest()
            cluster.write(folder, clusters)
            again = cluster.load(folder)
            self.assertEqual(cluster.text_of(again), cluster.text_of(clusters))
            self.assertEqual([c.name for c in again.clusters], ["game", "film"])
            np.testing.assert_array_equal(again.unlike, clusters.unlike)
            self.assertEqual([p.name for p in Path(folder).glob("*.partial")], [])

    def test_another_network_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / cluster.NETWORK).write_bytes(b"another")
            cluster.write(folder, plane_clusters())
            with self.assertRaisesRegex(cluster.ClusterError, "not the network"):
                cluster.load(folder)
            with self.assertRaises(cluster.ClusterError):
                cluster.load(Path(folder) / "nowhere")

    def test_the_zoo_is_whole(self):
        clusters = cluster.load(ZOO)
        self.assertLessEqual({"freedoom", "openttd", "bbb"}, {c.name for c in clusters.clusters})
        for own in clusters.clusters:
            self.assertEqual(clusters.assign(own.centroids[0]), own.name)
        self.assertIsNone(clusters.assign(np.full(clusters.dimensions, 1e6)))


class Fitting(unittest.TestCase):
    def test_what_coding_changes_counts_little(self):
        rng = np.random.default_rng(3)
        # Statistic 0 tells contents apart, statistic 1 only how a window was coded, 2 and 3 nothing.
        rows, windows = [], []
        for content in range(12):
            for version in range(4):
                rows.append([content % 4, 3.0 * version, 0.0, 0.0] + rng.normal(0, 0.05, 4))
                windows.append(f"w{content}")
        rows, windows = np.array(rows, np.float32), np.array(windows)
        learned = embedding.fit(rows, windows, np.ones(len(rows)), 1, 0.1)
        vectors = embedding.project(learned, rows)
        weight = np.abs(learned["projection"][:, 0])
        self.assertGreater(weight[0], 5 * weight[1])
        self.assertLess(np.abs(vectors[windows == "w1"] - vectors[windows == "w1"].mean(0)).max(), 0.3)

    def test_the_listing(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "l.tsv"
            path.write_text("# comment\na_0\tgame\ttune\t{x}/a.mp4\t0\t4\t360p600,graded\n", encoding="utf-8")
            (window,) = cluster_fit.read_listing(path, {"x": "/somewhere"})
        self.assertEqual((window.path, window.clip, window.variants), ("/somewhere/a.mp4", "a", ["360p600", "graded"]))

    def test_pictures_are_those_of_the_edge(self):
        # The same figures as in enhancer/src/describe.rs.
        self.assertEqual(embedding.chosen(64), [4, 12, 20, 28, 36, 44, 52, 60])
        self.assertEqual(embedding.chosen(3), [0, 1, 2])
        self.assertEqual(embedding.chosen(1), [0])
        self.assertEqual(embedding.chosen(0), [])


@unittest.skipIf(onnx is None, WHY)
class Network(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.bare = embedding.Embedder(embedding.build())
        cls.shipped = embedding.Embedder((ZOO / cluster.NETWORK).read_bytes())

    def test_the_learned_layers_are_what_project_says(self):
        rng = np.random.default_rng(4)
        luma = rng.integers(16, 236, (3, 1, 90, 160), dtype=np.uint8)
        chroma = rng.integers(60, 200, (3, 2, 45, 80), dtype=np.uint8)
        statistics = self.bare.pictures(luma, chroma)
        learned = {
            "mean": statistics.mean(0),
            "deviation": statistics.std(0) + 2e-3,
            "projection": rng.normal(0, 1, (statistics.shape[1], 5)).astype(np.float32),
        }
        vectors = embedding.Embedder(embedding.build(learned)).pictures(luma, chroma)
        np.testing.assert_allclose(vectors, embedding.project(learned, statistics), rtol=1e-3, atol=1e-3)
        self.assertEqual(embedding.build(learned), embedding.build(learned))

    def test_any_size_gives_finite_numbers(self):
        for height, width in [(90, 160), (144, 192), (271, 481), (540, 960), (2, 2)]:
            for value in (0, 16, 128, 255):
                luma = np.full((1, 1, height, width), value, np.uint8)
                chroma = np.full((1, 2, (height + 1) // 2, (width + 1) // 2), value, np.uint8)
                vector = self.shipped.pictures(luma, chroma)
                self.assertTrue(np.isfinite(vector).all(), (height, width, value))

    def test_size_and_rate_move_a_video_less_than_content_does(self):
        with tempfile.TemporaryDirectory() as folder:
            vectors = {}
            for name, pattern in (
                ("mandel", "mandelbrot=size=960x540:rate=24"),
                ("bars", "smptehdbars=size=960x540:rate=24"),
            ):
                pattern = pattern.replace("mandelbrot=", "mandelbrot=end_pts=50:") if name == "mandel" else pattern
                for lines, rate in ((540, "1500k"), (180, "150k")):
                    path = Path(folder) / f"{name}{lines}.mp4"
                    source = ["-f", "lavfi", "-i", pattern, "-t", "2", "-vf", f"scale=-2:{lines},format=yuv420p"]
                    subprocess.run(
                        [*media.QUIET, "-y", *source, "-c:v", "libx264", "-b:v", rate, str(path)], check=True
                    )
                    vectors[name, lines] = self.shipped.segment(path)
        apart = lambda a, b: float(np.linalg.norm(vectors[a] - vectors[b]))  # noqa: E731
        for name in ("mandel", "bars"):
            self.assertLess(2 * apart((name, 540), (name, 180)), apart(("mandel", 540), ("bars", 540)))

    def test_full_range_is_not_squeezed(self):
        with tempfile.TemporaryDirectory() as folder:
            path = clip(
                folder, "color=white:size=64x64:rate=5", "w.mp4", 1, ["-vf", "scale=out_range=full,format=yuvj420p"]
            )
            luma, _ = embedding.read_planes(path)
            self.assertGreaterEqual(int(luma.min()), 253)

    def test_the_command(self):
        with tempfile.TemporaryDirectory() as folder:
            for file in (cluster.FILE, cluster.NETWORK):
                (Path(folder) / file).write_bytes((ZOO / file).read_bytes())
            before = (Path(folder) / cluster.FILE).read_bytes()
            lace = clip(folder, "sierpinski=size=320x180:rate=24", "lace.mp4")
            again = clip(folder, "sierpinski=size=480x270:rate=24", "again.mp4")
            other = clip(folder, "testsrc=size=320x180:rate=24", "other.mp4")

            def command(*arguments):
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    cluster.main([*map(str, arguments), "--zoo", folder, "--seconds", "2"])
                return out.getvalue()

            out = command(lace, other, "--dry-run")
            self.assertIn("dry run", out)
            self.assertNotIn(" of ", out)
            self.assertEqual((Path(folder) / cluster.FILE).read_bytes(), before)
            self.assertIn("declared lace", command(lace, "--name", "lace"))
            out = command(again, other, "--dry-run")
            self.assertIn("of lace", out)
            self.assertEqual(out.count("new: cluster_1"), 1)
            with self.assertRaises(SystemExit):
                command(lace, "--name", "Not a name")
            with self.assertRaises(SystemExit):
                command(Path(folder) / "nothing.mp4")


if __name__ == "__main__":
    unittest.main()
