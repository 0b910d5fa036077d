#!/usr/bin/env bash
# Installs a build into a temporary folder and uses it as a stranger would: check-install.sh [BUILD_DIR]
# tests/install/ is a CMake project of its own that finds the package, links it, trains, adds, searches, saves and loads.
set -euo pipefail
cd "$(dirname "$0")/.."
source=$PWD
build=${1:-build}
[ -f "$build/CMakeCache.txt" ] || { echo "check-install: $build is not a build directory; build first: cmake --build $build" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() { echo "check-install: $*" >&2; exit 1; }

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log" || { cat "$work/install.log" >&2; fail "cmake --install failed"; }
if found=$(grep -rlF -e "$source" "$work/prefix/include" "$(dirname "$(find "$work/prefix" -name ivfConfig.cmake)")"); then
  fail "installed files name the source folder: $found"
fi
"$work/prefix/bin/ivf" --version

configure=(-G Ninja -DCMAKE_BUILD_TYPE=Release "-DCMAKE_PREFIX_PATH=$work/prefix" "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror")
cmake -S tests/install -B "$work/build" "${configure[@]}" >"$work/configure.log" 2>&1 || { cat "$work/configure.log" >&2; fail "find_package(ivf) failed"; }
cmake --build "$work/build" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; fail "a program against the installed headers does not build"; }
(cd "$work" && ./build/consumer >output.txt)
[ -s "$work/example.ivf" ] || fail "the program saved no index"
diff -u tests/install/expected.txt "$work/output.txt" || fail "results are the same bits everywhere, but these are not"
"$work/prefix/bin/ivf" verify "$work/example.ivf"

# A version that is not installed must be refused.
sed 's/find_package(ivf 0\.1/find_package(ivf 99.0/' tests/install/CMakeLists.txt >"$work/CMakeLists.txt"
cp tests/install/main.cpp "$work/"
if cmake -S "$work" -B "$work/build-newer" "${configure[@]}" >"$work/newer.log" 2>&1; then fail "version 99.0 was accepted"; fi
# CMake wraps its messages.
tr -s ' \n' ' ' <"$work/newer.log" | grep -q 'requested version "99.0"' || { cat "$work/newer.log" >&2; fail "another version was refused for the wrong reason"; }
echo "check-install: installed, found, linked and run"
