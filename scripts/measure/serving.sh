#!/usr/bin/env bash
# Cached enhanced segments and passed-through ones from the edge against nginx, with wrk on loopback, in turn: the bench's part.
#   scripts/measure/serving.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
python=.acuity/trainer/bin/python
[ -x "$python" ] || python=python3 # it only draws the picture
exec "$python" scripts/bench/run.py --parts serving --rounds "${1:-5}"
