#!/usr/bin/env bash
# Checks that programs and modules are built the way that makes a memory error hard to exploit: position-independent,
# relocations read-only and bound at start (full RELRO), a stack that is not executable, stack protectors, and the checked
# versions of C's functions (_FORTIFY_SOURCE).
#
#     scripts/check-hardening.sh PROGRAM...
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
command -v readelf >/dev/null || { echo "readelf (binutils) is not there"; exit 77; }

code=0
for program in "$@"; do
  missing=()
  headers=$(readelf --wide --program-headers --dynamic --file-header "$program")
  # Of a static library's code too: undefined symbols are those that the program takes from the C library.
  symbols=$(readelf --wide --dyn-syms "$program")
  grep -q 'Type: *DYN' <<<"$headers" || missing+=("position-independent code (PIE)")
  grep -q 'GNU_RELRO' <<<"$headers" || missing+=("read-only relocations (RELRO)")
  grep -Eq 'BIND_NOW|FLAGS.*NOW' <<<"$headers" || missing+=("binding at start (-z now)")
  grep -Eq 'GNU_STACK .*RWE' <<<"$headers" && missing+=("a stack that is not executable")
  grep -q '__stack_chk_fail' <<<"$symbols" || missing+=("stack protectors")
  grep -Eq '__(memcpy|memset|memmove|read|pread64|snprintf|vsnprintf|fprintf|printf|strcpy)_chk' <<<"$symbols" ||
    missing+=("checked functions (_FORTIFY_SOURCE)")
  if [ ${#missing[@]} -gt 0 ]; then
    printf '%s: without %s\n' "$program" "${missing[*]}"
    code=1
  else
    echo "$program: PIE, full RELRO, no executable stack, stack protectors, checked functions"
  fi
done
exit $code
