#!/usr/bin/env bash
# Makes sample/mnist-sample.h5, which is committed: the first 2,000 images of MNIST's base and the first 200 of its queries,
# with their 100 exact neighbours, gzip-compressed. Made again, it differs in nothing but the times that h5repack notes.
# Needs ivf as fetch.sh does, and h5repack (Debian: hdf5-tools).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ivf=${IVF:-$here/../build/apps/ivf}
command -v h5repack >/dev/null || { echo "make-sample: h5repack is missing; install hdf5-tools" >&2; exit 1; }

IVF=$ivf "$here/fetch.sh" mnist-784
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
data=$here/cache/mnist-784.h5
"$ivf" convert -q "$data:train" "$work/base.u8bin" --count 2000
"$ivf" convert -q "$data:test" "$work/queries.u8bin" --count 200
"$ivf" truth -q --base "$work/base.u8bin" --queries "$work/queries.u8bin" --metric l2 -k 100 --with-vectors -o "$work/plain.h5"
h5repack -f SHUF -f GZIP=9 "$work/plain.h5" "$work/small.h5"
mkdir -p "$here/sample"
mv "$work/small.h5" "$here/sample/mnist-sample.h5"
ls -l "$here/sample/mnist-sample.h5"
