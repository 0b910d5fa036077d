#!/usr/bin/env bash
# Checks the compiled kernels: check-isa-symbols.sh [BUILD_DIR]
# A file for one instruction set must define no weak symbol. A weak symbol is the copy of an inline function or template;
# the linker keeps any one of them for the whole program, and the AVX-512 one would crash on a CPU without AVX-512.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
mapfile -t objects < <(find "$build/libivf" -name 'kernels_*.cpp.o' ! -name 'kernels_scalar.cpp.o' | sort)
[ ${#objects[@]} -gt 0 ] || { echo "check-isa-symbols: no compiled kernels below $build/libivf" >&2; exit 1; }
status=0
for object in "${objects[@]}"; do
  if weak=$(nm --demangle --defined-only "$object" | grep -E '^[0-9a-f]+ [WVu] ' | grep -v 'DW.ref.__gxx_personality'); then
    printf '%s defines weak symbols:\n%s\n' "$object" "$weak"
    status=1
  fi
done
[ $status != 0 ] || echo "check-isa-symbols: ${#objects[@]} objects, no weak symbol"
exit $status
