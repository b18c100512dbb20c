#!/usr/bin/env bash
# cargo-deny for the tests, of one version, built below .acuity/cargo-deny (some three minutes on two cores, once).
. "$(dirname "$0")/lib.sh"

version=0.20.2
folder="$cache/cargo-deny"
if [ "$("$folder/bin/cargo-deny" --version 2>/dev/null)" = "cargo-deny $version" ]; then exit 0; fi

say "building cargo-deny $version (once)"
mkdir -p "$cache"
build=$(mktemp -d "$cache/cargo-deny.XXXXXX")
trap 'rm -rf "$build"' EXIT
CARGO_TARGET_DIR="$build/target" cargo install cargo-deny --version "$version" --locked --quiet --root "$build/out"
rm -rf "$folder"
mv "$build/out" "$folder" # last: an interrupted run starts over
