#!/usr/bin/env bash
# Runs the commands of the first steps, those that rewrite indexes, and refusals of damaged files, under valgrind: no invalid
# access, no use of uninitialised values, in the program and in the processes that it starts. Memory that is still reachable
# at the end is not counted: the process ends.
#
#     tests/torture/valgrind.sh PATH/TO/ivf
set -euo pipefail
[ $# = 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
ivf=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
golden=$here/../golden
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

count=0 processes=0
# checked EXIT_CODE ARGUMENT...: what valgrind knows nothing of (AMX, AVX-512) must not be used. Each process has a report of
# its own, which is empty when there is nothing to report: one that its parent ends has no exit code to look at.
checked() {
  local expected=$1 code=0
  shift
  rm -f report.*
  IVF_ISA=avx2 valgrind --quiet --trace-children=yes --log-file=report.%p "$ivf" "$@" >out.txt 2>err.txt || code=$?
  if [ $code != "$expected" ]; then
    echo "valgrind: ivf $*: exit code $code, expected $expected" >&2
    cat err.txt report.* >&2
    exit 1
  fi
  cat report.* >reports.txt
  if [ -s reports.txt ]; then
    echo "valgrind: ivf $*:" >&2
    cat reports.txt >&2
    exit 1
  fi
  processes=$((processes + $(find . -name 'report.*' | wc -l)))
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
checked 0 search a.ivf base.fvecs -k 4 -o found.h5 -q
checked 0 eval found.h5 --truth truth.h5
for index in a.ivf c.ivf; do
  cp $index holes.ivf
  checked 0 remove holes.ivf --ids 3,100-199 -q
  checked 0 search holes.ivf base.fvecs -k 5 --nprobe 3 --filter 0-250 --threads 2 -q
  checked 0 compact holes.ivf --sort --threads 2 -q
  checked 0 split $index --shards 2 --out shard-$index --threads 2 -q
  checked 0 merge whole-$index shard-$index-0.ivf shard-$index-1.ivf --ids unique --threads 2 -q
  checked 0 reconstruct $index --ids 0-99 -o rows.h5 --force -q
done
checked 0 merge whole-c.ivf whole-c.ivf holes.ivf --ids shift --retrain --force --threads 2 -q
for shard in 0 1; do checked 0 search shard-c.ivf-$shard.ivf base.fvecs -k 5 -o found-$shard.tsv -q; done
checked 0 merge-results found-0.tsv found-1.tsv --metric cosine -k 5 -o found.tsv -q
checked 0 export whole-a.ivf --faiss a.faiss -q
checked 0 export whole-a.ivf --npy parts -q
checked 0 export whole-a.ivf --hdf5 parts.h5 -q
checked 0 import --faiss a.faiss imported.ivf -q
checked 0 verify imported.ivf
# Damage that only a verification finds is an answer, not an error.
for bad in "$golden"/v1-bad-*.ivf; do checked "$([[ $bad == *plane* ]] && echo 4 || echo 3)" verify "$bad"; done
head -c 1000 base.h5 >cut.h5
checked 3 convert cut.h5 out.fvecs -q
[ $processes -gt $count ] || { echo "valgrind: no process but the program's own was looked at" >&2; exit 1; }
echo "valgrind: $count commands in $processes processes without an invalid access or an uninitialised value"
