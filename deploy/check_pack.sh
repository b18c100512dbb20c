#!/usr/bin/env bash
# Shows that what pack.sh made runs without the machine it was made on: every library it needs is in it, and the program lists its
# models and enhances a second of video in a root that holds nothing else.
#   check_pack.sh FOLDER|ARCHIVE.tar.xz
# Wants ffmpeg and ffprobe on this machine, for the clip and to look at the result. Needs no root where the kernel lets users make
# namespaces.
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

[ $# -eq 1 ] || die "usage: check_pack.sh FOLDER|ARCHIVE.tar.xz"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $1 in
*.tar.xz)
  tar --extract --xz --file "$1" --directory "$work"
  top=$(echo "$work"/acuity-*)
  ;;
*)
  # a copy: the root gets folders that are no part of the pack, and links share the bytes
  top=$work/pack
  cp -al "$1" "$top" 2>/dev/null || cp -a "$1" "$top"
  ;;
esac
[ -x "$top/bin/acuity" ] || die "$1 holds no bin/acuity"

say "every byte is as it was packed"
(cd "$top" && sha256sum --check --quiet MANIFEST)

say "what an image is made of is there"
# deploy/Dockerfile copies them and starts the program by the loader's name
for file in certificates/ca-certificates.crt loader/acuity libexec/acuity licences/debian/ca-certificates; do
  [ -s "$top/$file" ] || die "$1 holds no $file"
done
grep -q 'BEGIN CERTIFICATE' "$top/certificates/ca-certificates.crt" || die "certificates/ca-certificates.crt holds none"

say "every library comes out of the pack"
# The driver's alone may be missing: they belong to the machine's kernel module.
bare() { env -i "$top/loader/acuity" --inhibit-cache --library-path "$top/lib:$top/cuda" "$@"; }
for file in "$top"/libexec/* "$top"/lib/*.so* "$top"/onnxruntime/*.so* "$top"/cuda/*.so*; do
  [ -f "$file" ] || continue
  # the loader itself has none
  [ "$(realpath "$file")" != "$(realpath "$top/loader/acuity")" ] || continue
  listed=$(bare --list "$file" 2>&1 || true)
  outside=$(awk '$2 == "=>" && $3 != "not" && $3 ~ "^/" { print $3 }' <<<"$listed" | grep -v "^$work/" || true)
  missing=$(awk '/not found/ { print $1 }
    /cannot open shared object file/ { sub(/.*shared libraries: /, ""); sub(/:.*/, ""); print }' <<<"$listed" |
    grep -vE '^lib(cuda|nvidia-|nvcuvid)' || true)
  [ -z "$outside$missing" ] || die "${file#"$top/"} needs, from outside: $outside$missing"
done

say "the launcher leaves the environment as it was"
# shells set PWD and their like, whatever they run; what the program starts itself again by is the launcher's to say
cp /usr/bin/env "$top/libexec/probe"
cp "$top/bin/acuity" "$top/bin/probe"
ln -s "$(readlink "$top/loader/acuity")" "$top/loader/probe"
ln -s "$top/bin/probe" "$work/linked"
left=$(cd / && env -i PATH="$PATH" KEPT=yes "$work/linked")
[ "$(grep -vE '^(PATH|PWD|OLDPWD|SHLVL|_|ACUITY_PROGRAM|ACUITY_WORKER)=' <<<"$left")" = KEPT=yes ] || die "the launcher's environment: $left"
rm "$top"/{bin,libexec,loader}/probe

say "an empty root: the command's help, the models, a second of video"
mkdir -p "$top"/{tmp,proc}
ffmpeg -v error -nostdin -f lavfi -i testsrc2=size=640x360:rate=30:duration=1 -pix_fmt yuv420p -c:v libx264 -threads 1 "$top/tmp/clip.mp4"
# The very words of the launcher, for which an empty root has no shell. /proc is the kernel's, and there on every machine.
alone() {
  # shellcheck disable=SC2016 # the inner shell's words
  unshare --map-root-user --mount sh -euc 'top=$1 && shift && mount --rbind /proc "$top/proc"
    exec env -i PATH="$PATH:/usr/sbin" chroot "$top" /loader/acuity --argv0 acuity --library-path /lib:/cuda /libexec/acuity "$@"' \
    alone "$top" "$@"
}
alone --help >"$work/help"
grep -q '^Usage: acuity' "$work/help" || die "no help: $(cat "$work/help")"
alone models >"$work/models"
grep -q 'generic-x2-s.* ok' "$work/models" || die "no models: $(cat "$work/models")"
alone enhance /tmp/clip.mp4 -o /tmp/large.mp4 --model generic-x2-s --json /tmp/account.json 2>"$work/enhance" || die "$(cat "$work/enhance")"
seen=$(ffprobe -v error -select_streams v:0 -count_frames -show_entries stream=width,height,nb_read_frames -of csv=p=0 "$top/tmp/large.mp4")
[ "$seen" = 1280,720,30 ] || die "the enhanced clip is $seen"
python3 - "$top/tmp/account.json" <<'PY'
"""The network made the pictures, not the plain scaler."""
import json
import sys

account = json.load(open(sys.argv[1]))
print("made by", account["made_by"], "on", account["providers"])
if account["fallbacks"] or not any("generic" in name for name in account["made_by"]):
    sys.exit(f"error: {account['fallbacks']} {account['made_by']}")
PY

say "the launcher, from elsewhere"
(cd / && env -i PATH="$PATH" "$top/bin/acuity" models) | cmp - "$work/models"
say "$(basename "$1") runs by itself"
