#!/usr/bin/env bash
# A cached enhanced segment from the edge against the same bytes from nginx, with wrk on loopback, in turn.
#   scripts/measure/serving.sh [ROUNDS] [SECONDS]
# Needs nginx and wrk (Debian: nginx-light, wrk), and a built edge. Ends only what it started.
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=${1:-5} seconds=${2:-5}
work=$(mktemp -d) pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() { for _ in $(seq 300); do curl -fsS -o /dev/null "$1" 2>/dev/null && return; sleep 0.1; done; echo "no answer from $1" >&2; exit 1; }

origin=$(free_port) edge=$(free_port) admin=$(free_port) web=$(free_port)
[ -f .acuity/sample/sample/master.m3u8 ] || scripts/fetch-sample.sh
target/release/sample-origin --listen "127.0.0.1:$origin" --sample .acuity/sample >/dev/null 2>&1 & pids+=($!)
target/release/acuity serve --origin "http://127.0.0.1:$origin" --listen "127.0.0.1:$edge" --admin "127.0.0.1:$admin" \
  >/dev/null 2>&1 & pids+=($!)
wait_for "http://127.0.0.1:$origin/sample/master.m3u8"
wait_for "http://127.0.0.1:$admin/readyz"

variant=$(curl -fsS "http://127.0.0.1:$edge/sample/master.m3u8" | grep -m1 '^/~acuity/')
segment=$(curl -fsS "http://127.0.0.1:$edge$variant" | grep -m1 -v '^#')
url="http://127.0.0.1:$edge${variant%/*}/$segment"
mkdir -p "$work/www" && chmod 755 "$work" # nginx gives up root before it reads
curl -fsS -o "$work/www/segment.ts" "$url"

cat >"$work/nginx.conf" <<CONF
worker_processes auto; pid $work/nginx.pid; error_log $work/error.log; daemon off;
events { worker_connections 1024; }
http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; types { video/mp2t ts; }
  client_body_temp_path $work/b; proxy_temp_path $work/p; fastcgi_temp_path $work/f; uwsgi_temp_path $work/u; scgi_temp_path $work/s;
  server { listen 127.0.0.1:$web; root $work/www; } }
CONF
nginx -c "$work/nginx.conf" >/dev/null 2>&1 & pids+=($!)
wait_for "http://127.0.0.1:$web/segment.ts"
curl -fsS "http://127.0.0.1:$web/segment.ts" | cmp - <(curl -fsS "$url")

rate() { wrk -t1 -c16 -d"${seconds}s" "$1" | awk '/Requests\/sec/ {print $2} /Non-2xx/ {print "errors:", $0 > "/dev/stderr"}'; }
rate "$url" >/dev/null # warm both
rate "http://127.0.0.1:$web/segment.ts" >/dev/null
echo "segment of $(stat -c %s "$work/www/segment.ts") bytes, 16 connections, $seconds s each"
echo "round  acuity/s  nginx/s  ratio"
for round in $(seq "$rounds"); do
  a=$(rate "$url") b=$(rate "http://127.0.0.1:$web/segment.ts")
  awk -v r="$round" -v a="$a" -v b="$b" 'BEGIN {printf "%5d %9.1f %8.1f  %.2f\n", r, a, b, a / b}'
done | tee "$work/rounds"
awk '{print $4}' "$work/rounds" | sort -n | awk '{v[NR] = $1} END {printf "median ratio %.2f (%.2f to %.2f)\n", v[int((NR + 1) / 2)], v[1], v[NR]}'
