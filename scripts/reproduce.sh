#!/usr/bin/env bash
# Measures everything that docs/benchmarks.md and the README show, and draws it, into a dated folder.
# shellcheck disable=SC2317  # the functions measure_NAME are called by a name that is put together
set -euo pipefail
here=$PWD
cd "$(dirname "$0")/.."

usage() {
  cat <<'END'
usage: scripts/reproduce.sh [--out DIR] [--quick] [--only NAME]... [--list]

Writes DIR (results/YYYY-MM-DD): one NAME.jsonl of records for each step, the environment (environment.json), tables
(tables.md), pictures (pictures/*.svg, *.png) and report.html with all of it. Stopped at any time, it goes on where it
stopped when it is called again: steps that are done are kept, and no record is ever replaced.

  --out DIR    another folder
  --quick      the same steps on small data, without a network: minutes rather than an hour. To try it, not to publish
  --only NAME  only this step, or those that start with it; may be given several times
  --list       the steps and how long each takes

Needs ivf ($IVF, build/apps/ivf, or the one on PATH), for MNIST and GloVe what datasets/fetch.sh needs, and for the pictures
matplotlib (scripts/setup.sh plot). $IVF_LIBRARIES, ivf,faiss when this ivf can measure faiss too, says what is measured.
Leave the machine alone meanwhile.
END
}

say() { printf 'reproduce: %s\n' "$*" >&2; }
die() {
  say "$1"
  exit "${2:-1}"
}

# A path that a person gives is seen from where the person is, not from the project's root.
seen_from_here() { if [[ -z $1 || $1 = /* ]]; then echo "$1"; else echo "$here/$1"; fi; }

out=results/$(date +%Y-%m-%d) quick=0 list=0 only=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --out | --only)
      [ $# -ge 2 ] || die "$1 needs a value (see --help)" 2
      if [ "$1" = --out ]; then out=$(seen_from_here "$2"); else only+=("$2"); fi
      shift
      ;;
    --out=*) out=$(seen_from_here "${1#--out=}") ;;
    --only=*) only+=("${1#--only=}") ;;
    --quick) quick=1 ;;
    --list) list=1 ;;
    *) usage >&2; die "unknown argument: $1" 2 ;;
  esac
  shift
done
[ -n "$out" ] || die "--out needs a folder" 2

# The data and sizes of every step: as published, or small and at hand.
if [ $quick = 0 ]; then
  seed=(--nb 262144 --train-n 20480 --nlist 512 --topk 20)
  seed_nprobe=32 nq_list=1,8,32,128,512,2048,19600 codes_nq=19600 codes_list=0,16384,32768,65536,131072
  mnist=datasets/cache/mnist-784.h5 mnist_lists=(--nlist 256 --train-n 60000) mnist_batch=10000 mnist_sweep=1000
  mnist_kmeans=(--nlist 1024 --train-n 60000)
  glove=datasets/cache/glove-100.h5 glove_queries=$glove:train glove_nprobe=50 glove_batch=10000
  glove_lists=(--nlist 1024 --train-n 262144)
  glove_kmeans=(--dataset "$glove" --nlist 1024 --train-n 340479)
  normal_kmeans=(--nb 262144 --train-n 262144 --nlist 4096)
  nprobe_list=1,2,4,8,16,32,64,128 repeat=5 build_repeat=3
else
  seed=(--nb 16384 --train-n 2048 --nlist 64 --topk 20)
  seed_nprobe=8 nq_list=1,8,64 codes_nq=256 codes_list=0,512,1024
  mnist=datasets/sample/mnist-sample.h5 mnist_lists=(--nlist 32 --train-n 2000) mnist_batch=200 mnist_sweep=200
  mnist_kmeans=(--nlist 64 --train-n 2000)
  glove=clustered:n=10000,d=100,seed=1 glove_queries=clustered:n=500,d=100,seed=2 glove_nprobe=8 glove_batch=500
  glove_lists=(--nlist 64 --train-n 10000)
  glove_kmeans=(--dataset "$glove" --queries "$glove_queries" --nlist 64 --train-n 10000)
  normal_kmeans=(--nb 16384 --train-n 16384 --nlist 128)
  nprobe_list=1,4,16 repeat=3 build_repeat=2
fi
# GloVe has 1,000 queries; larger batches are of rows of the base.
glove_test=$glove_queries
[ $quick = 1 ] || glove_test=$glove:test

# Name, minutes on a machine of two cores, what it measures. `measure_NAME` below does it (- becomes _).
steps() {
  cat <<'END'
seed-nq          8   normal vectors: QPS by nq, and the tables of nq = 512, 2048, 19600
seed-nq-avx2     6   the same with AVX2
seed-maxcodes   15   normal vectors: QPS and recall by max_codes
mnist            7   MNIST: nprobe 6 and 14, one query at a time and 10,000
mnist-avx2       7   the same with AVX2
mnist-nprobe     6   MNIST: recall against QPS
glove            5   GloVe, cosine: one query at a time and 10,000
glove-avx2       5   the same with AVX2
glove-nprobe     3   GloVe, cosine: recall against QPS
kmeans-mnist     2   k-means of MNIST, 60,000 x 784 into 1,024
kmeans-glove     2   k-means of GloVe, 340,479 x 100 into 1,024
kmeans-normal    4   k-means of normal vectors, 262,144 x 128 into 4,096
END
}

measure_seed_nq() {
  ivf sweep-nq "${seed[@]}" --nprobe "$seed_nprobe" --nq-list "$nq_list" --search-mode auto,matrix,csr
}
measure_seed_nq_avx2() {
  IVF_ISA=avx2 ivf sweep-nq "${seed[@]}" --nprobe "$seed_nprobe" --nq-list "$nq_list" --search-mode auto
}
measure_seed_maxcodes() {
  ivf sweep-maxcodes "${seed[@]}" --nprobe "$seed_nprobe" --nq "$codes_nq" --max-codes-list "$codes_list" --search-mode auto
}
measure_mnist() {
  local nprobe nq
  for nprobe in 6 14; do
    for nq in 1 "$mnist_batch"; do
      ivf bench --dataset "$mnist" "${mnist_lists[@]}" --topk 10 --nprobe "$nprobe" --nq "$nq" --search-mode auto --recall
    done
  done
}
measure_mnist_avx2() { IVF_ISA=avx2 measure_mnist; }
measure_mnist_nprobe() {
  ivf sweep-nprobe --dataset "$mnist" "${mnist_lists[@]}" --topk 10 --nprobe-list "$nprobe_list" --nq "$mnist_sweep"
}
measure_glove() {
  local common=(--dataset "$glove" --metric cosine "${glove_lists[@]}" --topk 10 --nprobe "$glove_nprobe" --search-mode auto --recall)
  ivf bench "${common[@]}" --queries "$glove_test" --nq 1
  ivf bench "${common[@]}" --queries "$glove_queries" --nq "$glove_batch"
}
measure_glove_avx2() { IVF_ISA=avx2 measure_glove; }
measure_glove_nprobe() {
  ivf sweep-nprobe --dataset "$glove" --queries "$glove_test" --metric cosine "${glove_lists[@]}" --topk 10 \
    --nprobe-list "$nprobe_list"
}
# What counts is the training; the search of a few queries comes with every record.
train_only=(--build-repeat "$build_repeat" --nq 1 --min-queries 1 --nprobe 1 --repeat 1 --warmup 0)
measure_kmeans_mnist() { ivf bench --dataset "$mnist" "${mnist_kmeans[@]}" "${train_only[@]}"; }
measure_kmeans_glove() { ivf bench --metric cosine "${glove_kmeans[@]}" "${train_only[@]}"; }
measure_kmeans_normal() { ivf bench "${normal_kmeans[@]}" "${train_only[@]}"; }

chosen() {  # NAME
  [ ${#only[@]} -gt 0 ] || return 0
  local prefix
  for prefix in "${only[@]}"; do
    [[ $1 != "$prefix"* ]] || return 0
  done
  return 1
}

for prefix in "${only[@]}"; do
  grep -q "^$prefix" < <(steps) || die "there is no step $prefix (see --list)" 2
done
if [ $list = 1 ]; then
  while read -r name minutes what; do
    ! chosen "$name" || printf '%-16s about %2s min   %s\n' "$name" "$minutes" "$what"
  done < <(steps)
  exit 0
fi

program=${IVF:-}
[[ $program != */* ]] || program=$(seen_from_here "$program")
if [ -z "$program" ]; then
  for candidate in build/apps/ivf "$(command -v ivf || true)"; do
    if [ -n "$candidate" ] && [ -x "$candidate" ]; then program=$candidate; break; fi
  done
fi
[ -n "$program" ] || die "no ivf found; build it (cmake --preset release && cmake --build build), or set IVF to its path"
version=$("$program" --version) || die "IVF=$program does not run"

# Records of two programs, or of two sizes, do not belong into one folder.
mkdir -p "$out"
state="$version$([ $quick = 0 ] || echo ', quick')"
if [ -e "$out/program.txt" ]; then
  [ "$(cat "$out/program.txt")" = "$state" ] ||
    die "$out was measured with $(cat "$out/program.txt"), and this is $state; choose another folder with --out" 2
elif [ -n "$(ls -A "$out")" ]; then
  die "$out holds other things; choose another folder with --out" 2
else
  echo "$state" >"$out/program.txt"
fi
exec 9>"$out/.lock"
flock -n 9 || die "another scripts/reproduce.sh is measuring into $out"
part=$out/.part.jsonl
rm -f "$part"
trap 'rm -f "$part"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

[ -e "$out/environment.json" ] || "$program" dump-env --out "$out/environment.json" -q
libraries=${IVF_LIBRARIES:-}
if [ -z "$libraries" ]; then
  libraries=ivf
  if grep -A1 '"faiss": {' "$out/environment.json" | grep -q '"available": true'; then
    libraries=ivf,faiss
  else
    say "this ivf was built without faiss: only ivf is measured"
  fi
fi

# Every measurement: what is common to all of them.
ivf() {
  local command=$1
  shift
  local options=("$command" "$@")
  [[ " $* " == *" --repeat "* ]] || options+=(--repeat "$repeat")
  printf '  $ %s%s\n' "${IVF_ISA:+IVF_ISA=$IVF_ISA }" "ivf ${options[*]} --library $libraries" >&2
  "$program" "${options[@]}" --library "$libraries" --out "$part" -q
}

fetch() {  # NAME FILE
  [ $quick = 1 ] || [ -e "$2" ] || IVF=$program ./datasets/fetch.sh "$1"
}

while read -r name minutes what <&3; do
  chosen "$name" || continue
  if [ -e "$out/$name.jsonl" ]; then
    say "$name: there already"
    continue
  fi
  if [[ $name == *-avx2 ]] && ! IVF_ISA=avx2 "$program" dump-env --json -q </dev/null | grep -q '"used":"avx2"'; then
    say "$name: left out, this machine has no AVX2"
    continue
  fi
  say "$name: $what (about $([ $quick = 0 ] && echo "$minutes min" || echo "$minutes s"))"
  case $name in
    *mnist*) fetch mnist-784 $mnist ;;
    *glove*) fetch glove-100 $glove ;;
  esac
  start=$SECONDS
  "measure_${name//-/_}" </dev/null
  mv -n "$part" "$out/$name.jsonl"
  say "$name: done in $((SECONDS - start)) s"
done 3< <(steps)

# What is derived from the records is made anew each time: tables, pictures, report.
records=("$out"/*.jsonl)
[ -e "${records[0]}" ] || die "no records in $out"
searches=() trainings=() sweeps=()
for file in "${records[@]}"; do
  case $file in
    */kmeans-*) trainings+=("$file") ;;
    */seed-* | *-nprobe.jsonl) searches+=("$file") sweeps+=("$file") ;;
    *) searches+=("$file") ;;
  esac
done
{
  [ ${#searches[@]} = 0 ] || ./scripts/plot.py table --what search "${searches[@]}"
  [ ${#trainings[@]} = 0 ] || { echo; ./scripts/plot.py table --what build "${trainings[@]}"; }
} >"$out/.tables.md"
mv "$out/.tables.md" "$out/tables.md"
status=0
if ./scripts/plot.py check >/dev/null; then
  [ ${#sweeps[@]} = 0 ] || ./scripts/plot.py draw "${sweeps[@]}" -o "$out/pictures" --force >/dev/null || status=$?
  ./scripts/plot.py report "${records[@]}" --env "$out/environment.json" -o "$out/report.html" --force || status=$?
else
  say "no pictures: run scripts/setup.sh plot, and this again"
fi
say "$out: records, tables.md$([ ! -e "$out/report.html" ] || echo ', pictures, report.html')"
exit $status
