"""Takes the shared libraries and the licence texts out of wheels: ONNX Runtime's into onnxruntime/, NVIDIA's into cuda/.

unpack_wheels.py WHEELS PACK
"""

import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath

# Not loaded by anything that is packed: the Python binding, BLAS under another name, the compiler without its newest chips.
UNUSED = ("onnxruntime_pybind11", "libnvblas", "libnvrtc.alt", "libnvrtc-builtins.alt")


def unpack(wheel, pack):
    """Unpacks one wheel."""
    ours = wheel.name.startswith("onnxruntime")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name)
            if ".so" in path.name and not path.name.startswith(UNUSED):
                target = pack / ("onnxruntime" if ours else "cuda") / path.name
            elif ours and path.name in ("LICENSE", "ThirdPartyNotices.txt"):
                target = pack / "onnxruntime" / path.name
            elif not ours and path.name == "License.txt":
                target = pack / "licences" / wheel.name.split("-")[0]
            else:
                continue
            # in pieces: the largest is half a gigabyte
            with archive.open(name) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)


if __name__ == "__main__":
    for found in sorted(Path(sys.argv[1]).glob("*.whl")):
        unpack(found, Path(sys.argv[2]))
