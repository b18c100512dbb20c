#!/bin/sh
# Runs the packed program of this file's name (bin/acuity: libexec/acuity) with the packed loader and the packed libraries. They are
# named to the loader, not to the environment: what the program starts finds its own libraries, not ours. The machine's are looked at
# last, for what only the machine has: the driver's (libcuda.so.1 and its kin).
set -eu
self=$(readlink -f -- "$0")
name=${self##*/}
top=${self%/bin/*}
case $top in *:*) echo "$name: cannot run below a folder with a colon in its name: $top" >&2 && exit 1 ;; esac
# The edge's workers are this very program too, and what runs it is the loader: they are started by this file again.
export ACUITY_WORKER="$self"
# Where containers and systems without an ld.so.cache keep the driver.
driver=/usr/local/nvidia/lib64:/usr/local/nvidia/lib:/run/opengl-driver/lib:/usr/lib/wsl/lib
# By this path, and not by the loader's, the program starts its successor; through a link it may lead to another version by then.
export ACUITY_PROGRAM="${ACUITY_PROGRAM:-$0}"
exec "$top/loader/$name" --argv0 "$name" \
  --library-path "$top/lib:$top/cuda${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}:$driver" \
  "$top/libexec/$name" "$@"
