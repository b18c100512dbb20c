"""Playlists, fetching, and which segments are held out."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

from acuity_trainer import decode, fetch, ladder, playlist

from . import renditions

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


class Playlists(unittest.TestCase):
    def test_variants_with_and_without_resolution(self):
        text = "\ufeff#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=5,RESOLUTION=640X360\n\na.m3u8\n"
        text += "#EXT-X-STREAM-INF:BANDWIDTH=9\n../b?x=1\n"
        low, other = playlist.multivariant(text, "http://host/x/master.m3u8")
        self.assertEqual((low.uri, low.width, low.height, low.bandwidth), ("http://host/x/a.m3u8", 640, 360, 5))
        self.assertEqual((other.uri, other.height), ("http://host/b?x=1", 0))

    def test_a_media_playlists_tags(self):
        text = """#EXTM3U
#EXT-X-DEFINE:NAME="path",VALUE="media"
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-MAP:URI="init.mp4",BYTERANGE="100@0"
#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z
#EXTINF:2.5,
#EXT-X-BYTERANGE:10@100
{$path}.mp4
#EXTINF:1.5,
#EXT-X-BYTERANGE:20
{$path}.mp4
#EXT-X-GAP
#EXTINF:2,
gone.mp4
#EXT-X-DISCONTINUITY
#EXTINF:2,
next.mp4
#EXT-X-ENDLIST
"""
        media = playlist.media(text, "http://host/v.m3u8")
        first, second, third = media.segments
        self.assertTrue(media.ended)
        self.assertEqual(first.piece, playlist.Piece("http://host/media.mp4", 100, 10))
        self.assertEqual(second.piece, playlist.Piece("http://host/media.mp4", 110, 20))
        self.assertEqual(first.init, playlist.Piece("http://host/init.mp4", 0, 100))
        self.assertEqual((second.sequence, second.start_s, second.epoch), (8, 2.5, 0))
        self.assertEqual((third.sequence, third.start_s, third.epoch, third.wall_clock_s), (10, 6.0, 1, None))
        self.assertAlmostEqual(second.wall_clock_s - first.wall_clock_s, 2.5)

    def test_what_cannot_be_used_says_why(self):
        for text, why in (
            ("<html>", "does not begin with #EXTM3U"),
            ("#EXTM3U\n", "no segments"),
            ("#EXTM3U\na.ts\n", "no #EXTINF"),
            ("#EXTM3U\n#EXTINF:x,\na.ts\n", "no duration"),
            ('#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"\n#EXTINF:1,\na.ts\n', "protected"),
            ("#EXTM3U\n#EXT-X-I-FRAMES-ONLY\n", "I-frames only"),
            ("#EXTM3U\n#EXTINF:1,\n#EXT-X-BYTERANGE:5\na.ts\n", "without an offset"),
        ):
            with self.subTest(why), self.assertRaisesRegex(playlist.PlaylistError, why):
                playlist.media(text, "v.m3u8")

    @unittest.skipUnless(SHARED.is_dir(), "the shared data are not there")
    def test_every_real_and_odd_playlist_parses_or_is_refused_with_a_reason(self):
        parsed = 0
        for path in sorted((SHARED / "hls").rglob("*.m3u8")):
            text = path.read_text(encoding="utf-8", errors="replace")
            try:
                read = playlist.multivariant if playlist.is_multivariant(text) else playlist.media
                read(text, path.as_uri())
                parsed += 1
            except playlist.PlaylistError as refused:
                self.assertIn(path.name, str(refused))
        self.assertGreater(parsed, 50)


def segments(count, duration_s=2.0, epoch=lambda index: 0):
    return tuple(
        playlist.Segment(playlist.Piece(f"{i}.ts"), i, i * duration_s, duration_s, epoch(i)) for i in range(count)
    )


class HeldOut(unittest.TestCase):
    def split(self, low, high=None, most_s=1e9, **more):
        both = playlist.Media(low, True), playlist.Media(high or low, True)
        return ladder.stretches(*both, most_s, **more)

    def test_it_is_the_newest_tenth_of_whole_segments_and_never_both(self):
        trained, held_out = self.split(segments(40))
        self.assertFalse(trained.held_out)
        self.assertTrue(held_out.held_out)
        self.assertEqual([s.sequence for s in held_out.low], [36, 37, 38, 39])
        self.assertEqual([s.sequence for s in trained.low], list(range(36)))
        self.assertFalse(set(trained.low + trained.high) & set(held_out.low + held_out.high))

    def test_it_lasts_two_seconds_at_least(self):
        _, held_out = self.split(segments(8, 0.5))
        self.assertEqual(held_out.end_s - held_out.start_s, 2.0)

    def test_high_segments_over_the_line_are_held_out(self):
        trained, held_out = self.split(segments(40), segments(14, 6.0))
        self.assertLessEqual(trained.high[-1].end_s, held_out.start_s)
        self.assertFalse(set(trained.high) & set(held_out.high))

    def test_a_long_stream_is_sampled_evenly_on_both_sides_of_the_line(self):
        found = self.split(segments(1800), most_s=120)
        trained = [stretch for stretch in found if not stretch.held_out]
        held_out = [stretch for stretch in found if stretch.held_out]
        self.assertLess(sum(s.end_s - s.start_s for s in found), 150)
        self.assertGreater(len(trained), 5)
        self.assertGreater(trained[-1].start_s - trained[0].start_s, 2400)
        self.assertGreaterEqual(min(s.start_s for s in held_out), 3240)

    def test_discontinuities_and_missing_segments_part_stretches(self):
        low = segments(40, epoch=lambda index: int(index >= 10))
        self.assertEqual([len(s.low) for s in self.split(low)], [10, 26, 4])
        self.assertEqual([len(s.low) for s in self.split(segments(40), gone={("low", 5)})], [5, 30, 4])

    def test_too_few_segments_are_refused(self):
        with self.assertRaisesRegex(ladder.LadderError, "too few"):
            self.split(segments(1, 6.0))

    def test_live_windows_are_matched_by_clock_or_by_number(self):
        low = segments(10)
        high = tuple(playlist.Segment(s.piece, s.sequence, s.start_s - 4.0, 2.0, 0) for s in low[2:])
        shift = ladder._shift_s(playlist.Media(low, False), playlist.Media(high, False))
        self.assertEqual(shift, 4.0)


class Fetching(unittest.TestCase):
    def test_a_network_playlist_may_not_name_files_here(self):
        with self.assertRaisesRegex(fetch.FetchError, "may not name files"):
            fetch.get("file:///etc/passwd", came_from="http://host/a.m3u8")
        with self.assertRaisesRegex(fetch.FetchError, "scheme"):
            fetch.get("concat:a|b")

    def test_ranges_retries_and_answers_for_good(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "a").write_bytes(b"0123456789")
            failures = [True, True, False]
            with renditions.served(folder, lambda path: failures and failures.pop(0), 503) as (url, asked):
                data, _ = fetch.get(f"{url}/a", 2, 3, pause=lambda _: None)
            self.assertEqual((data, len(asked)), (b"234", 3))
            with renditions.served(folder, lambda path: True, 503) as (url, asked):
                with self.assertRaisesRegex(fetch.FetchError, "503"):
                    fetch.get(f"{url}/a", pause=lambda _: None)
                self.assertEqual(len(asked), fetch.TRIES)
            with renditions.served(folder) as (url, asked):
                with self.assertRaisesRegex(fetch.GoneError, "404"):
                    fetch.get(f"{url}/b")
                self.assertEqual(len(asked), 1, "an answer for good is not asked for again")
        with self.assertRaisesRegex(fetch.FetchError, "refused"):
            fetch.get(f"{url}/a", pause=lambda _: None)


@unittest.skipUnless(renditions.HAVE_FFMPEG, "there is no ffmpeg command")
class Ladders(unittest.TestCase):
    def fetched(self, source, folder, **more):
        return ladder.fetch(source, *(size[1] for size in (renditions.LOW, renditions.HIGH)), folder, 600, **more)

    def count(self, fetched, side, folder):
        """Pictures of all stretches of one side."""
        total = 0
        for stretch in fetched.stretches:
            fetched.join(stretch, side, Path(folder) / "joined")
            total += sum(1 for _ in decode.pictures(Path(folder) / "joined"))
        return total

    def test_every_container_arrives_whole(self):
        kinds = (("mpegts", {}), ("fmp4", {}), ("mpegts", {"resolution": False}), ("mpegts", {"live": True}))
        for container, more in kinds:
            with self.subTest(container, **more), tempfile.TemporaryDirectory() as folder:
                renditions.ladder(Path(folder) / "origin", 5, container, **more)
                with renditions.served(Path(folder) / "origin") as (url, _):
                    fetched = self.fetched(f"{url}/master.m3u8", Path(folder) / "here", say=lambda _: None)
                for side in ("low", "high"):
                    self.assertEqual(self.count(fetched, side, folder), 5 * renditions.FPS)

    def test_encrypted_segments_are_decrypted(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / "k").write_bytes(bytes(range(16)))
            (folder / "info").write_text(f"../k\n{folder}/k\n", encoding="utf-8")
            master = renditions.ladder(folder / "origin", 5, key=folder / "info")
            (folder / "origin" / "k").write_bytes(bytes(range(16)))
            fetched = self.fetched(str(master), folder / "here", say=lambda _: None)
            self.assertEqual(self.count(fetched, "high", folder), 5 * renditions.FPS)

    def test_what_is_here_is_not_fetched_again_and_what_is_gone_is_left_out(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            renditions.ladder(folder / "origin", 6)
            said = []
            with renditions.served(folder / "origin", lambda path: path == "/128p/001.ts") as (url, asked):
                source = f"{url}/master.m3u8"
                stop = mock.Mock(side_effect=[None] * 4 + [KeyboardInterrupt])
                with mock.patch.object(ladder, "_progress", stop), self.assertRaises(KeyboardInterrupt):
                    self.fetched(source, folder / "here", say=said.append)
                before = len(asked)
                fetched = self.fetched(source, folder / "here", say=said.append)
                self.assertEqual(len(asked) - before, 12 - 6, "the rest, and no playlist again")
                self.fetched(source, folder / "here", say=said.append)
                self.assertEqual(len(asked) - before, 12 - 6)
            self.assertTrue(any("404" in line for line in said))
            self.assertEqual(self.count(fetched, "low", folder), 5 * renditions.FPS)

    def test_wrong_heights_and_media_playlists_say_what_there_is(self):
        with tempfile.TemporaryDirectory() as folder:
            master = renditions.ladder(Path(folder) / "origin", 4)
            with self.assertRaisesRegex(ladder.LadderError, "height 720; its heights are 128, 256"):
                ladder.choose(str(master), 128, 720)
            with self.assertRaisesRegex(ladder.LadderError, "lists no variants"):
                ladder.choose(str(master.parent / "128p" / "index.m3u8"), 128, 256)


if __name__ == "__main__":
    unittest.main()
