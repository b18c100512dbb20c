#!/usr/bin/env bash
# Prometheus and promtool for the tests: Debian's package, unpacked below .acuity/prometheus and not installed. Installed, it would
# be a service that starts at once and at every boot, on the port that is the edge's own admin port too.
# Those that are installed already are as good, and then nothing is fetched.
. "$(dirname "$0")/lib.sh"

folder="$cache/prometheus"
if command -v prometheus promtool >/dev/null 2>&1; then exit 0; fi
if [ -x "$folder/usr/bin/prometheus" ] && [ -x "$folder/usr/bin/promtool" ]; then exit 0; fi
if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-deb >/dev/null 2>&1; then
  die "this is not a Debian-like system, so please install Prometheus by hand (prometheus and promtool)"
fi

say "fetching Prometheus (Debian's package, not installed)"
mkdir -p "$cache"
download=$(mktemp -d "$cache/prometheus.XXXXXX")
trap 'rm -rf "$download"' EXIT
# apt checks what it downloads by the archive's signatures; root downloads as root, for nobody else may write here
fetch() { (cd "$download" && apt-get download -q -o APT::Sandbox::User=root prometheus); }
if ! fetch; then
  # no package lists yet, or old ones
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || die "please have an administrator run: apt-get update"
    as_root=(sudo)
  fi
  ${as_root[@]+"${as_root[@]}"} apt-get update -q
  fetch
fi
dpkg-deb --extract "$download"/prometheus_*.deb "$download/unpacked"
rm -rf "$folder"
mv "$download/unpacked" "$folder" # last: an interrupted run starts over
