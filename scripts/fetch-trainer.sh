#!/usr/bin/env bash
# A virtual environment for the trainer's tests: Debian's PyTorch and NumPy, and the pinned rest.
. "$(dirname "$0")/lib.sh"

locks=("$root/models/trainer/requirements.lock")
# libvmaf for the evidence's tests; the wheel that is pinned is for this architecture, and elsewhere they are skipped
[ "$(uname -m)" = x86_64 ] && locks+=("$root/models/trainer/requirements-evidence.lock")
folder="$cache/trainer"
stamp="$folder/requirements.lock"
cat "${locks[@]}" | cmp -s - "$stamp" && exit 0
say "fetching what the trainer's tests need"
rm -rf "$folder"
# Debian's own interpreter: the one that sees python3-torch
/usr/bin/python3 -m venv --system-site-packages "$folder"
for lock in "${locks[@]}"; do
    "$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
done
cat "${locks[@]}" > "$stamp" # last: an interrupted run starts over
