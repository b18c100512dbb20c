#!/usr/bin/env bash
# Installs what a fresh Debian 12 with a Rust toolchain still lacks, and nothing that is already there.
#   setup.sh build   what the build needs
#   setup.sh run     and what `make run` needs (default)
#   setup.sh test    and what `make test` needs (a browser)
# Looks first, so a second run takes no time, asks for no password and needs no network.
. "$(dirname "$0")/lib.sh"

purpose=${1:-run}
packages=()

# need PACKAGES CHECK...: remember the packages when the check fails. Commands and pkg-config are asked, not dpkg:
# a tool installed by other means is as good.
need() {
  local wanted=$1
  shift
  if ! "$@" >/dev/null 2>&1; then
    local package
    for package in $wanted; do packages+=("$package"); done
  fi
}
have() { command -v "$@"; }
have_libclang() { compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' || ldconfig -p | grep -q libclang || [ -n "${LIBCLANG_PATH:-}" ]; }
have_libav() { pkg-config --exists libavutil libavcodec libavformat libswscale; }
have_pip() { python3 -m pip --version; }
have_torch() { /usr/bin/python3 -c 'import ensurepip, numpy, torch'; }

need build-essential have cc c++ make       # ring, aws-lc and zstd are C, libFuzzer is C++
need cmake have cmake                       # zlib-ng builds with it
need pkg-config have pkg-config             # finds FFmpeg's libraries
need clang have clang                       # bindgen reads FFmpeg's headers with it
need libclang-dev have_libclang
need "libavutil-dev libavcodec-dev libavformat-dev libswscale-dev" have_libav
need "python3 python3-pip" have_pip         # the client that fetches pinned wheels
case $purpose in
build) ;;
run | test)
  need ffmpeg have ffmpeg ffprobe           # packages the sample film; measures
  need "nodejs npm" have node npm           # hls.js for the demonstration page
  if [ "$purpose" = test ]; then
    need chromium have chromium             # plays the enhanced rendition for real
    need systemd have systemd-analyze       # the unit is checked with it, nothing is started
    need ca-certificates test -r /etc/ssl/certs/ca-certificates.crt # goes into the pack
    need git have git                       # advisories are checked out of a repository that is made for it
    need "python3-torch python3-numpy python3-venv" have_torch # the trainer's tests
  fi
  ;;
*) die "setup.sh knows build, run and test, not '$purpose'" ;;
esac

if [ ${#packages[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null 2>&1; then
    die "this is not a Debian-like system, so please install by hand the equivalents of: ${packages[*]}"
  fi
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 ||
      die "neither root nor sudo: please have an administrator run: apt-get install ${packages[*]}"
    as_root=(sudo)
  fi
  say "installing with apt: ${packages[*]}"
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
fi

command -v cargo >/dev/null 2>&1 ||
  die "no Rust toolchain: install one with rustup (the version Cargo.toml names as rust-version, or newer), then run this again"

"$root/scripts/fetch-onnxruntime.sh"
