# shellcheck shell=bash
# The licence texts of what is packed. Sourced by pack.sh after scripts/lib.sh, which says
# where the root is; never run.
# shellcheck disable=SC2154

# Libraries of Debian's packages and the programs beside them: each package's copyright file, and the names and versions of the
# source packages, which is what asks for the sources that the GPL promises.
# debian_licences FOLDER FILE...
debian_licences() {
  local folder=$1 package
  shift
  mkdir -p "$folder"
  # dpkg knows a file by the path it was packaged under, which merged /usr hides: /usr/lib/x and /lib/x are asked for
  printf '%s\n' "$@" "${@#/usr}" "${@/#\/lib\///usr/lib/}" | sort -u |
    xargs dpkg-query --search 2>/dev/null | cut -d: -f1 | sort -u >"$folder/.packages" || true
  [ -s "$folder/.packages" ] || die "dpkg knows none of the libraries; pack on a Debian-like system"
  while read -r package; do
    # shellcheck disable=SC2016 # the format is dpkg's
    dpkg-query --show --showformat='${Package} ${Version} (source ${source:Package} ${source:Version})\n' "$package" |
      head -n 1 >>"$folder/PACKAGES"
    if [ -r "/usr/share/doc/$package/copyright" ]; then
      cp -L "/usr/share/doc/$package/copyright" "$folder/$package"
    else
      echo "no copyright file: $package" >>"$folder/PACKAGES"
    fi
  done <"$folder/.packages"
  rm "$folder/.packages"
  cp -L /usr/share/common-licenses/{Apache-2.0,GPL-2,GPL-3,LGPL-2,LGPL-2.1,LGPL-3,MPL-2.0,Artistic,BSD,GFDL-1.3} "$folder"
}

# Crates that are linked into the program: the licence files that their authors published.
# rust_licences FOLDER
rust_licences() {
  cargo metadata --format-version 1 --locked --offline --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" \
    --manifest-path "$root/Cargo.toml" >"$1.json"
  python3 - "$1.json" "$1" <<'PY'
"""Copies the licence files of every crate that the edge is built from; one without files is named with what it declares."""
import json
import pathlib
import shutil
import sys

metadata, folder = json.loads(pathlib.Path(sys.argv[1]).read_text()), pathlib.Path(sys.argv[2])
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
reached, ahead = set(), [name for name, package in packages.items() if package["name"] == "acuity"]
while ahead:
    name = ahead.pop()
    if name not in reached:
        reached.add(name)
        kinds = nodes[name]["deps"]
        ahead += [dep["pkg"] for dep in kinds if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
folder.mkdir(parents=True)
declared = []
for package in sorted((packages[name] for name in reached), key=lambda package: package["id"]):
    if package["source"] is None:
        continue
    name = f"{package['name']}-{package['version']}"
    source = pathlib.Path(package["manifest_path"]).parent
    texts = [
        file
        for file in sorted(source.iterdir())
        if file.is_file() and file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"))
    ]
    declared.append(f"{name}: {package['license'] or package['license_file']}")
    for text in texts:
        (folder / name).mkdir(exist_ok=True)
        shutil.copy(text, folder / name / text.name)
(folder / "CRATES").write_text("\n".join(declared) + "\n")
PY
  rm "$1.json"
}
