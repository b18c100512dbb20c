#!/usr/bin/env bash
# The quick check for `make test`: packs the program that was built, without an archive, and runs it from there with nothing else.
# Takes about twenty seconds. A line in scripts/test.sh after the build:
#   check "the packed program runs by itself" deploy/test_pack.sh
# shellcheck source=SCRIPTDIR/../scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$root/deploy/pack.sh" --binary "${1:-$root/target/release/acuity}" --no-archive --out "$folder"
"$root/deploy/check_image.sh" "$folder"/acuity-*
"$root/deploy/check_pack.sh" "$folder"/acuity-*
