#!/usr/bin/env bash
# Coverage-guided fuzzing of what strangers may have written: fuzz/targets, on the kept corpora in fuzz/corpus.
#
#   fuzz.sh TARGET|all [--seconds N]    playlist, uri, config, container, segment; N seconds each, 60 without it
#   fuzz.sh TARGET|all --kept           the kept corpora alone, each input once: what `make test` does
#   fuzz.sh TARGET FILE...              these inputs alone, once each: a crash again
#   fuzz.sh TARGET|all --keep           adds to fuzz/corpus what found something new, as few inputs as show it
#
# `segment` is a worker's whole enhancer, with FFmpeg and ONNX Runtime as installed (ACUITY_ONNXRUNTIME, or what the set-up fetched).
#
# No nightly toolchain and no cargo-fuzz is needed: coverage is LLVM's, which the stable compiler passes on, and libFuzzer is built from
# its crate. There are no sanitizers: what is fuzzed is safe Rust, and libraries that are installed without them.
# What is found lies in .acuity/fuzz/TARGET (or FUZZ_FOLDER): crash-*, oom-*, timeout-*, and log-* of the runs; the corpus as it grows in corpus/.
. "$(dirname "$0")/lib.sh"

targets=(playlist uri config container segment)
triple=$(rustc -vV | sed -n 's/^host: //p')
bytes_max=(playlist=8192 uri=4096 config=4096 container=16384 segment=16384)
# networks, with their sessions, take most of a worker's own
mib_max=(segment=3072)
work=${FUZZ_FOLDER:-$cache/fuzz}

usage() {
  awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0" >&2
  exit 2
}

[ $# -gt 0 ] || usage
wanted=("$1")
if [ "$1" = all ]; then wanted=("${targets[@]}"); fi
case " ${targets[*]} all " in *" $1 "*) ;; *) usage ;; esac
shift
seconds=60 doing=search inputs=()
while [ $# -gt 0 ]; do
  case $1 in
  --seconds) [ $# -gt 1 ] || usage; seconds=$2; shift ;;
  --kept) doing=kept ;;
  --keep) doing=keep ;;
  -*) usage ;;
  *) doing=again; inputs+=("$(realpath "$1")") ;;
  esac
  shift
done
case $seconds in '' | *[!0-9]*) die "--seconds is a number, not $seconds" ;; esac

# The coverage that libFuzzer wants, in everything that is linked: blocks as counters, and what is compared with what.
# Flags for one target triple, so that build scripts and macros are not made to count as well.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1"
say "building the fuzz targets"
build=("--manifest-path" "$root/fuzz/Cargo.toml" --release --locked --quiet --target "$triple")
for target in "${wanted[@]}"; do build+=(--bin "$target"); done
RUSTFLAGS=$flags CARGO_TARGET_DIR="$root/target/fuzz" CARGO_INCREMENTAL=0 cargo build "${build[@]}"

# one TARGET OPTIONS...: a run, with its figures at the end and its messages in a log
failed=0
one() {
  local target=$1 folder="$work/$1" longest=4096 memory=1024 pair log
  shift
  for pair in "${bytes_max[@]}"; do
    if [ "${pair%%=*}" = "$target" ]; then longest=${pair#*=}; fi
  done
  for pair in "${mib_max[@]}"; do
    if [ "${pair%%=*}" = "$target" ]; then memory=${pair#*=}; fi
  done
  log="$folder/log-$(date -u +%Y%m%dT%H%M%SZ)"
  say "$target: $doing"
  # A second for one input is a thousand times what it takes; memory is for bombs.
  if (cd "$folder" && "$root/target/fuzz/$triple/release/$target" -artifact_prefix="$folder/" -timeout=10 -rss_limit_mb="$memory" \
    -max_len="$longest" -print_final_stats=1 "$@") >"$log" 2>&1; then
    grep -E '^stat::number_of_executed_units|^stat::peak_rss_mb|^#[0-9]+\s+(DONE|INITED)|^Done|^MERGE-OUTER' "$log" | tail -4
  else
    failed=1
    grep -aE 'panicked|left:|right:|ERROR|Test unit' -A 1 "$log" | head -20 || tail -3 "$log"
    echo "FAILED - fuzzing $target: $log"
  fi
}

for target in "${wanted[@]}"; do
  folder="$work/$target" kept="$root/fuzz/corpus/$target" dictionary="$root/fuzz/dictionaries/$target"
  mkdir -p "$folder/corpus"
  options=()
  if [ -r "$dictionary" ]; then options+=(-dict="$dictionary"); fi
  case $doing in
  search) one "$target" "${options[@]}" -max_total_time="$seconds" -use_value_profile=1 "$folder/corpus" "$kept" ;;
  kept) one "$target" -runs=0 "$kept" ;;
  again) one "$target" "${inputs[@]}" ;;
  keep) one "$target" -merge=1 "$kept" "$folder/corpus" ;;
  esac
done
exit "$failed"
