#!/usr/bin/env bash
# Builds and runs every test. The last line is "N passed, N failed, N skipped"; the exit code is 0 when nothing failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

usage() {
  cat <<'END'
usage: scripts/test.sh [--quick] [--lint] [--torch] [--tsan] [--clean]

Installs missing packages (scripts/setup.sh) when it can, then:
  1. the checks of the sources: directions of includes and links, lengths of files, formatting, documents
  2. a release build with warnings as errors (build-ci/), every test, the symbols of the kernels
  3. an installation, and a program of another project that uses it
  4. the library compiled for 64-bit Arm and its kernels run in emulation, where a cross compiler is there; the GPU engine
     compiled for AMD's devices, where hipcc is there
  5. the same tests under the address and undefined-behaviour sanitizers (build-asan/)
  6. a few seconds of fuzzing of each target, where clang is there (build-fuzz/)

  --quick   without 4, 5 and 6
  --torch   the LibTorch module under the address and undefined-behaviour sanitizers, too
  --tsan    the same tests under the thread sanitizer, too (build-tsan/; takes an hour or more)
  --lint    install clang-format, clang-tidy and shellcheck too, and run shellcheck
  --clean   build from nothing

Output of each step: out/test/*.log. Uses all cores (CMAKE_BUILD_PARALLEL_LEVEL says otherwise) and ccache if it is there.
END
}

quick=0 lint=0 torch=0 tsan=0 clean=0
for argument in "$@"; do
  case $argument in
    --quick) quick=1 ;;
    --lint) lint=1 ;;
    --torch) torch=1 ;;
    --tsan) tsan=1 ;;
    --clean) clean=1 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; printf 'test: unknown argument: %s\n' "$argument" >&2; exit 2 ;;
  esac
done

if [ -t 1 ]; then bold=$'\e[1m' red=$'\e[31m' plain=$'\e[0m'; else bold="" red="" plain=""; fi
logs=out/test
mkdir -p $logs
passed=0 failed=0 skipped=0 failures=()
# A clone in another folder finds what an earlier one compiled.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
# Threads of LibTorch and faiss that wait for work leave the processor to the test beside them.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}

# One step: name, seconds that it may take, command. Its output goes to a log; the end of it is shown when it fails.
# Exit code 77 means that the step could not run here.
run_step() {
  local name=$1 limit=$2 log start=$SECONDS code
  shift 2
  log=$logs/${name//[^a-zA-Z0-9]/-}.log
  printf '%s%-44s%s' "$bold" "$name" "$plain"
  timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1 </dev/null
  code=$?
  case $code in
    0) printf 'ok %5s s\n' $((SECONDS - start)) ;;
    77) printf 'skipped: %s\n' "$(tail -n 1 "$log")" ;;
    *)
      printf '%sFAILED%s %s s, exit code %s%s\n' "$red" "$plain" $((SECONDS - start)) $code \
        "$([ $code != 124 ] || echo " (stopped after $limit s)")"
      tail -n 40 "$log" | sed 's/^/    /'
      failures+=("$name ($log)")
      ;;
  esac
  return $code
}

# A step that is one test.
check() {
  run_step "$@"
  case $? in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
  esac
}

# Configures and builds a preset, with more options for cmake if wanted: counts only when it fails, for the tests count
# themselves.
build() {
  local preset=$1 options=()
  shift
  [ $clean = 0 ] || rm -rf "build-$preset"
  if command -v ccache >/dev/null; then options=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache); fi
  if run_step "$preset: configure" 120 cmake --preset "$preset" "${options[@]}" "$@" &&
    run_step "$preset: build" 2400 cmake --build --preset "$preset"; then
    return 0
  fi
  failed=$((failed + 1))
  return 1
}

# Runs every test of a preset and adds up what ctest counted.
test_all() {
  local preset=$1 limit=$2 log summary total bad unavailable
  run_step "$preset: tests" "$limit" ctest --preset "$preset" -j "$CMAKE_BUILD_PARALLEL_LEVEL" --output-on-failure
  log=$logs/$preset--tests.log
  summary=$(grep -E '^[0-9]+% tests passed, [0-9]+ tests? failed out of [0-9]+' "$log")
  if [ -z "$summary" ]; then
    failed=$((failed + 1))
    return
  fi
  read -r bad total < <(sed -E 's/.*passed, ([0-9]+) tests? failed out of ([0-9]+).*/\1 \2/' <<<"$summary")
  unavailable=$(grep -cE '\*\*\*(Skipped|Not Run \(Disabled\))' "$log")
  failed=$((failed + bad)) skipped=$((skipped + unavailable)) passed=$((passed + total - bad - unavailable))
  printf '    %s\n' "$summary"
}

groups=(build test)
[ $lint = 0 ] || groups+=(lint)
./scripts/setup.sh "${groups[@]}" </dev/null || echo "test: going on with what is there"
# By itself: not every release packages LibTorch, and without it everything else is tested.
./scripts/setup.sh torch </dev/null || echo "test: without LibTorch, the tests of its devices are skipped"

check "directions: the rule catches breaches" 60 ./scripts/check-directions.py --self-test
check "directions of includes and links" 60 ./scripts/check-directions.py
check "lengths of files" 60 ./scripts/check-lengths.sh
check "formatting" 120 ./scripts/check-format.sh
[ $lint = 0 ] || check "scripts: shellcheck" 120 shellcheck --severity=warning .ci/run scripts/*.sh datasets/*.sh tests/cli/*.sh

if build ci; then
  test_all ci 1200
  mapfile -t modules < <(compgen -G 'build-ci/apps/ivf_*.so')
  check "hardening of the program and its modules" 60 ./scripts/check-hardening.sh build-ci/apps/ivf "${modules[@]}"
  check "symbols of the kernels" 60 ./scripts/check-isa-symbols.sh build-ci
  check "documents: links, commands, examples" 60 ./scripts/check-docs.py build-ci/apps/ivf
  check "installation and find_package" 300 ./scripts/check-install.sh build-ci
  check "Debian packages" 300 ./scripts/check-package.sh build-ci
fi

if [ $quick = 0 ]; then
  check "64-bit Arm: library and kernels" 900 ./scripts/check-aarch64.sh build-aarch64
  check "GPU engine: hipcc compiles it" 600 ./scripts/check-hip.sh build-hip
  # What the sanitizers find ends the test: nothing is only reported. No detect_stack_use_after_return: the frames that
  # GCC's runtime then puts on the heap are not aligned to 64 bytes, which vector kernels and alignas() rely on.
  export ASAN_OPTIONS=detect_stack_use_after_return=0:strict_string_checks=1:allocator_may_return_null=1
  export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
  # Without the LibTorch module: what is compiled against its headers takes as long as half of the rest. --torch adds it.
  ! build asan -DIVF_WITH_TORCH="$([ $torch = 1 ] && echo AUTO || echo OFF)" || test_all asan 1800
  check "fuzzing, four seconds each target" 900 ./scripts/fuzz.sh --seconds 4
fi
if [ $tsan = 1 ]; then
  # history_size: with the default it forgets who read something before the suppressions could look at that.
  export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:history_size=7:suppressions=$PWD/tests/torch/tsan.supp
  ! build tsan || test_all tsan 14400
fi

if [ ${#failures[@]} -gt 0 ]; then printf 'failed: %s\n' "${failures[@]}"; fi
printf 'test: %s min %s s\n' $((SECONDS / 60)) $((SECONDS % 60))
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
