#!/usr/bin/env bash
# Checks the formatting of the C++ files against .clang-format. With --fix: formats them.
# Other versions of clang-format disagree in details: only version 14 counts. Exit code 77: it is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=""
for candidate in clang-format-14 clang-format; do
  if command -v $candidate >/dev/null && $candidate --version | grep -q 'version 14\.'; then
    tool=$candidate
    break
  fi
done
if [ -z "$tool" ]; then
  echo "check-format: clang-format 14 is not installed (./scripts/setup.sh lint)"
  exit 77
fi
mapfile -d '' -t files < <(git ls-files -z -- '*.cpp' '*.hpp' '*.h' '*.cu' '*.cuh')
if [ "${1:-}" = --fix ]; then
  "$tool" -i "${files[@]}"
  exit 0
fi
unformatted=$("$tool" --dry-run --Werror "${files[@]}" 2>&1 | sed -n 's/:[0-9]*:[0-9]*: error: code should be clang-formatted.*//p' | sort -u || true)
if [ -n "$unformatted" ]; then
  printf '%s\n' "$unformatted" "check-format: not formatted (above); ./scripts/check-format.sh --fix"
  exit 1
fi
echo "check-format: ${#files[@]} files in order"
