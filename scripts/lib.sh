# shellcheck shell=bash
# What every script here shares: where the repository is, how we speak, how a download is verified.
# Sourced, never run. Everything fetched or generated lives below .acuity/, which git ignores.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # used by the scripts that source this
cache="$root/.acuity"

# rustup puts cargo where only a login shell looks
if ! command -v cargo >/dev/null 2>&1 && [ -r "${HOME:-/nonexistent}/.cargo/env" ]; then
  # shellcheck source=/dev/null
  . "$HOME/.cargo/env"
fi

if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; else bold='' plain=''; fi

say() { printf '%s==> %s%s\n' "$bold" "$*" "$plain"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# verified FILE SHA256: true when the file is there and is the one we pinned
verified() {
  [ -f "$1" ] && printf '%s  %s\n' "$2" "$1" | sha256sum --check --status
}

# Downloads exactly what a requirements file pins by version and digest, with pip as the client, so that
# mirrors, proxies and offline wheel folders configured for pip serve us too. Nothing gets installed.
# pip_download REQUIREMENTS FOLDER [pip options]
pip_download() {
  local requirements=$1 folder=$2
  shift 2
  python3 -m pip download --disable-pip-version-check --no-deps --require-hashes \
    --requirement "$requirements" --dest "$folder" "$@"
}
