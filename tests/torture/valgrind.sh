#!/usr/bin/env bash
# Runs the commands of the first steps, and refusals of damaged files, under valgrind: no invalid access, no use of
# uninitialised values. Memory that is still reachable at the end is not counted: the process ends.
#
#     tests/torture/valgrind.sh PATH/TO/ivf
set -euo pipefail
[ $# = 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
ivf=$(realpath "$1")
golden=$(realpath "$(dirname "$0")/../golden")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

count=0
# valgrind EXIT_CODE ARGUMENT...: what it knows nothing of (AMX, AVX-512) must not be used.
checked() {
  local expected=$1 code=0
  shift
  IVF_ISA=avx2 valgrind --quiet --error-exitcode=99 --trace-children=yes "$ivf" "$@" >out.txt 2>err.txt || code=$?
  if [ $code != "$expected" ]; then
    echo "valgrind: ivf $*: exit code $code, expected $expected" >&2
    cat err.txt >&2
    exit 1
  fi
  count=$((count + 1))
}

checked 0 --help
checked 0 convert gaussian:n=400,d=11 base.fvecs -q
checked 0 convert base.fvecs base.npy -q
checked 0 convert base.npy base.h5 -q
checked 0 convert base.npy base.h5:more --force -q
checked 0 train base.h5 -o a.ivf --nlist 7 --threads 2 -q
checked 0 add a.ivf base.fvecs --threads 2 -q
checked 0 train base.fvecs -o c.ivf --nlist 7 --metric cosine --compress -q
checked 0 add c.ivf base.npy -q
for index in a.ivf c.ivf; do
  checked 0 info $index
  checked 0 verify $index
  for mode in matrix csr; do checked 0 search $index base.fvecs -k 5 --nprobe 3 --search-mode $mode --threads 2 -o tsv:- -q; done
  checked 0 search $index base.h5:more --radius 3 --nprobe 7 -q
  checked 0 search $index base.fvecs -k 3 --exact --verify -q
done
checked 0 truth --base base.fvecs --queries base.npy -k 4 -o truth.h5 -q
# Damage that only a verification finds is an answer, not an error.
for bad in "$golden"/v1-bad-*.ivf; do checked "$([[ $bad == *plane* ]] && echo 4 || echo 3)" verify "$bad"; done
head -c 1000 base.h5 >cut.h5
checked 3 convert cut.h5 out.fvecs -q
echo "valgrind: $count commands without an invalid access or an uninitialised value"
