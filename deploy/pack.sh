#!/usr/bin/env bash
# Packs the release binary with every shared library it needs, the loader too, and the models, so that a machine that has nothing but
# a kernel (and, for --gpu, NVIDIA's driver) can run it. What comes out is one folder, and that as a tar.xz.
#
#   pack.sh [--gpu] [--tensorrt FOLDER] [--measure] [options]
#     --gpu                with ONNX Runtime's CUDA provider, CUDA 13 and cuDNN 9 (1.3 GB are fetched, pinned by digest), and --measure
#     --tensorrt FOLDER    and TensorRT 10 for CUDA 13, from the lib folder of NVIDIA's archive, which no registry has
#     --measure            with what measure-gpu.sh needs: network-alone, ffmpeg, networks, a clip
#     --clip FILE          H.264 of 640x360 for --measure, 60 s of it; without it a part of the sample film where it has been fetched
#     --binary FILE        this build instead of a new one
#     --onnxruntime FOLDER this ONNX Runtime instead of .acuity/onnxruntime
#     --network-alone FILE this build of deploy/network-alone instead of a new one
#     --symbols            with line numbers for backtraces: 100 MB more
#     --out FOLDER         where the result goes; without it .acuity/pack
#     --no-archive         the folder alone
#     --level N            of xz, 0 to 9; without it 6
# Runs on the Debian whose libraries are to be packed. The same inputs give the same archive, byte for byte.

# shellcheck source=SCRIPTDIR/../scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"
# shellcheck source=SCRIPTDIR/licences.sh
. "$root/deploy/licences.sh"

gpu='' tensorrt='' measuring='' clip='' binary='' onnxruntime='' alone='' symbols='' out="$cache/pack" archive=yes level=6
while [ $# -gt 0 ]; do
  case $1 in
  --gpu) gpu=yes measuring=yes ;;
  --measure) measuring=yes ;;
  --symbols) symbols=yes ;;
  --no-archive) archive='' ;;
  --tensorrt | --clip | --binary | --onnxruntime | --network-alone | --out | --level)
    [ $# -gt 1 ] || die "$1 wants a value"
    case $1 in
    --tensorrt) tensorrt=$2 ;;
    --clip) clip=$2 ;;
    --binary) binary=$2 ;;
    --onnxruntime) onnxruntime=$2 ;;
    --network-alone) alone=$2 ;;
    --out) out=$2 ;;
    --level) level=$2 ;;
    esac
    shift
    ;;
  *)
    awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0" >&2
    die "pack.sh knows no $1"
    ;;
  esac
  shift
done
case $level in [0-9]) ;; *) die "--level is from 0 to 9, not $level" ;; esac
if [ -n "$tensorrt" ] && [ -z "$gpu" ]; then die "--tensorrt is for --gpu"; fi
machine=$(uname -m)
if [ -n "$gpu" ] && [ "$machine" != x86_64 ]; then die "the pinned CUDA libraries are for x86_64, not $machine"; fi
for tool in ldd readelf objcopy tar xz; do
  command -v $tool >/dev/null || die "$tool is missing: apt-get install binutils libc-bin tar xz-utils"
done

# --- what goes in -------------------------------------------------------------------------------------------------------------------
if [ -z "$binary" ]; then
  "$root/scripts/setup.sh" build
  cargo build --release --locked --package acuity --manifest-path "$root/Cargo.toml"
  binary=$root/target/release/acuity
fi
if [ -z "$onnxruntime" ] && [ -z "$gpu" ]; then
  "$root/scripts/fetch-onnxruntime.sh"
  onnxruntime=$cache/onnxruntime
fi
[ -x "$binary" ] || die "$binary is no program"

version=$("$binary" --version | awk '{ print $2 }')
name=acuity-$version-$machine${gpu:+-gpu}
top=$out/$name
say "packing $top"
mkdir -p "$out"
rm -rf "${top:?}"
mkdir -p "$top"/{bin,libexec,loader,lib,models,onnxruntime,config,licences,.acuity}
ln -s ../onnxruntime "$top/.acuity/onnxruntime" # where the program looks, below the folder it lies in

# program FILE NAME: with a launcher in bin/ and a name of its own for the loader, so that ps and pidof show it
interpreter=$(readelf -l "$binary" | sed -n 's/.*program interpreter: \(.*\)\]/\1/p')
loader=$(basename "$interpreter")
program() {
  if [ -n "$symbols" ]; then cp "$1" "$top/libexec/$2"; else objcopy --strip-debug "$1" "$top/libexec/$2"; fi
  chmod 755 "$top/libexec/$2"
  install -m 755 "$root/deploy/launch.sh" "$top/bin/$2"
  ln -s "../lib/$loader" "$top/loader/$2"
}
program "$binary" acuity
if [ -n "$measuring" ]; then
  if [ -z "$alone" ]; then
    cargo build --release --locked --manifest-path "$root/deploy/network-alone/Cargo.toml" \
      --target-dir "$root/target/network-alone"
    alone=$root/target/network-alone/release/network-alone
  fi
  program "$alone" network-alone
  program "$(command -v ffmpeg)" ffmpeg
  install -m 755 "$root/deploy/measure-gpu.sh" "$top/bin/measure-gpu.sh"
fi

if [ -n "$gpu" ]; then
  wheels=$(mktemp -d)
  trap 'rm -rf "$wheels"' EXIT
  say "fetching ONNX Runtime for GPUs, CUDA and cuDNN"
  pip_download "$root/scripts/pins/onnxruntime-gpu.txt" "$wheels" --quiet --only-binary=:all: --python-version 3.11 \
    --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux2014_x86_64 --platform manylinux2010_x86_64
  mkdir -p "$top/cuda"
  python3 "$root/deploy/unpack_wheels.py" "$wheels" "$top"
  if [ -n "$tensorrt" ]; then
    cp -L "$tensorrt"/lib{nvinfer,nvinfer_plugin,nvonnxparser}.so.10 "$top/cuda/"
    cp "$tensorrt"/libnvinfer_builder_resource*.so.10* "$top/cuda/"
  else
    rm "$top/onnxruntime/libonnxruntime_providers_tensorrt.so" # asked for without its libraries it says so
  fi
else
  cp -a "$onnxruntime"/. "$top/onnxruntime/"
fi
if [ ! -e "$top/onnxruntime/libonnxruntime.so" ]; then
  ln -s "$(cd "$top/onnxruntime" && echo libonnxruntime.so.*)" "$top/onnxruntime/libonnxruntime.so"
fi

# --- the libraries that all of it needs ---------------------------------------------------------------------------------------------
# Those of the driver are the machine's: they belong to its kernel module.
elves=("$top"/libexec/* "$top"/onnxruntime/*.so*)
if [ -n "$gpu" ]; then elves+=("$top"/cuda/*.so*); fi
needed=$(LD_LIBRARY_PATH=$top/onnxruntime:$top/cuda ldd "${elves[@]}" 2>/dev/null || true) # what it could not read, check_pack.sh finds
missing=$(awk '/not found/ { print $1 }' <<<"$needed" | grep -vE '^lib(cuda|nvidia-|nvcuvid)' | sort -u || true)
[ -z "$missing" ] || die "not found: $missing"
mapfile -t libraries < <(awk '$2 == "=>" && $3 ~ "^/" { print $3 }' <<<"$needed" | grep -v "^$top/" | sort -u)
# One name may come out of two folders: the loader's order decides, as it does at home.
for library in "${libraries[@]}"; do
  if [ ! -e "$top/lib/$(basename "$library")" ]; then cp -L "$library" "$top/lib/"; fi
done
cp -L "$interpreter" "$top/lib/"
chmod 644 "$top"/lib/*
chmod 755 "$top/lib/$loader"

# --- models, examples, licences -----------------------------------------------------------------------------------------------------
cp -a "$root/models/zoo" "$top/models/"
cp "$root/config/acuity.example.toml" "$top/config/"
cp "$root"/deploy/{acuity.service,acuity-worker.service,acuity-models.service,acuity-gpu.conf,README.md} "$top/"
# For images, which have none; a machine's own are used where it has some.
bundle=/etc/ssl/certs/ca-certificates.crt
[ -r "$bundle" ] || die "$bundle is missing: apt-get install ca-certificates"
install -D -m 644 "$bundle" "$top/certificates/ca-certificates.crt"
debian_licences "$top/licences/debian" "${libraries[@]}" "$interpreter" /usr/sbin/update-ca-certificates ${measuring:+"$(command -v ffmpeg)"}
rust_licences "$top/licences/rust"
cp -L /usr/share/common-licenses/Apache-2.0 "$top/licences/acuity"
mkdir -p "$top/licences/onnxruntime"
mv "$top"/onnxruntime/{LICENSE,ThirdPartyNotices.txt} "$top/licences/onnxruntime/"
if [ -n "$tensorrt" ]; then
  echo "TensorRT is NVIDIA's; its licence is in the archive it was taken from" >"$top/licences/tensorrt"
fi

if [ -n "$measuring" ]; then
  "$root/scripts/fetch-trainer.sh"
  "$cache/trainer/bin/python" "$root/deploy/measure_models.py" "$top/models/measure"
  film=$cache/media/bbb.mp4
  encode=(-an -c:v libx264 -preset medium -b:v 600k -maxrate 900k -bufsize 1200k -g 60 -bf 2 -threads 1 -bitexact)
  if [ -n "$clip" ]; then
    cp "$clip" "$top/models/measure/clip.mp4"
  elif [ -r "$film" ]; then
    # 24 pictures a second shown as 30: no picture twice, which would flatter whatever reuses pictures
    ffmpeg -v error -nostdin -y -ss 60 -t 75 -i "$film" -vf setpts=PTS*24/30,scale=640:360 -r 30 -t 60 "${encode[@]}" \
      "$top/models/measure/clip.mp4"
    echo "models/measure/clip.mp4: from Big Buck Bunny, (c) Blender Foundation, CC-BY 3.0" >"$top/licences/clip"
  else
    ffmpeg -v error -nostdin -y -f lavfi -i testsrc2=size=640x360:rate=30:duration=60 -pix_fmt yuv420p "${encode[@]}" \
      "$top/models/measure/clip.mp4"
  fi
fi

# Whatever the packer's umask: the image and the unit run as somebody else.
chmod -R u=rwX,go=rX "$top"
(cd "$top" && find . -type f -print0 | sort -z | xargs -0 sha256sum >"$out/.manifest")
mv "$out/.manifest" "$top/MANIFEST"
size() { du -sbL "$@" 2>/dev/null | awk '{ sum += $1 } END { printf "%.1f MB", sum / 1e6 }'; }
say "unpacked: program $(size "$top/libexec"), $(find "$top/lib" -type f | wc -l) libraries $(size "$top/lib"), ONNX Runtime $(size "$top/onnxruntime")${gpu:+, CUDA $(size "$top/cuda")}, models $(size "$top/models")"
if [ -n "$archive" ]; then
  epoch=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
  tar --create --directory "$out" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" \
    --mode=u=rwX,go=rX --format=gnu "$name" | xz "-$level" --threads=1 >"$top.tar.xz.part"
  mv "$top.tar.xz.part" "$top.tar.xz"
  say "$top.tar.xz: $(size "$top.tar.xz")"
fi
