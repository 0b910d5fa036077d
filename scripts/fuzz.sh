#!/usr/bin/env bash
# Fuzzes what reads data of others (tests/fuzz): builds the targets with clang's libFuzzer, address and undefined-behaviour
# sanitizers, runs each for a while, and says how many inputs were executed and what they covered.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

usage() {
  cat <<'END_OF_USAGE'
usage: scripts/fuzz.sh [--seconds N] [--jobs N] [--build DIR] [--keep] [TARGET...]

Without a TARGET: all of them. Exit code 0 when nothing was found, 1 when something was, 77 without clang.

  --seconds N   how long each target runs (default 60)
  --jobs N      targets at a time (default: as many as processors)
  --build DIR   build directory (default build-fuzz)
  --keep        keep what other runs found interesting (out/fuzz/TARGET) as it is; without, it is reduced first

Inputs that were interesting are kept in out/fuzz/TARGET and are the start of the next run, with the committed ones in
tests/fuzz/seeds and tests/fuzz/cases. What crashes, hangs or takes too much memory is written to out/fuzz/found; to make
it a regression test, copy it to tests/fuzz/cases/TARGET. Coverage: edges of the instrumented code, of all that the target
links; a target that uses a tenth of a library cannot reach more.
END_OF_USAGE
}

seconds=60 jobs=$(nproc) build=build-fuzz keep=0 targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=${2:?--seconds needs a number}; shift ;;
    --jobs) jobs=${2:?--jobs needs a number}; shift ;;
    --build) build=${2:?--build needs a folder}; shift ;;
    --keep) keep=1 ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; printf 'fuzz: unknown option: %s\n' "$1" >&2; exit 2 ;;
    *) targets+=("$1") ;;
  esac
  shift
done

all=(container faiss vecs bin npy hdf5 hdf5_chunks records lists names search)
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]}")
for target in "${targets[@]}"; do
  [ -f "tests/fuzz/${target}_fuzz.cpp" ] || { printf 'fuzz: no target %s; there are: %s\n' "$target" "${all[*]}" >&2; exit 2; }
done

# Debian's package is clang-14, of which the package clang is an alias.
clang=$(command -v clang++ || command -v clang++-14) || {
  echo "clang is not there (scripts/setup.sh fuzz installs it)"
  exit 77
}

mkdir -p out/fuzz/found
printf 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }\n' >out/fuzz/probe.cpp
"$clang" -fsanitize=fuzzer,address out/fuzz/probe.cpp -o out/fuzz/probe 2>/dev/null || {
  echo "clang is there without libFuzzer (scripts/setup.sh fuzz installs it)"
  exit 77
}
log=out/fuzz/build.log
launcher=()
! command -v ccache >/dev/null || launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
if ! {
  cmake -S . -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="$clang" -DCMAKE_C_COMPILER="${clang/++/}" -DCMAKE_BUILD_TYPE=Debug \
    -DCMAKE_CXX_FLAGS_DEBUG="-O1 -g1" -DCMAKE_UNITY_BUILD=ON -DIVF_FUZZ=ON -DIVF_BUILD_TESTS=ON -DIVF_BUILD_FAISS=OFF \
    -DIVF_SANITIZE=fuzzer-no-link,address,undefined "${launcher[@]}" &&
    cmake --build "$build" --target "${targets[@]/#/fuzz_}"
} >$log 2>&1; then
  tail -n 30 $log
  echo "fuzz: the build failed ($log)"
  exit 1
fi

# Edges that the committed inputs reach, and some less: a harness whose inputs never get to what it tests reaches few.
fewest_edges() {
  case $1 in
    container) echo 3000 ;;
    faiss) echo 2500 ;;
    records | search) echo 3500 ;;
    names) echo 700 ;;
    hdf5 | vecs | bin | npy) echo 500 ;;
    *) echo 400 ;;
  esac
}

# The buffers of readers are large beside the inputs: freed ones must not fill the quarantine.
export ASAN_OPTIONS=quarantine_size_mb=16:detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=2048
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
# Fuzzes one target; its row of the table is what it prints. 1 when something was found, or nothing was looked at.
fuzz_target() {
  local target=$1 program=$build/tests/fuzz/fuzz_$1 corpus=out/fuzz/$1 log=out/fuzz/$1.log started=out/fuzz/$1.started
  local inputs=("tests/fuzz/seeds/$target") limits=(-rss_limit_mb=2048 -malloc_limit_mb=1024)
  [ ! -d "tests/fuzz/cases/$target" ] || inputs+=("tests/fuzz/cases/$target")
  # The process that the HDF5 library works in may ask for any amount, and is told that there is none (ASAN_OPTIONS).
  # It may also take a minute of the processor until it is ended.
  # The library is not instrumented: it would be reported for what it copies, and our own code for the rest.
  if [ "$target" = hdf5 ]; then
    limits=(-rss_limit_mb=0 -malloc_limit_mb=0 -timeout=300 -report_slow_units=300)
    local -x ASAN_OPTIONS=$ASAN_OPTIONS:replace_intrin=0:replace_str=0
  fi
  mkdir -p "$corpus"
  if [ $keep = 0 ] && [ -n "$(ls "$corpus")" ]; then
    rm -rf "$corpus.reduced" && mkdir "$corpus.reduced"
    "$program" -merge=1 "$corpus.reduced" "${inputs[@]}" "$corpus" >"$log" 2>&1 && rm -rf "$corpus" && mv "$corpus.reduced" "$corpus"
  fi
  touch "$started"
  "$program" -max_total_time="$seconds" -print_final_stats=1 -max_len=16384 -len_control=20 -timeout=70 "${limits[@]}" \
    -artifact_prefix="out/fuzz/found/$target-" "$corpus" "${inputs[@]}" >"$log" 2>&1
  local result=$? executions last artifacts
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  last=$(grep -E '^#[0-9]+.* cov: ' "$log" | tail -n 1)
  artifacts=$(find out/fuzz/found -name "$target-*" -newer "$started" | wc -l)
  number() { sed -n "s/.* $1: \([0-9]*\).*/\1/p" <<<"$last"; }
  printf '%-12s %12s %10s %8s %8s %8s  ' "$target" "${executions:-0}" "$((${executions:-0} / (seconds > 0 ? seconds : 1)))" \
    "$(number cov)" "$(number ft)" "$(number corp)"
  # (What is reported of a child does not end the target.)
  if [ $result != 0 ] || [ "$artifacts" != 0 ] || grep -qE '^==[0-9]+== ?ERROR: AddressSanitizer|: runtime error: ' "$log"; then
    echo "FOUND: $(grep -E '^(SUMMARY|fuzz:|==.*ERROR|.*: runtime error: )' "$log" | head -n 1) ($log)"
  elif [ "${executions:-0}" -lt "$((seconds < 100 ? seconds : 100))" ]; then
    echo "DID NOT RUN ($log)"
  elif [ "$(number cov)" -lt "$(fewest_edges "$target")" ]; then
    echo "DID NOT REACH what it is to test: fewer than $(fewest_edges "$target") edges ($log)"
  else
    echo "nothing found"
    return 0
  fi
  return 1
}

code=0
printf '%-12s %12s %10s %8s %8s %8s  %s\n' target executions per_second edges features corpus result
# So many at a time; their rows in the order of the targets. (Processes in the background do not see an interruption.)
trap "trap - INT TERM; kill 0" INT TERM
for ((first = 0; first < ${#targets[@]}; first += jobs)); do
  group=("${targets[@]:first:jobs}") processes=()
  for target in "${group[@]}"; do
    fuzz_target "$target" >"out/fuzz/$target.row" &
    processes+=($!)
  done
  for i in "${!group[@]}"; do
    wait "${processes[i]}" || code=1
    cat "out/fuzz/${group[i]}.row"
  done
done
exit $code
