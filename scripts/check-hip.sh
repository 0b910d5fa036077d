#!/usr/bin/env bash
# Compiles the GPU engine for AMD's devices with hipcc (Debian: hipcc), warnings being errors: check-hip.sh [BUILD_DIR]
# Nothing is linked or run. Exit code 77: there is no hipcc, or none that finds what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build-hip}
command -v hipcc >/dev/null || { echo "check-hip: no hipcc (Debian: hipcc)"; exit 77; }
mkdir -p "$build"

# One device whose wavefronts have 64 lanes and one with 32; Debian 12's hipcc has no library for gfx1100 yet.
printf '#include <hip/hip_runtime.h>\n__global__ void probe(float* x) { x[threadIdx.x] = fmaf(x[0], x[1], x[2]); }\n' >"$build/probe.cpp"
compiles_for() { hipcc -x hip --offload-arch="$1" -c "$build/probe.cpp" -o "$build/probe.o" >/dev/null 2>&1; }
devices=()
for choice in "gfx90a" "gfx1100 gfx1030"; do
  for device in $choice; do
    if compiles_for "$device"; then
      devices+=("$device")
      break
    fi
  done
done
[ ${#devices[@]} -gt 0 ] || { echo "check-hip: hipcc compiles for neither gfx90a nor gfx1100 nor gfx1030"; exit 77; }

# Arithmetic as libivf/src/backends/gpu/CMakeLists.txt asks nvcc for it. Errors show without optimising, in a quarter of the time.
options=(-x hip -std=c++20 -O0 -fPIC -ffp-contract=off -Wall -Wextra -Wshadow -Werror
  "${devices[@]/#/--offload-arch=}" -Ilibivf/src -Ilibivf/include -Iformat/include)
compile_one() {
  local source=$1 name
  shift
  name=$(basename "$source" .cu)
  if ! hipcc "$@" -c "$source" -o "$build/$name.o" >"$build/$name.log" 2>&1; then
    cat "$build/$name.log"
    return 1
  fi
}
export build
export -f compile_one
# Two at a time, the largest first, so that none is left alone at the end.
find libivf/src/backends/gpu -name '*.cu' -printf '%s %p\n' | sort -rn | cut -d ' ' -f 2 |
  xargs -P 2 -I '{}' bash -c 'compile_one "$@"' _ '{}' "${options[@]}"
echo "check-hip: compiled for ${devices[*]}"
