#!/usr/bin/env bash
# What is known against the crates that are built in: cargo-deny's check of advisories in RustSec's format and of yanked versions, for
# Cargo.lock and fuzz/Cargo.lock. What counts as a hit, and which ones stay, is said in deny.toml.
#
#   advisories.sh                     against the kept ones, scripts/advisories, a part of the database: what `make test` does
#   advisories.sh --database PLACE    against all of RustSec's database: a folder with a clone of it, or a URL to clone it from
#   advisories.sh --refresh FOLDER    takes from such a clone those of the crates in the lock files, instead of the kept ones
#
# Nothing is fetched but what cargo itself takes from the registry: the index, which says what was yanked, and crates that are not
# there yet. A URL is cloned with git. Ends with 1 when something is known, or when it cannot be told.
. "$(dirname "$0")/lib.sh"

kept="$root/scripts/advisories"
locks=("$root/Cargo.lock" "$root/fuzz/Cargo.lock")
deny="$cache/cargo-deny/bin/cargo-deny"

usage() {
  awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"
}

doing=check place=$kept
case $# in
0) ;;
1) case $1 in
  --help | -h) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
  esac ;;
2) case $1 in
  --database) place=$2 ;;
  --refresh) doing=refresh place=$2 ;;
  *) usage >&2; exit 2 ;;
  esac ;;
*) usage >&2; exit 2 ;;
esac

# in a git hook these would lead into our own repository
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
mkdir -p "$cache"
work=$(mktemp -d "$cache/advisories.XXXXXX")
trap 'rm -rf "$work"' EXIT

# of FOLDER: from when it is, by its last commit, as "date commit"
of() {
  if [ -r "$1/as-of" ]; then
    cat "$1/as-of"
  else
    # a folder that is no clone may lie in one, which knows nothing of it
    git -C "$1" log -1 --format='%cs %H' -- crates 2>/dev/null | grep . || die "$1 is no clone: there is no telling from when it is"
  fi
}

if [ "$doing" = refresh ]; then
  [ -d "$place/crates" ] || die "$place holds no advisories: there is no crates/ in it"
  [ "$(realpath "$place")" != "$(realpath "$kept")" ] || die "$place is where they are kept"
  date=$(of "$place")
  mkdir "$work/crates"
  while read -r crate; do
    # drafts have no number yet
    for advisory in "$place/crates/$crate"/RUSTSEC-[12]*.md; do
      [ -f "$advisory" ] || continue
      mkdir -p "$work/crates/$crate"
      cp "$advisory" "$work/crates/$crate/"
    done
  done < <(awk '/^name = / { gsub(/"/, "", $3); print $3 }' "${locks[@]}" | sort -u)
  count=$(find "$work/crates" -name '*.md' | wc -l)
  [ "$count" -gt 0 ] || die "$place has nothing about our crates, which cannot be"
  rm -rf "$kept/crates"
  mv "$work/crates" "$kept/crates"
  printf '%s\n' "$date" >"$kept/as-of"
  say "$count advisories, of $date"
  exit 0
fi

case $place in
*://*)
  say "cloning $place"
  git clone --quiet --depth 1 "$place" "$work/clone"
  place="$work/clone"
  ;;
esac
[ -d "$place/crates" ] || die "$place holds no advisories: there is no crates/ in it"

# One that is filed under another crate than it speaks of would never hit.
for advisory in "$place"/crates/*/RUSTSEC-[12]*.md; do
  crate=$(basename "$(dirname "$advisory")") id=$(basename "$advisory" .md)
  if ! grep -qE "^id *= *[\"']${id}[\"']" "$advisory" || ! grep -qE "^package *= *[\"']${crate}[\"']" "$advisory"; then
    die "$advisory is not about what its name says"
  fi
done

# cargo-deny clones a database by its URL. The one that it is told leads nowhere but here, and git may go no other way.
url=https://advisories.invalid/database
mkdir "$work/source"
cp -R "$place/crates" "$work/source/"
git -C "$work/source" init --quiet --initial-branch=main
git -C "$work/source" add --all --force
git -C "$work/source" -c user.name=advisories -c user.email=advisories@advisories.invalid -c commit.gpgsign=false \
  commit --quiet --no-verify --message "advisories"
export GIT_ALLOW_PROTOCOL=file GIT_CONFIG_COUNT=1
export GIT_CONFIG_KEY_0="url.file://$work/source.insteadOf" GIT_CONFIG_VALUE_0=$url
sed "s|^\[advisories\]\$|&\ndb-path = '$work/clones'\ndb-urls = ['$url']|" "$root/deny.toml" >"$work/deny.toml"
grep -q "^db-urls" "$work/deny.toml" || die "deny.toml has no [advisories]"

"$root/scripts/fetch-deny.sh"
as_of=$(of "$place")
say "$(find "$place/crates" -name 'RUSTSEC-[12]*.md' | wc -l) advisories, of $as_of ($((($(date +%s) - $(date -d "${as_of%% *}" +%s)) / 86400)) days ago)"
failed=0
for lock in "${locks[@]}"; do
  manifest="${lock%.lock}.toml"
  say "${lock#"$root/"}"
  # cargo-deny reads what cargo last heard from the index; asking for updates that are not made has it hear again
  cargo update --quiet --dry-run --manifest-path "$manifest" ||
    echo "the index cannot be reached: what was yanked lately is not known"
  options=(--deny index-failure)
  # what the small lock file does not have it need not have
  if [ "$lock" != "${locks[0]}" ]; then options+=(--allow advisory-not-detected); fi
  "$deny" --locked --manifest-path "$manifest" --config "$work/deny.toml" check "${options[@]}" advisories || failed=1
done
if [ "$failed" -ne 0 ]; then echo "FAILED - see above; what is known is mended, or deny.toml says why it stays" >&2; fi
exit "$failed"
