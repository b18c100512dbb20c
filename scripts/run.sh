#!/usr/bin/env bash
# `make run`: a real film through the edge. Without ORIGIN: a sample origin, the edge before it, a tour of what the
# edge gains, and a page to look at. With ORIGIN=https://...: the edge alone, before that origin.
# Serves until Ctrl-C and then ends only what it started, by process id.
. "$(dirname "$0")/lib.sh"

origin=${ORIGIN:-}
logs="$cache/log"
started=()

finish() {
  local id
  # SIGINT: end now; SIGTERM would let the edge drain first
  for id in ${started[@]+"${started[@]}"}; do kill -INT "$id" 2>/dev/null || true; done
  wait 2>/dev/null || true
}
trap finish EXIT
trap 'echo; exit 0' INT TERM

# free_port WANTED WHAT: that port, or another one when it is taken
free_port() {
  local port
  port=$(python3 - "$1" <<'PY'
"""Prints the wanted port when it can be bound on the loopback interface, else one that can."""
import socket
import sys

for port in (int(sys.argv[1]), 0):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(probe.getsockname()[1])
        break
PY
  )
  if [ "$port" != "$1" ]; then say "port $1 is taken: $2 uses $port" >&2; fi
  printf '%s' "$port"
}

# await URL PROCESS LOG: until it answers with 2xx, or the process is gone
await() {
  local tries
  for ((tries = 0; tries < 600; tries++)); do
    if python3 -c 'import sys, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=2)' "$1" 2>/dev/null; then return 0; fi
    kill -0 "$2" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$3" >&2
  die "no good answer from $1; the log is $3"
}

if [ -n "$origin" ]; then
  "$root/scripts/setup.sh" build
else
  "$root/scripts/setup.sh" run
  "$root/scripts/fetch-players.sh"
  "$root/scripts/fetch-sample.sh"
fi

say "building (the first time takes some minutes)"
if [ -n "$origin" ]; then
  cargo build --release --manifest-path "$root/Cargo.toml" --package acuity
else
  cargo build --release --manifest-path "$root/Cargo.toml" --package acuity --package acuity-tests
fi

cd "$root"
mkdir -p "$logs"
edge_port=$(free_port 8080 "the edge")
admin_port=$(free_port 9090 "the admin address")
edge="http://127.0.0.1:$edge_port"
admin="http://127.0.0.1:$admin_port"
sample_port=0
if [ -z "$origin" ]; then
  sample_port=$(free_port 8081 "the sample origin")
  origin="http://127.0.0.1:$sample_port"
  "$root/target/release/sample-origin" --listen "127.0.0.1:$sample_port" --sample "$cache/sample" --edge "$edge" \
    >"$logs/sample-origin.log" 2>&1 &
  started+=($!)
  await "$origin/sample/master.m3u8" "$!" "$logs/sample-origin.log"
fi

options=(--origin "$origin" --listen "127.0.0.1:$edge_port" --admin "127.0.0.1:$admin_port")
"$root/target/release/acuity" serve "${options[@]}" >"$logs/access.log" 2>"$logs/edge.log" &
edge_id=$!
started+=("$edge_id")
await "$admin/readyz" "$edge_id" "$logs/edge.log"

if [ "$sample_port" != 0 ]; then
  "$root/target/release/tour" --origin "$origin/sample/master.m3u8" --edge "$edge/sample/master.m3u8" \
    --admin "$admin" --page "$origin/"
else
  cat <<EOF

  The edge is before $origin
  Take any playlist of that origin and put $edge in the place of its scheme and host:
      $edge/path/to/master.m3u8
  Renditions whose address begins with /~acuity/ are the enhanced ones.

EOF
fi
echo "  Metrics: $admin/metrics    Logs: $logs"
say "serving; Ctrl-C ends it"
wait "$edge_id" || { tail -n 20 "$logs/edge.log" >&2; die "the edge ended by itself"; }
