#!/usr/bin/env bash
# hls.js for the demonstration page, Shaka and playwright-core for the browser tests: exactly what the lock file
# says, with npm as the client.
. "$(dirname "$0")/lib.sh"

folder="$root/tests/browser"
stamp="$folder/node_modules/.acuity-lock"
cmp -s "$folder/package-lock.json" "$stamp" && exit 0
say "fetching the players for the page and the browser tests"
(cd "$folder" && npm ci --no-audit --no-fund)
cp "$folder/package-lock.json" "$stamp"
