#!/usr/bin/env bash
# Checks that no file of code has more than 600 lines: past that it holds more than one idea.
set -euo pipefail
cd "$(dirname "$0")/.."
limit=600 files=0 status=0
while IFS= read -r -d '' file; do
  [ -f "$file" ] || continue
  files=$((files + 1))
  lines=$(wc -l <"$file")
  if [ "$lines" -gt $limit ]; then
    echo "$file: $lines lines; split it by idea, at most $limit are allowed"
    status=1
  fi
done < <(git ls-files -z -- '*.cpp' '*.hpp' '*.h' '*.cu' '*.cuh' '*.py' '*.sh' '*.cmake' 'CMakeLists.txt' '*/CMakeLists.txt' .ci/run)
[ "$files" -gt 0 ] || { echo "check-lengths: git lists no files here" >&2; exit 1; }
[ $status != 0 ] || echo "check-lengths: $files files, none past $limit lines"
exit $status
