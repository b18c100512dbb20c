#!/usr/bin/env bash
# A virtual environment for the trainer's tests: Debian's PyTorch and NumPy, and the pinned rest.
. "$(dirname "$0")/lib.sh"

lock="$root/models/trainer/requirements.lock"
folder="$cache/trainer"
stamp="$folder/requirements.lock"
cmp -s "$lock" "$stamp" && exit 0
say "fetching what the trainer's tests need"
rm -rf "$folder"
# Debian's own interpreter: the one that sees python3-torch
/usr/bin/python3 -m venv --system-site-packages "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
cp "$lock" "$stamp" # last: an interrupted run starts over
