"""Small real renditions for tests: drawn by FFmpeg, coded by libx264, cut into HLS, served by a real server."""

import contextlib
import http.server
import shutil
import subprocess
import threading
from functools import partial
from pathlib import Path

FPS = 15
HIGH, LOW = (384, 256), (192, 128)
# A sharp moving picture, and one that has nothing to do with it.
PATTERN, OTHER = "testsrc2", "mandelbrot"

HAVE_FFMPEG = shutil.which("ffmpeg") is not None


def ffmpeg(*arguments):
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode())


def source(kind=PATTERN, seconds=8, fps=FPS, size=HIGH):
    return ["-f", "lavfi", "-i", f"{kind}=size={size[0]}x{size[1]}:rate={fps}", "-t", str(seconds)]


def coded(crf=18, fps=FPS):
    return ["-c:v", "libx264", "-preset", "veryfast", "-crf", str(crf), "-g", str(fps), "-pix_fmt", "yuv420p", "-an"]


def video(path, size=HIGH, kind=PATTERN, seconds=8, filters="", crf=18, fps=FPS, more=()):
    """One file: `kind` drawn large, filtered, then scaled to `size`."""
    chain = ",".join(part for part in (filters, f"scale={size[0]}:{size[1]}:flags=bicubic") if part)
    ffmpeg(*source(kind, seconds, fps), "-vf", chain, *coded(crf, fps), *more, path)
    return path


def pair(folder, low="", high="", **more):
    """(low file, high file), each with filters of its own."""
    folder = Path(folder)
    low_file = video(folder / "low.mp4", LOW, filters=low, crf=26, **more)
    return low_file, video(folder / "high.mp4", HIGH, filters=high, **more)


def ladder(folder, seconds=8, container="mpegts", live=False, high_filters="", resolution=True, key=None):
    """A ladder of two renditions in one-second segments; its multivariant playlist."""
    folder = Path(folder)
    lines = ["#EXTM3U"]
    for size, crf in ((LOW, 26), (HIGH, 18)):
        home = folder / f"{size[1]}p"
        home.mkdir(parents=True)
        chain = ",".join(part for part in (high_filters if size == HIGH else "", f"scale={size[0]}:{size[1]}") if part)
        hls = ["-f", "hls", "-hls_time", "1", "-hls_list_size", "0", "-hls_segment_type", container]
        hls += ["-hls_playlist_type", "vod"] if not live else []
        hls += ["-hls_key_info_file", str(key)] if key else []
        name = "%03d.ts" if container == "mpegts" else "%03d.m4s"
        # no B pictures: FFmpeg's muxers then begin both renditions at one time
        ffmpeg(
            *source(seconds=seconds), "-vf", chain, *coded(crf), "-bf", "0", "-sc_threshold", "0", *hls,
            "-hls_segment_filename", home / name, home / "index.m3u8",
        )  # fmt: skip
        if live:
            text = (home / "index.m3u8").read_text(encoding="utf-8").replace("#EXT-X-ENDLIST\n", "")
            (home / "index.m3u8").write_text(text, encoding="utf-8")
        shape = f",RESOLUTION={size[0]}x{size[1]}" if resolution else ""
        lines += [f"#EXT-X-STREAM-INF:BANDWIDTH={size[0] * 1000}{shape}", f"{size[1]}p/index.m3u8"]
    master = folder / "master.m3u8"
    master.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return master


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.server.refuse(self.path):
            self.send_error(self.server.code)
            return
        # whoever asked may be dead by now: that is what some tests are about
        with contextlib.suppress(ConnectionError):
            super().do_GET()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder, refuse=lambda path: False, code=404):
    """A server of `folder`: (its URL, the list of paths asked for so far)."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    server.asked, server.refuse, server.code = [], refuse, code
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
