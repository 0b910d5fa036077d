#!/usr/bin/env bash
# Compiles the library for 64-bit Arm and runs the tests of the kernels there: check-aarch64.sh [BUILD_DIR]
# Needs a cross compiler (Debian: g++-aarch64-linux-gnu) and, to run, an emulator (qemu-user). Libraries for Arm are not
# needed: headers do, and the tests of the kernels link none.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build-aarch64}
target=aarch64-linux-gnu
command -v $target-g++ >/dev/null || { echo "check-aarch64: no $target-g++ (Debian: g++-$target)"; exit 77; }

# One file at a time: the tests of the kernels link nothing but the kernels' own objects.
# The headers of this machine's fmt, zstd and xxHash serve for Arm too.
fmt=$(find /usr/lib /usr/local/lib -name fmt-config.cmake -printf '%h\n' -quit 2>/dev/null)
launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_C_COMPILER=$target-gcc -DCMAKE_CXX_COMPILER=$target-g++ "${launcher[@]}" ${fmt:+"-Dfmt_DIR=$fmt"} \
  -DCMAKE_UNITY_BUILD=OFF -DIVF_WERROR=ON -DIVF_BUILD_APPS=OFF -DIVF_BUILD_TESTS=OFF
cmake --build "$build"

command -v qemu-aarch64 >/dev/null || { echo "check-aarch64: compiled; not run, for there is no qemu-aarch64 (Debian: qemu-user)"; exit 0; }
# The test brings the functions of fmt that the library calls: FMT_HEADER_ONLY.
compile=("$target-g++" -std=c++20 -O1 -ffp-contract=off -DFMT_HEADER_ONLY -Itests -Ilibivf/include -Ilibivf/src -Iformat/include)
if command -v ccache >/dev/null; then compile=(ccache "${compile[@]}"); fi
[ -e /usr/include/catch2/catch.hpp ] && compile+=(-DIVF_CATCH2_V2)
objects=()
for source in tests/support/{catch_main,shapes}.cpp tests/libivf/kernels_test.cpp; do
  object=$build/$(basename "$source").o
  "${compile[@]}" -c "$source" -o "$object"
  objects+=("$object")
done
$target-g++ -static "${objects[@]}" "$build/libivf/libivf.a" -o "$build/kernels_test"
qemu-aarch64 "$build/kernels_test" "kernels:*"
echo "check-aarch64: compiled, and the tests of the kernels pass"
