#!/bin/sh
# Measures a machine with an NVIDIA card against the bars below, from the folder that pack.sh --gpu made: the networks alone, whole
# streams with the encoder on the processor, and what the card decodes and encodes.
#
# HAS NOT RUN ON A CARD YET. It has run with --rehearse, which takes the processor for the card and proves the script, no figure.
#
#   bin/measure-gpu.sh [--out FILE.json] [--seconds N] [--device N] [--devices N,M] [--rehearse]
#     --out FILE     the figures as JSON; without it measure-gpu.json in the working directory
#     --seconds N    of each single measurement; without it 3
#     --device N     the card, as CUDA counts; without it 0
#     --devices N,M  the cards that whole streams are measured on together; without it that one
#     --rehearse     without a card, and short
# Bars, for one H100 with 16 cores:
#   network alone, 640x360 to 1280x720, generic-x2-m (39 k parameters)   under 0.4 ms a picture   (ms_a_picture_on_card.p50, best batch)
#   VDSR (20 layers of 64), 1280x720                                     over 150 pictures a second
#   whole streams of 30 pictures a second, encoder on the processor      at least 50
# Needs a shell, awk, sed and the driver; changes no setting of the card. Anything that did not run where it should have is a line of
# the output and ends the script with 2: there is no silent processor in these figures. Takes some
# minutes, and with TensorRT perhaps an hour: it compiles each network for each batch, alone and for the streams' range of sizes.
set -eu
self=$(readlink -f -- "$0")
top=${self%/bin/*}
out=measure-gpu.json seconds=3 device=0 devices='' rehearse=''
while [ $# -gt 0 ]; do
  case $1 in
  --rehearse) rehearse=yes ;;
  --out | --seconds | --device | --devices)
    [ $# -gt 1 ] || { echo "$1 wants a value" >&2 && exit 1; }
    case $1 in --out) out=$2 ;; --seconds) seconds=$2 ;; --device) device=$2 ;; --devices) devices=$2 ;; esac
    shift
    ;;
  *) awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$self" >&2 && exit 1 ;;
  esac
  shift
done
devices=${devices:-$device}
[ -x "$top/bin/network-alone" ] || { echo "run me from a folder that pack.sh --gpu made: $top has no bin/network-alone" >&2 && exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
say() { printf '==> %s\n' "$*"; }
# text TEXT: a JSON string of it
text() { printf '"%s"' "$(printf '%s' "$*" | tr '\n\t' '  ' | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g' | cut -c 1-2000)"; }
# joined FILE: its lines as a JSON list
joined() { awk 'BEGIN { printf "[" } { printf "%s\n    %s", (NR > 1 ? "," : ""), $0 } END { print (NR ? "\n  ]" : "]") }' "$1"; }
# failed WHAT FILE...: one more failure, with what was said
failed() {
  failures=$((failures + 1))
  printf '    FAILED: %s: %s\n' "$1" "$(tail -n 2 "$2" | tr '\n' ' ')"
}

# --- the machine ---------------------------------------------------------------------------------------------------------------------
card='' driver=''
if [ -z "$rehearse" ]; then
  command -v nvidia-smi >/dev/null || { echo "no nvidia-smi: there is no driver here (--rehearse does without)" >&2 && exit 1; }
  card=$(nvidia-smi --id="$device" --query-gpu=name,memory.total,compute_cap,clocks.max.sm,power.limit --format=csv,noheader)
  driver=$(nvidia-smi --id="$device" --query-gpu=driver_version --format=csv,noheader)
  providers=cuda
  if [ -e "$top/cuda/libnvinfer.so.10" ]; then providers='cuda tensorrt'; fi
  tiers='generic-x2-s generic-x2-m generic-x2-l vdsr-20-64' batches='1 4 8' lanes='1 2 4 8 16 32' together='1 8 16' loops=9
else
  providers=cpu tiers='generic-x2-s' batches='1 4' lanes='1 2' together='1 4' loops=0 seconds=0.2
  say "a rehearsal on the processor: no figure here is a card's"
fi
processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
runtime=$(basename "$(readlink -f "$top/onnxruntime/libonnxruntime.so")")
say "${card:-no card}, driver ${driver:-none}; $processor, $cores cores; $("$top/bin/acuity" --version), $runtime"

# --- networks alone ------------------------------------------------------------------------------------------------------------------
# CUDA takes a file's numbers as they are (float16 is another file) and has TensorFloat-32 for float32 files; TensorRT chooses itself.
: >"$work/networks"
alone() {
  provider=$1 numbers=$2 tier=$3 batch=$4
  file=$top/models/measure/$tier.onnx half=''
  case $provider-$numbers in
  cuda-float16 | cpu-float16) file=$top/models/measure/$tier.float16.onnx ;;
  cuda-tf32 | tensorrt-float16) half=--half ;;
  esac
  # shellcheck disable=SC2086 # $half is a word or none
  if line=$("$top/bin/network-alone" --library "$top/onnxruntime/libonnxruntime.so" --provider "$provider" $half --device "$device" \
    --batch "$batch" --seconds "$seconds" --reference "$top/models/measure/$tier.onnx" "$file" 2>"$work/said"); then
    line="{\"numbers\": \"$numbers\", ${line#\{}"
    printf '    %-9s %-8s %-13s batch %s: %s\n' "$provider" "$numbers" "$tier" "$batch" \
      "$(printf '%s' "$line" | sed 's/.*on_card": \(null\|{"p50": \([0-9.]*\)\).*with_transfers": {"p50": \([0-9.]*\).*/\2 ms on the card, \3 with transfers/')"
  else
    failed "$provider $numbers $tier batch $batch" "$work/said"
    line="{\"numbers\": \"$numbers\", \"model\": \"$tier\", \"provider\": \"$provider\", \"batch\": $batch, \"failed\": $(text "$(cat "$work/said")")}"
  fi
  printf '%s\n' "$line" >>"$work/networks"
}
say "networks alone, 640x360 to 1280x720, median milliseconds a picture"
for provider in $providers; do
  case $provider in cuda) all='float32 tf32 float16' ;; *) all='float32 float16' ;; esac
  for tier in $tiers; do
    for numbers in $all; do
      for batch in $batches; do alone "$provider" "$numbers" "$tier" "$batch"; done
    done
  done
done

# --- whole streams -------------------------------------------------------------------------------------------------------------------
# Decoded, enlarged and encoded by the very code that serves; pictures a second over all lanes, as streams of 30. In float32, which is
# what `acuity enhance` runs a card in. With pictures of so many streams in one run of a network, and each lane alone (1). A card that
# encodes does so for MPEG-TS only, so that is what it is given.
"$top/bin/ffmpeg" -v error -nostdin -y -stream_loop "$loops" -i "$top/models/measure/clip.mp4" -t "$([ -n "$rehearse" ] && echo 4 || echo 600)" \
  -c copy "$work/long.mp4"
mkdir "$work/hls"
"$top/bin/ffmpeg" -v error -nostdin -y -i "$work/long.mp4" -c copy -f hls -hls_time 2 -hls_playlist_type vod "$work/hls/index.m3u8"
: >"$work/streams"
# result KEY VALUE...: a line of the JSON for the run at hand
result() {
  printf '{"provider": "%s", "model": "%s", "detail_share": %s, "lanes": %s, "batch": %s, "decoder": "%s", "encoder": "%s"' \
    "$provider" "$tier" "$share" "$count" "$together_most" "$decoder" "$encoder" >>"$work/streams"
  printf ', %s}\n' "$1" >>"$work/streams"
}
no_figure() {
  failed "$what" "$work/said"
  result "\"failed\": $(text "$(cat "$work/said")")"
}
# whole PROVIDER TIER SHARE LANES BATCH DECODER ENCODER
whole() {
  provider=$1 tier=$2 share=$3 count=$4 together_most=$5 decoder=$6 encoder=$7
  threads=$((cores / count))
  if [ "$threads" -lt 1 ]; then threads=1; fi
  what="$provider $tier, detail share $share, $count lanes, batch $together_most, decoder $decoder, encoder $encoder"
  film=$work/long.mp4
  if [ "$encoder" = card ]; then film=$work/hls/index.m3u8; fi
  if ! "$top/bin/acuity" enhance "$film" -o "$work/large.mp4" --models "$top/models/zoo" --model "$tier" --provider "$provider" --precision float \
    --devices "$devices" --batch "$together_most" --decoder "$decoder" --encoder "$encoder" --engine-cache "$work/engines" \
    --detail-share "$share" --lanes "$count" --lane-threads "$threads" --json "$work/account.json" >"$work/said" 2>&1; then
    # Codecs that a card has not are a finding.
    if grep -q 'enhancer\.gpu\.[a-z]* = "card"' "$work/said"; then
      result "\"offered\": false, \"said\": $(text "$(tail -n 2 "$work/said")")"
      printf '    %s: not offered\n' "$what"
      return
    fi
    no_figure
    return
  fi
  # What made the pictures is in the account; one segment by anything else, and there is no figure.
  tr -d '\n' <"$work/account.json" >"$work/flat"
  if ! grep -q "\"fallbacks\": {}.*\"made_by\": { *\"$tier on $provider, float\": [0-9]* *}.*\"providers\": \[ *\"$provider\" *\]" "$work/flat" ||
    ! grep -q "\"codecs\": { *\"decoder $decoder\": [0-9]*, *\"encoder $encoder\": [0-9]* *}" "$work/flat"; then
    echo "made by something else, too: $(sed 's/.*\("made_by": {[^}]*}\).*/\1/' "$work/flat") $(sed 's/.*\("codecs": {[^}]*}\).*/\1/' "$work/flat")" >"$work/said"
    no_figure
    return
  fi
  figures=$(awk -F '[:,]' -v cores="$cores" '
    /^  "frames"/ { frames = $2 } /^  "seconds"/ { seconds = $2 } /^  "peak_resident_bytes"/ { memory = $2 }
    /"user"/ { user = $2 } /"system"/ { kernel = $2 }
    END { printf "\"frames\": %d, \"seconds\": %.3f, \"streams_of_30\": %.2f, \"processor_share\": %.3f, \"peak_resident_bytes\": %d",
      frames, seconds, frames / seconds / 30, (user + kernel) / seconds / cores, memory }' "$work/account.json")
  result "$figures"
  printf '    %s: %s streams\n' "$what" "$(printf '%s' "$figures" | sed 's/.*streams_of_30": \([0-9.]*\).*/\1/')"
}
say "whole streams on card $devices, encoder on the processor"
most_lanes=1
for provider in $providers; do
  for tier in $tiers; do
    case $tier in vdsr*) continue ;; esac
    for count in $lanes; do
      [ "$count" -le $((2 * cores)) ] || continue
      if [ "$count" -gt "$most_lanes" ]; then most_lanes=$count; fi
      for batch in $together; do
        # One lane has nobody to share a run with.
        [ "$batch" -eq 1 ] || [ "$count" -gt 1 ] || continue
        whole "$provider" "$tier" 1 "$count" "$batch" cpu cpu
        # the dear tiers as the edge runs them
        case $tier in *-s) ;; *) whole "$provider" "$tier" 0.25 "$count" "$batch" cpu cpu ;; esac
      done
    done
  done
done
say "the same, with the card's decoder and encoder where it has them"
for provider in $providers; do
  for tier in generic-x2-s generic-x2-m; do
    case " $tiers " in *" $tier "*) ;; *) continue ;; esac
    whole "$provider" "$tier" 1 "$most_lanes" 8 card cpu
    whole "$provider" "$tier" 1 "$most_lanes" 8 cpu card
    whole "$provider" "$tier" 1 "$most_lanes" 8 card card
  done
done

# --- what the card decodes and encodes -----------------------------------------------------------------------------------------------
# Data-centre cards (A100, H100, H200) have NVDEC and no NVENC; what is not there is a finding, no failure.
say "decoder and encoder of the card"
: >"$work/codecs"
codec() {
  name=$1
  shift
  if "$top/bin/ffmpeg" -hide_banner -nostdin -benchmark -y "$@" -f null - >"$work/said" 2>&1; then
    took=$(sed -n 's/.*rtime=\([0-9.]*\)s.*/\1/p' "$work/said" | tail -n 1)
    count=$(tr '\r' '\n' <"$work/said" | sed -n 's/^frame= *\([0-9]*\).*/\1/p' | tail -n 1)
    result=$(awk -v n="${count:-0}" -v s="${took:-0}" 'BEGIN { printf "{\"offered\": true, \"pictures_a_second\": %.1f}", (s > 0 ? n / s : 0) }')
  else
    result="{\"offered\": false, \"said\": $(text "$(grep -viE '^(frame|bench|  )' "$work/said" | tail -n 3)")}"
  fi
  printf '    %s: %s\n' "$name" "$result"
  printf '"%s": %s\n' "$name" "$result" >>"$work/codecs"
}
codec nvdec_h264 -c:v h264_cuvid -i "$work/long.mp4"
codec nvenc_h264 -f lavfi -i testsrc2=size=1280x720:rate=30:duration=10 -c:v h264_nvenc -preset p2
codec processor_h264 -i "$work/long.mp4"
hwaccels=$("$top/bin/ffmpeg" -v error -hwaccels | sed 1d | tr '\n' ' ')

# --- the bars, and the file ----------------------------------------------------------------------------------------------------------
least() { awk -v of="$1" 'index($0, "\"model\": \"" of) && match($0, /on_card": {"p50": [0-9.]+/) {
  ms = substr($0, RSTART + 17, RLENGTH - 17) + 0; if (best == "" || ms < best) best = ms } END { print (best == "" ? "null" : best) }' "$work/networks"; }
network=$(least generic-x2-m)
vdsr=$(least vdsr-20-64 | awk '{ print ($1 == "null" ? $1 : 1000 / $1) }')
streams=$(awk '/"encoder": "cpu"/ && match($0, /streams_of_30": [0-9.]+/) { n = substr($0, RSTART + 16, RLENGTH - 16) + 0; if (n > most) most = n } END { print most + 0 }' "$work/streams")
{
  printf '{\n  "format": 2,\n  "taken": "%s",\n  "rehearsal": %s,\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$([ -n "$rehearse" ] && echo true || echo false)"
  printf '  "devices": %s,\n' "$(text "$devices")"
  printf '  "card": %s,\n  "driver": %s,\n  "processor": %s,\n  "cores": %s,\n' "$(text "$card")" "$(text "$driver")" "$(text "$processor")" "$cores"
  printf '  "acuity": %s,\n  "onnxruntime": %s,\n  "libraries": %s,\n' "$(text "$("$top/bin/acuity" --version)")" "$(text "$runtime")" \
    "$(text "$(cd "$top" && find cuda -type f 2>/dev/null | sort | tr '\n' ' ')")"
  printf '  "network_alone": %s,\n' "$(joined "$work/networks")"
  printf '  "whole_streams": %s,\n' "$(joined "$work/streams")"
  printf '  "codecs": {"hwaccels": %s, %s},\n' "$(text "$hwaccels")" "$(paste -sd, "$work/codecs")"
  printf '  "bars": {"network_ms": {"measured": %s, "under": 0.4}, "vdsr_pictures_a_second": {"measured": %s, "over": 150}, "streams_of_30": {"measured": %s, "at_least": 50}},\n' \
    "$network" "$vdsr" "$streams"
  printf '  "failures": %s\n}\n' "$failures"
} >"$out"
say "generic-x2-m alone: $network ms a picture (bar: under 0.4); VDSR: $vdsr pictures a second (over 150); whole streams: $streams (at least 50)"
say "written to $out; $failures failures"
if [ "$failures" -gt 0 ]; then exit 2; fi
