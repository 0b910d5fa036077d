#!/usr/bin/env bash
# Runs clang-tidy with .clang-tidy over the C++ files of the project: check-tidy.sh [BUILD_DIR [FILE...]]
# BUILD_DIR (default: build) must be configured. Takes minutes; not part of test.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
[ -f "$build/compile_commands.json" ] || { echo "check-tidy: no $build/compile_commands.json; configure first: cmake --preset release" >&2; exit 2; }
tool=$(command -v clang-tidy-14 || command -v clang-tidy) || { echo "check-tidy: ./scripts/setup.sh lint" >&2; exit 77; }
shift || true
if [ $# -gt 0 ]; then files=("$@"); else mapfile -d '' -t files < <(git ls-files -z -- 'apps/*.cpp' 'datasets/*.cpp' 'format/*.cpp' 'libivf/*.cpp'); fi
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$(nproc)" "$tool" -p "$build" --quiet
