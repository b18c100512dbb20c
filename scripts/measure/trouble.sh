#!/usr/bin/env bash
# What becomes of viewers and of the edge when things go wrong. Prints its figures; exits with 1 where a viewer had to pay.
#   scripts/measure/trouble.sh chaos [--seconds 300 --every 2 --workers 1 --spare 1 --players 3]     workers are hurt
#   scripts/measure/trouble.sh mutations [--inputs 100000 --seconds 3600 --seed 1 --memory FILE.csv]   segments are damaged
#   scripts/measure/trouble.sh overload [--seconds 300 --times 10 --hot 40 --workers 0]               more is wanted than can be made
#   scripts/measure/trouble.sh soak [--minutes 30 --viewers 8 --every 3 --seed 1 --memory FILE.csv]    all of it by turns
set -euo pipefail
cd "$(dirname "$0")/../.."
case "${1:-}" in
  chaos | mutations) program=worker-$1 ;;
  overload | soak) program=$1 ;;
  *)
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 1
    ;;
esac
shift
cargo build --release --package acuity --package acuity-tests
exec "${CARGO_TARGET_DIR:-target}/release/$program" "$@"
