#!/usr/bin/env bash
# A virtual environment with the linters that deploy/test_deploy.py runs: exactly what scripts/pins/lint.txt says, with pip as the client.
. "$(dirname "$0")/lib.sh"

pins="$root/scripts/pins/lint.txt"
folder="$cache/lint"
stamp="$folder/pins.txt"
cmp -s "$pins" "$stamp" && exit 0
[ "$(uname -m)" = x86_64 ] || die "the linters that are pinned are for x86_64, not $(uname -m)"

say "fetching the linters for deploy/ (110 MB, once)"
rm -rf "$folder"
# Debian's own interpreter: the one that the wheels are pinned for
/usr/bin/python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes --requirement "$pins"
cp "$pins" "$stamp" # last: an interrupted run starts over
