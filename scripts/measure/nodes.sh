#!/usr/bin/env bash
# How often each segment of a region of three nodes is made, and what clients see when one of them is cut off. Prints its figures; ends
# with 1 where a bar is not kept. Needs root for network namespaces; without, it runs on the loopback interface and says so.
#   scripts/measure/nodes.sh [--segments 200 --clients 50 --at-once 4 --loopback]
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --package acuity --package acuity-tests
exec "${CARGO_TARGET_DIR:-target}/release/nodes" "$@"
