"""The bench's own tests: does it read, reckon and run as it says? Quick; nothing here measures.

cd scripts/bench && python3 -m unittest test_bench
"""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import clips
import live_origin
import live_player
import live_watch
import part_end_to_end
import part_first_byte
import part_frame_rate
import part_live
import part_profile
import part_serving
import part_stages
import peers
import run
import stats
from meter import BenchError, measure
from setting import PLAIN, Setting, stage_ms

ROOT = Path(__file__).resolve().parents[2]
ACUITY = Path(os.environ.get("ACUITY_BIN") or ROOT / "target/release/acuity")

WRK = """Running 5s test @ http://127.0.0.1:1/x
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     5.92ms    2.05ms  31.00ms   86.06%
    Req/Sec     2.73k   155.11     3.01k    72.00%
  Latency Distribution
     50%    5.61ms
     75%    6.40ms
     90%  950.00us
     99%    1.25s
  13640 requests in 5.02s, 31.2GB read
Requests/sec:   2728.13
Transfer/sec:      6.25GB
"""

PERF = (
    "# Overhead\tShared Object\tSymbol\n"
    "    61.20%\tlibonnxruntime.so.1.31.1\t[.] MlasConvNchwcFloatKernelAvx512F\n"
    "     9.01%\tlibx264.so.164     \t[.] x264_pixel_satd_8x4\n"
    "     6.00%\tlibx264.so.164     \t[.] 0x0000000000071c14\n"
    "     4.00%\tlibx264.so.164     \t[.] 0x0000000000071c18\n"
    "\n"
)


class Figures(unittest.TestCase):
    def test_percentiles_are_by_nearest_rank(self):
        values = list(range(20, 0, -1))
        self.assertEqual([stats.percentile(values, part) for part in (0.5, 0.95, 1)], [10, 19, 20])
        self.assertIsNone(stats.percentile([], 0.5))

    def test_a_spread_has_median_and_range(self):
        self.assertEqual(stats.spread([3, None, 1, 2]), {"median": 2, "min": 1, "max": 3, "n": 3})
        self.assertEqual(stats.show(stats.spread([3, 1, 2])), "2.00 (1.00 to 3.00)")
        self.assertEqual(stats.show(stats.spread([2])), "2.00")
        self.assertEqual(stats.show(stats.spread([])), "-")

    def test_ratios_pair_rounds(self):
        self.assertEqual(stats.ratios([2, 6, 9], [1, 2]), {"median": 2.5, "min": 2, "max": 3, "n": 2})

    def test_slope(self):
        self.assertAlmostEqual(stats.slope([(1, 110), (2, 120), (4, 140)]), 10)
        self.assertIsNone(stats.slope([(1, 110)]))

    def test_tables_line_up(self):
        lines = stats.table(["", "a"], [["long name", 1], ["b", 22]]).splitlines()
        self.assertEqual([len(line) for line in lines[1:]], [len(lines[1])] * 3)


class Reading(unittest.TestCase):
    def test_wrk(self):
        seen = part_serving.read_wrk(WRK)
        self.assertEqual(seen, {"rate": 2728.13, "requests": 13640, "p50_ms": 5.61, "p99_ms": 1250.0})

    def test_wrk_with_errors_is_no_figure(self):
        for bad in ("  Non-2xx or 3xx responses: 12\n", "  Socket errors: connect 0, read 3, write 0, timeout 0\n"):
            with self.assertRaises(BenchError):
                part_serving.read_wrk(WRK + bad)

    def test_perf(self):
        first = part_profile.read_perf(PERF)[0]
        expected = {
            "percent": 61.2,
            "object": "libonnxruntime.so.1.31.1",
            "function": "MlasConvNchwcFloatKernelAvx512F",
        }
        self.assertEqual(first, expected)
        second = {"percent": 10.0, "object": "libx264.so.164", "function": "(no symbol)"}
        self.assertEqual(part_profile.read_perf(PERF)[1], second)
        self.assertEqual(len(part_profile.read_perf(PERF)), 3)

    def test_stages_are_told_a_frame(self):
        seconds = dict.fromkeys(("demux", "decode", "infer", "scale", "encode", "mux"), 0.5)
        stages = stage_ms({"frames": 100, "stage_seconds": seconds, "providers": ["cpu"]})
        self.assertEqual(set(stages.values()), {5.0})
        plain = stage_ms({"frames": 100, "stage_seconds": seconds, "providers": []})
        self.assertEqual(plain["scaler"], 10.0)
        self.assertLessEqual(set(stages) | set(plain), set(part_stages.STAGES))

    def test_what_the_command_line_refuses(self):
        for wrong in (["--parts", "speed"], ["--parts", ","], ["--seconds", "10"], ["--rounds", "0"]):
            with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()):
                run.arguments(wrong)
        self.assertEqual(run.arguments(["--parts", "serving, profile"]).chosen, ["serving", "profile"])
        self.assertEqual(run.arguments([]).chosen, list(run.PARTS))


class Live(unittest.TestCase):
    def test_a_window_slides_and_wraps(self):
        live = live_origin.Live(Path("clip"), ["a.ts", "b.ts", "c.ts"], 4.0, 1.0)
        first = live_origin.BEFORE
        self.assertEqual([live.first(at) - first for at in (0.5, 1, 4.9, 5, 13)], [-1, 0, 0, 1, 3])
        target, listed = live_player.read_media(live.playlist(1.0))
        self.assertEqual((target, len(listed)), (4.0, live_origin.WINDOW))
        self.assertEqual((listed[0].number, listed[0].seconds, listed[0].uri), (first, 4.0, f"{first}.ts"))
        # 20 and 21: the discontinuity before 21 is inside the first, and has left with the second
        for at, count in ((1.0, 6), (5.0, 6), (9.0, 7)):
            self.assertIn(f"DISCONTINUITY-SEQUENCE:{count}\n", live.playlist(at))
        self.assertEqual(live.playlist(5.0).splitlines()[6], "#EXT-X-DISCONTINUITY")
        newest = first + live_origin.WINDOW - 1
        self.assertEqual(live.segment(newest, 1.0), Path("clip") / live.names[newest % 3])
        self.assertIsNone(live.segment(newest + 1, 1.0), "is not recorded yet")
        self.assertIsNone(live.segment(first - live_origin.KEPT - 1, 1.0), "is gone")

    def test_a_buffer_plays_in_real_time_and_runs_dry(self):
        buffer = live_player.Buffer()
        self.assertEqual(buffer.add(4, 100), 0, "does not play with one segment")
        buffer.add(4, 103)
        self.assertEqual(buffer.look(107), 4)
        self.assertEqual(buffer.add(4, 110), 1)
        self.assertEqual(buffer.add(4, 117), -2)
        self.assertEqual(buffer.stalls, [{"at": 115, "seconds": 2}])
        self.assertEqual((buffer.lowest_s, buffer.look(118)), (-2, 3))
        buffer.end(130)
        self.assertEqual(buffer.stalls[1], {"at": 121, "seconds": 9})

    def test_who_made_it(self):
        seen = {"cache-status": 'far; hit; detail="x", acuity; hit; ttl=58; detail="generic-x2-s"'}
        self.assertEqual(live_player.made_by(seen), "generic-x2-s")
        self.assertIsNone(live_player.made_by({}))
        self.assertEqual(
            [part_live.tier(maker) for maker in ("freedoom-x2-m", "plain", "source")], ["m", "plain", "source"]
        )

    def test_counters_grow(self):
        before = {'a_total{kept="no",who="viewer"}': 1.0}
        after = {'a_total{kept="no",who="viewer"}': 3.0, 'a_total{kept="yes",who="start"}': 2.0, "b_total": 9.0}
        self.assertEqual(live_watch.grown(before, after, "a_total", "who", "kept"), {"viewer no": 2, "start yes": 2})

    def test_what_ffmpeg_says_of_a_loop_is_no_error(self):
        loop = ["[hls @ 0x1] Packet corrupt (stream = 0, dts = 5523000).", "b.m3u8: corrupt input packet in stream 0"]
        fault = ["[hls @ 0x1] Packet corrupt (stream = 0, dts = 1203000).", "b.m3u8: corrupt input packet in stream 0"]
        self.assertEqual(live_watch.besides_the_loop(iter([*loop, "other", *fault]), 60), ["other", *fault])

    def test_the_edges_policy_is_the_parts(self):
        rust = (ROOT / "config/src/enhancer.rs").read_text()
        self.assertRegex(rust, rf"\n +fraction: {part_live.DEADLINE_FRACTION},")


class Fairness(unittest.TestCase):
    """The peer has to encode as the edge does; these fail when the edge's encoder changes, and say where."""

    def test_the_peers_encoder_is_the_edges(self):
        rust = (ROOT / "enhancer/src/codec/encoder.rs").read_text()
        stated = re.search(r'"(bframes=[^"]*)\{search\}"', rust)
        search = re.search(r'Effort::Full, Preset::Superfast\) => "([^"]*)"', rust)
        self.assertTrue(stated and search, "encoder.rs no longer states x264-params in one string: look at peers.py")
        # Another number for parameter sets costs nothing: the edge's stand beside the source's in one stream.
        stated = re.sub(r"\\\n *", "", stated[1]).replace(":sps-id={OWN_PARAMETER_SETS}", "")
        self.assertEqual(stated + search[1], peers.X264_PARAMS)
        for name, value in (
            ("RATE_BUFFER_SECONDS: f64", peers.RATE_BUFFER_S),
            ("KEYFRAME_SECONDS: u64", peers.KEYFRAME_S),
        ):
            self.assertIn(f"{name} = {value};", rust)

    def test_preset_and_crf_are_the_defaults(self):
        rust = (ROOT / "config/src/enhancer.rs").read_text()
        self.assertIn(f"preset: Preset::{peers.PRESET.capitalize()},", rust)
        self.assertIn(f"crf: {peers.CRF},", rust)

    def test_differing_settings_are_found(self):
        ours = {"crf": "15.0", "threads": "2", "subme": "2"}
        self.assertEqual(peers.differing(ours, {**ours, "threads": "3"}), {})
        self.assertEqual(
            peers.differing(ours, {"crf": "23.0", "threads": "2"}), {"crf": ["15.0", "23.0"], "subme": ["2", None]}
        )


class Measuring(unittest.TestCase):
    def test_a_pipe_is_measured_as_one(self):
        script = "x = bytearray(60 << 20); print(sum(i * i for i in range(10 ** 6)))"
        usage = measure([sys.executable, "-c", script], ["cat"], threads=True)
        self.assertGreater(usage.cpu_s, 0.01)
        self.assertGreaterEqual(usage.wall_s * 1.5 + 0.1, usage.cpu_s)
        self.assertGreater(usage.peak_mib, 5)

    def test_a_failure_tells_why(self):
        with self.assertRaisesRegex(BenchError, "because of this"):
            measure([sys.executable, "-c", "import sys; sys.exit('because of this')"])

    def test_a_run_that_hangs_is_ended(self):
        with self.assertRaisesRegex(BenchError, "ended with -9"):
            measure(["sleep", "30"], timeout_s=0.2)


class NoNetworks:
    """Stands for the peers' networks, which a test need not have."""

    def usable(self):
        return {}, {"fsrcnn (ORT)": "not in a test"}


@unittest.skipUnless(ACUITY.is_file() and shutil.which("ffmpeg"), f"needs {ACUITY} and ffmpeg")
class Whole(unittest.TestCase):
    """One second of a test picture through the real thing."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        source = self.folder / "source.mp4"
        picture = "testsrc2=size=256x144:rate=12:duration=1"
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            picture,
            "-c:v",
            "libx264",
            "-pix_fmt",
            "yuv420p",
            source,
        ]
        subprocess.run([str(part) for part in command], check=True)
        self.clip = clips.make(source, self.folder / "clips", 128, 96, 12, seconds=2, segment_s=1)
        self.setting = Setting(
            root=ROOT,
            acuity=ACUITY,
            source=source,
            quick=True,
            rounds=1,
            seconds=2,
            places=["--models", ROOT / "models/zoo"],
            enhancer=[],
            tiers=[],
            peers=NoNetworks(),
            say=lambda words: None,
            scratch=self.folder / "scratch",
        )
        self.setting.scratch.mkdir()

    def test_end_to_end(self):
        result = part_end_to_end.run(self.setting, self.clip)
        self.assertEqual(result["warnings"], [], "x264 has to have had the same settings")
        rows = {row["label"]: row for row in result["rows"]}
        self.assertLess({peers.FLOOR, f"acuity {PLAIN}"}, set(rows))
        self.assertEqual(rows[peers.FLOOR]["to_floor"]["median"], 1)
        self.assertEqual(rows[f"acuity {PLAIN}"]["made_by"], {"bicubic": 2})
        self.assertEqual((result["target"]["width"], result["target"]["height"]), (256, 192))
        self.assertIn("not in a test", part_end_to_end.text(result))
        json.dumps(result)

    def test_frame_rate(self):
        result = part_frame_rate.rows(self.setting, self.clip, part_frame_rate.same_size(self.setting))
        self.assertEqual(result["warnings"], [], "x264 has to have had the same settings")
        self.assertEqual(result["target"]["fps_milli"], 2000 * self.clip.fps)
        rows = {row["label"]: row for row in result["rows"]}
        self.assertLessEqual({*part_frame_rate.FILTERS, "acuity repeat", "acuity blend"}, set(rows))
        self.assertEqual(part_frame_rate.text({"same_size": result, "enlarged": result}).count("acuity blend"), 2)

    def test_serving_segments(self):
        row = part_first_byte.one(self.setting, replace(self.clip), "plain", 2)
        self.assertEqual((row["bad"], row["made_by"], row["cold"]["n"]), (0, {"plain": 2}, 2))
        self.assertLessEqual(row["cold"]["first_byte_s_p50"], row["cold"]["whole_s_p50"])
        self.assertIn("plain, cached", part_first_byte.text({"rows": [row]}))

    def test_live_streams(self):
        made = [(self.setting.source, 0, self.clip)] * part_live.STREAMS
        seen = part_live.play(self.setting, made, 6, 2)
        self.assertEqual(part_live.seen_errors(seen), [])
        self.assertEqual((seen["undecodable"]["bad"], len(seen["players"])), ([], part_live.PLAYERS))
        for player in seen["players"]:
            self.assertGreaterEqual(len(player["segments"]), 3)
        result = part_live.account(seen)
        self.assertTrue(result["bar"]["no error"]["holds"])
        self.assertIn("the bar is", part_live.text(result))
        json.dumps(result)


if __name__ == "__main__":
    unittest.main()
