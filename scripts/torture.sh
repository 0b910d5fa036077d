#!/usr/bin/env bash
# Tries to break ivf, at length: what docs/reliability.md promises, with the figures that stand there. The short forms of all
# of it run in scripts/test.sh.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

usage() {
  cat <<'END_OF_USAGE'
usage: scripts/torture.sh [--minutes N] [--build DIR] [STEP...]

Builds a release (build-ci, or DIR) and runs, one after the other or only the STEPs that are named:

  bytes     every byte of small indexes flipped, every length cut (tests/format, tests/torture)
  faults    every call by which a command changes a file fails in turn; every crash of the power is replayed
  storm     two writers and four readers at once, all killed at random moments, for N minutes
  kills     300 kills (SIGKILL) of an add at random moments
  memory    --max-memory with inputs eight times as large, measured by the kernel
  life      random operations on index files beside a plain list of rows for N minutes, with kills
  aging     ten million rows added and half of them removed in turns, compacted, beside a fresh index (3 GB of disk)
  search    random searches against the oracle for N minutes (IVF_TEST_SECONDS), and half of that the threads of a search
            handed jobs of every size
  valgrind  the first steps of the command line, and what rewrites indexes, under valgrind
  fuzz      every fuzz target for N minutes, where clang is there

  --minutes N   length of the steps that have none of their own (default 5)

Output of each step: out/torture/STEP.log. Exit code 0 when every step passed.
END_OF_USAGE
}

minutes=5 build=build-ci steps=()
while [ $# -gt 0 ]; do
  case $1 in
    --minutes) minutes=${2:?--minutes needs a number}; shift ;;
    --build) build=${2:?--build needs a folder}; shift ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; printf 'torture: unknown option: %s\n' "$1" >&2; exit 2 ;;
    *) steps+=("$1") ;;
  esac
  shift
done
all=(bytes faults storm kills memory life aging search valgrind fuzz)
[ ${#steps[@]} -gt 0 ] || steps=("${all[@]}")
for step in "${steps[@]}"; do
  [[ " ${all[*]} " == *" $step "* ]] || { printf 'torture: no step %s; there are: %s\n' "$step" "${all[*]}" >&2; exit 2; }
done

mkdir -p out/torture
build_program() {
  if [ "$build" = build-ci ]; then
    cmake --preset ci && cmake --build --preset ci
  else
    cmake --build "$build"
  fi >out/torture/build.log 2>&1 || { tail -n 20 out/torture/build.log; echo "torture: the build failed"; exit 1; }
}
[ "${steps[*]}" = fuzz ] || build_program
ivf=$build/apps/ivf

run_bytes() {
  "$build/tests/format/ivf_tests_format" "*every*,*flip*,*cut off*,*power loss*,*torn write*,*fault*" &&
    IVF_TEST_EVERY=1 "$build/tests/torture/ivf_tests_bytes"
}
run_faults() { python3 tests/torture/faults.py "$ivf" "$build/tests/torture/libivf_file_calls.so"; }
run_storm() { python3 tests/torture/storm.py "$ivf" --seconds $((minutes * 60)); }
run_kills() { tests/cli/kill_add.sh "$ivf" 300; }
run_memory() { python3 tests/torture/memory.py "$ivf" --times 8; }
run_search() {
  IVF_TEST_SECONDS=$((minutes * 60)) "$build/tests/libivf/ivf_tests_libivf" "search equals the oracle on random and adversarial shapes" &&
    IVF_TEST_SECONDS=$((minutes * 30)) "$build/tests/libivf/ivf_tests_libivf" "threads: every job*"
}
run_life() {
  IVF_TEST_SECONDS=$((minutes * 60)) "$build/tests/libivf/ivf_tests_libivf" "life: whatever*"
}
run_aging() {
  python3 tests/torture/aging.py "$ivf" --rows 10000000 --batches 100 --nlist 1024 --nq 2000 --rounds 9 --within 0.2
}
run_valgrind() {
  command -v valgrind >/dev/null || { echo "valgrind is not there (scripts/setup.sh fuzz installs it)"; return 77; }
  tests/torture/valgrind.sh "$ivf"
}
run_fuzz() { ./scripts/fuzz.sh --seconds $((minutes * 60)); }

code=0
for step in "${steps[@]}"; do
  start=$SECONDS
  "run_$step" >"out/torture/$step.log" 2>&1
  result=$?
  case $result in
    0) word=passed ;;
    77) word=skipped ;;
    *) word=FAILED code=1 ;;
  esac
  printf '%-9s %s after %s s\n' "$step" "$word" $((SECONDS - start))
  # What it counted, and why it failed.
  tail -n "$([ $word = FAILED ] && echo 30 || echo 12)" "out/torture/$step.log" | sed 's/^/    /'
done
exit $code
