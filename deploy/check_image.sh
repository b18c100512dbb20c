#!/usr/bin/env bash
# Runs the image that deploy/Dockerfile makes of a pack, without anything that runs containers: lays its files out as the Dockerfile says,
# read-only, and starts its command as its user, in namespaces of its own. It has to become healthy by its own health check, ready, and
# to end on SIGTERM.
#   check_image.sh FOLDER      (the unpacked pack)
# Wants root, because the image's user is another one: without, the user is not tried.
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

if [ $# -ne 1 ] || [ ! -x "$1/bin/acuity" ]; then die "usage: check_image.sh FOLDER"; fi
pack=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir -m 755 "$work/image"

# The few instructions that there are; another one is an error here, so that nobody believes it was tried.
python3 - "$root/deploy/Dockerfile" "$pack" "$work/image" >"$work/words" <<'PY'
"""Lays out the files, and writes a bash array for each of user, working directory, command and health check."""
import json
import os
import re
import shlex
import shutil
import sys

dockerfile, pack, image = sys.argv[1:]
text = re.sub(r"^#.*\n", "", open(dockerfile).read(), flags=re.MULTILINE).replace("\\\n", " ")
told, stage = {}, ""
for line in filter(str.strip, text.splitlines()):
    word, rest = line.split(maxsplit=1)
    if word == "FROM":
        stage = rest.split()[-1]
    elif stage == "cuda":
        continue
    elif word == "COPY":
        source, target = rest.split()
        target = image + target
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(os.path.join(pack, source)):
            shutil.copytree(os.path.join(pack, source), target, symlinks=True, copy_function=os.link, dirs_exist_ok=True)
        else:
            shutil.copy(os.path.join(pack, source), target)
    elif word == "WORKDIR":
        os.makedirs(image + rest, exist_ok=True)
        told["workdir"] = [rest]
    elif word in ("ENTRYPOINT", "CMD"):
        told[word.lower()] = json.loads(rest)
    elif word == "HEALTHCHECK":
        told["health"] = json.loads(rest.split(" CMD ", 1)[1])
    elif word == "USER":
        told["user"] = [rest]
    elif word not in ("ARG", "LABEL", "EXPOSE", "STOPSIGNAL"):
        sys.exit(f"error: {word} is not known here")
for name, words in told.items():
    print(f"{name}=({' '.join(map(shlex.quote, words))})")
PY
# what a container's runtime makes
mkdir -p "$work/image"/{proc,dev,etc/acuity}
cat >"$work/image/etc/acuity/acuity.toml" <<'TOML'
[server]
listen = ["0.0.0.0:8080"]
drain_notice_seconds = 0
drain_seconds = 1
[admin]
listen = "0.0.0.0:9090"
unprotected = true
[[route]]
origin = "http://127.0.0.1:9"
TOML

cat >"$work/inside" <<'INSIDE'
set -euo pipefail
image=$1
. "$2"
python3 -c 'import fcntl, socket, struct
# lo goes up: SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 0x41))'
mount --bind "$image" "$image"
mount -o remount,bind,ro "$image"
mount -t tmpfs tmpfs "$image/tmp"
mount -t proc proc "$image/proc" 2>/dev/null || mount --rbind /proc "$image/proc"
mount --rbind /dev "$image/dev"
# What a container's runtime does: into the image, its working directory, its user; nothing of the environment goes along.
run() {
  exec_as='import os, sys
image, workdir, user, *command = sys.argv[1:]
os.chroot(image)
os.chdir(workdir)
if user:
    uid, gid = map(int, user.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
os.execve(command[0], command, {})'
  exec python3 -c "$exec_as" "$image" "${workdir[0]}" "$user_here" "$@"
}
user_here=''
if [ "$3" = root ]; then user_here=${user[0]}; fi
run "${entrypoint[@]}" "${cmd[@]}" &
edge=$!
healthy='' ready=''
for _ in $(seq 300); do
  kill -0 "$edge" 2>/dev/null || { echo "error: it has ended" >&2; exit 1; }
  [ -n "$healthy" ] || { (run "${health[@]}") >/dev/null 2>&1 && healthy=yes; } || true
  ready=$(python3 -c 'import urllib.request
try: print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open("http://127.0.0.1:9090/readyz", timeout=2).status)
except OSError: pass')
  [ -z "$healthy" ] || [ "$ready" != 200 ] || break
  sleep 0.2
done
[ -n "$healthy" ] || { echo "error: never healthy" >&2; exit 1; }
[ "$ready" = 200 ] || { echo "error: never ready" >&2; exit 1; }
# the numbers of the image's own user, not of who checks it
seen=$(awk '/^Uid:/ { uid = $2 } /^Gid:/ { gid = $2 } END { print uid ":" gid }' "$image/proc/$edge/status")
[ -z "$user_here" ] || [ "$seen" = "$user_here" ] || { echo "error: it runs as $seen" >&2; exit 1; }
echo "healthy and ready, as $seen"
kill -TERM "$edge"
wait "$edge" || { echo "error: SIGTERM ended it with $?" >&2; exit 1; }
(run "${health[@]}") >/dev/null 2>&1 && { echo "error: healthy without an edge" >&2; exit 1; }
exit 0
INSIDE

say "the image's command, as its user, in a root that is the image"
namespaces=(--mount --net --pid --fork --kill-child) who=root
if [ "$(id -u)" -ne 0 ]; then namespaces+=(--map-root-user) who=mapped; fi
timeout 120 unshare "${namespaces[@]}" bash "$work/inside" "$work/image" "$work/words" $who 2>"$work/log" || {
  cat "$work/log" >&2
  die "the image does not run"
}
say "the image of $(basename "$pack") runs"
