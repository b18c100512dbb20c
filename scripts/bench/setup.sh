#!/usr/bin/env bash
# What the bench needs beside a build: wrk, nginx and perf from Debian, the trainer's Python environment (numpy, matplotlib,
# ONNX Runtime), and the public network that it is compared with.
# On x86_64 ONNX Runtime with OpenVINO is fetched for the peers' networks too: they get the provider that runs ours.
# Looks first, so a second run takes no time and needs no network.
. "$(dirname "$0")/../lib.sh"

packages=()
# PATH of users other than root leaves sbin out, where nginx is
PATH="$PATH:/usr/sbin"
command -v ffmpeg >/dev/null 2>&1 || packages+=(ffmpeg)
command -v wrk >/dev/null 2>&1 || packages+=(wrk)
command -v nginx >/dev/null 2>&1 || packages+=(nginx-light)
command -v perf >/dev/null 2>&1 || packages+=(linux-perf)
/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
if [ ${#packages[@]} -gt 0 ]; then
  command -v apt-get >/dev/null 2>&1 || die "please install by hand the equivalents of: ${packages[*]}"
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || die "neither root nor sudo: please have installed: ${packages[*]}"
    as_root=(sudo)
  fi
  say "installing with apt: ${packages[*]}"
  "${as_root[@]}" apt-get update -q
  # nginx would be started as a service, on port 80; the bench starts its own, on loopback. Exit code 101: not allowed (policy-rc.d).
  policy=/usr/sbin/policy-rc.d
  made_policy=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod +x "$policy"
    made_policy=1
  fi
  installed=0
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}" || installed=$?
  if [ -n "$made_policy" ]; then "${as_root[@]}" rm -f "$policy"; fi
  [ "$installed" -eq 0 ] || die "apt could not install: ${packages[*]}"
fi

"$root/scripts/fetch-trainer.sh"
[ -n "${CLIP:-}" ] || "$root/scripts/fetch-sample.sh"

# unpack REQUIREMENTS FOLDER [MACHINE...]: a pinned package into a folder of its own, for these machines alone
unpack() {
  local pins="$root/scripts/pins/$1.txt" folder="$cache/bench/$2"
  cmp -s "$pins" "$folder/pins.txt" && return 0
  say "fetching $1 for the bench"
  rm -rf "$folder"
  "$cache/trainer/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes \
    --only-binary=:all: --target "$folder" --requirement "$pins"
  cp "$pins" "$folder/pins.txt" # last: an interrupted run starts over
}

mkdir -p "$cache/bench"
if [ "$(uname -m)" = x86_64 ]; then
  unpack bench-peers peers
  unpack onnxruntime-openvino onnxruntime-openvino
else
  say "no public network is fetched: there is a build of it for x86_64 alone"
fi
