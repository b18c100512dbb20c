#!/usr/bin/env bash
# `make test`: sets up what the tests need, then runs every one there is. Goes on after a failure, so that one run shows
# all of them, and ends with the sum: "N passed, N failed".
. "$(dirname "$0")/lib.sh"
cd "$root"

passed=0
failed=0
logs="$cache/log"
mkdir -p "$logs"
# failures are told by their message; the way into the runtime's inside is asked for when it is needed
export RUST_BACKTRACE=${RUST_BACKTRACE:-0}
# Scenarios wait more than they work: for playlists to end, for time limits, for a disk that hangs.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-3}

# check NAME COMMAND...: one thing that holds or does not
check() {
  local name=$1
  shift
  say "$name"
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED - $name"
  fi
}

# suite NAME COUNT COMMAND...: many things; COUNT is a function that reads "passed failed" out of the suite's output
suite() {
  local name=$1 count=$2 log status=0 good=0 bad=0
  shift 2
  log="$logs/test-${name// /-}.log"
  say "$name"
  "$@" 2>&1 | tee "$log" || status=$?
  read -r good bad <<<"$("$count" <"$log")"
  # a suite that broke without counting a failure is a failure all the same
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  passed=$((passed + good))
  failed=$((failed + bad))
}

# cargo: "test result: ok. 12 passed; 0 failed; ..." for each test program
count_cargo() { awk '/^test result:/ { good += $4; bad += $6 } END { print good + 0, bad + 0 }'; }
# unittest: "Ran 5 tests in ..." and perhaps "FAILED (failures=1, errors=2)"
count_unittest() {
  awk '/^Ran [0-9]+ test/ { all += $2 }
    /^FAILED \(/ { line = $0; while (match(line, /(failures|errors)=[0-9]+/)) {
      split(substr(line, RSTART, RLENGTH), pair, "="); bad += pair[2]; line = substr(line, RSTART + RLENGTH) } }
    /skipped=/ { match($0, /skipped=[0-9]+/); skipped += substr($0, RSTART + 8, RLENGTH - 8) }
    END { print all - bad - skipped, bad + 0 }'
}
# ours: "browser: 3 passed, 0 failed"
count_browser() { awk '/^browser: / { good = $2; bad = $4 } END { print good + 0, bad + 0 }'; }

scripts/setup.sh test
scripts/fetch-players.sh
scripts/fetch-sample.sh
scripts/fetch-trainer.sh
scripts/fetch-prometheus.sh
scripts/fetch-deny.sh
scripts/fetch-lint.sh

check "formatting" cargo fmt --all --check
check "building (the first time takes some minutes)" cargo build --release --workspace --locked
check "clippy" cargo clippy --release --workspace --all-targets --locked -- -D warnings
check "licences and sources of what is built in" "$cache/cargo-deny/bin/cargo-deny" --locked check licenses bans sources
check "kept advisories and yanked versions" scripts/advisories.sh
suite "rust tests" count_cargo cargo test --release --workspace --locked --no-fail-fast
check "kept inputs of the fuzz targets (the first time builds them)" scripts/fuzz.sh all --kept
# A short look for something new; `make fuzz` is the long one. What is found lies in .acuity/fuzz, with the input that shows it.
check "a quarter of a minute of fuzzing for each target" scripts/fuzz.sh all --seconds 15
suite "trainer tests" count_unittest env -C models/trainer "$cache/trainer/bin/python" -m unittest discover -s tests -t .
suite "bench tests" count_unittest env -C scripts/bench "$cache/trainer/bin/python" -m unittest test_bench
suite "observability tests" count_unittest env -C deploy python3 -m unittest test_observability
suite "deployment tests" count_unittest env -C deploy "$cache/lint/bin/python" -m unittest test_deploy test_chart test_chart_parts test_chart_metrics test_capacity
check "the packed program runs by itself" deploy/test_pack.sh
suite "browser tests" count_browser node tests/browser/play.mjs

say "all suites"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
