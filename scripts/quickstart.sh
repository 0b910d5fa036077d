#!/usr/bin/env bash
# From a checkout to recall and speed on real data: installs what is missing, builds, fetches MNIST, trains, adds, searches.
# Every command is printed before it runs. Safe to run again: what is there is kept.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  "") ;;
  -h | --help)
    echo "usage: scripts/quickstart.sh"
    echo "Installs what is missing, builds ivf (build/), fetches MNIST-784, trains, adds, searches; prints recall and speed."
    exit 0
    ;;
  *) echo "quickstart: unknown argument: $1 (there are none)" >&2; exit 2 ;;
esac

if [ -t 1 ]; then bold=$'\e[1m' green=$'\e[32m' plain=$'\e[0m'; else bold="" green="" plain=""; fi
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
show() { printf '%s$ %s%s\n' "$green" "$*" "$plain"; }
run() { show "$@"; "$@"; }
# For commands that say a lot and nothing of interest: their output is shown when they fail.
run_quietly() {
  show "$@"
  mkdir -p out
  "$@" >out/quickstart.log 2>&1 || { tail -n 40 out/quickstart.log >&2; echo "quickstart: that failed; the whole output is in out/quickstart.log" >&2; exit 1; }
}

step "1. Packages"
run ./scripts/setup.sh build

step "2. Build (build/)"
configure=(cmake --preset release)
if command -v ccache >/dev/null; then configure+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
run_quietly "${configure[@]}"
run_quietly cmake --build build
ivf=build/apps/ivf
run $ivf --version

step "3. Data: MNIST, 60,000 images of 784 pixels and 10,000 queries"
data=datasets/cache/mnist-784.h5 nlist=256
show ./datasets/fetch.sh mnist-784
if ! { ./scripts/setup.sh data && IVF=$ivf ./datasets/fetch.sh mnist-784; }; then
  data=datasets/sample/mnist-sample.h5 nlist=32
  echo "MNIST could not be fetched (no network or no npm), so this goes on with the sample of it in $data."
fi

step "4. Train, add"
mkdir -p out
run $ivf train "$data" -o out/mnist.ivf --nlist $nlist --force
run $ivf add out/mnist.ivf "$data"
run $ivf info out/mnist.ivf

step "5. Search: 10 neighbours, 16 of $nlist lists; recall against exact search"
run $ivf search out/mnist.ivf "$data" -k 10 --nprobe 16 --verify
