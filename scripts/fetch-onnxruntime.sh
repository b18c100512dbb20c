#!/usr/bin/env bash
# Puts ONNX Runtime's shared library below .acuity/, taken from the wheel that PyPI's clients know by name,
# version and digest. Debian 12 has no package of it, and building it takes an hour.
#   fetch-onnxruntime.sh            the build with the OpenVINO provider on x86_64 (the quicker one), else the plain one
#   fetch-onnxruntime.sh plain      the plain build (CPU provider only)
#   fetch-onnxruntime.sh openvino   the build with the OpenVINO provider
# Either way it is .acuity/onnxruntime/libonnxruntime.so that the edge finds. A library named by ACUITY_ONNXRUNTIME or ORT_DYLIB_PATH is used instead, and nothing is fetched.
. "$(dirname "$0")/lib.sh"

machine=$(uname -m)
default=plain
if [ "$machine" = x86_64 ]; then default=openvino; fi
flavour=${1:-$default}
case $flavour in
plain) package=onnxruntime ;;
openvino) package=onnxruntime-openvino ;;
*) die "fetch-onnxruntime.sh knows plain and openvino, not '$flavour'" ;;
esac

named=${ACUITY_ONNXRUNTIME:-${ORT_DYLIB_PATH:-}}
if [ $# -eq 0 ] && [ -n "$named" ]; then
  [ -r "$named" ] || die "ACUITY_ONNXRUNTIME or ORT_DYLIB_PATH names $named, which cannot be read"
  exit 0
fi

pins="$root/scripts/pins/$package.txt"
folder="$cache/onnxruntime"
stamp="$folder/pins.txt"
cmp -s "$pins" "$stamp" && exit 0

case $flavour-$machine in
plain-x86_64 | plain-aarch64 | openvino-x86_64) ;;
*) die "PyPI has no $package wheel for $machine: build ONNX Runtime and name its library by ACUITY_ONNXRUNTIME" ;;
esac

say "fetching $package"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The library is the same in the wheels for every Python; cp311 is the one whose digest is pinned.
pip_download "$pins" "$work" --only-binary=:all: --python-version 3.11 --implementation cp \
  --platform "manylinux_2_28_$machine"
rm -rf "$folder"
mkdir -p "$folder"
python3 - "$work"/*.whl "$folder" <<'PY'
"""Unpacks the shared libraries and the licence texts that go with them, not the Python binding and not the plug-ins for
devices other than the processor. A wheel cannot hold links, so it holds a library once for each of its names: here they are
links again."""
import hashlib
import os
import sys
import zipfile

wheel, folder = sys.argv[1:]
held = {}
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        base = os.path.basename(name)
        unused = base.startswith(("onnxruntime_pybind11", "libopenvino_intel_gpu", "libopenvino_intel_npu"))
        if (".so" in base and not unused) or base in ("LICENSE", "ThirdPartyNotices.txt"):
            data, path = archive.read(name), os.path.join(folder, base)
            same = held.setdefault(hashlib.sha256(data).digest(), base)
            if same != base:
                os.symlink(same, path)
                continue
            with open(path, "wb") as out:
                out.write(data)
PY
ln -sf "$(cd "$folder" && echo libonnxruntime.so.*)" "$folder/libonnxruntime.so"
cp "$pins" "$stamp" # last: an interrupted run starts over
say "ONNX Runtime is $folder/libonnxruntime.so"
