#!/usr/bin/env bash
# Kills `ivf add` N times (kill -9) at random moments. After each, `ivf verify` must pass and the number of rows must be the
# old or the new one; results for what was there before must not change.
#
#     tests/cli/kill_add.sh PATH/TO/ivf [N=100] [SEED]
#
# Prints how many adds were killed and how many were done before, and how often the old state was found and the new one.
# When N is at least 20, some must have been killed and both states must occur.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
ivf=$(realpath "$1") kills=${2:-100} seed=${3:-$RANDOM}
RANDOM=$seed
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo "kill_add: $kills kills, seed $seed"

fail() { echo "kill_add: kill $kill after $delay ms: $*" >&2; exit 1; }
rows() { "$ivf" info a.ivf --json | sed 's/.*"nb":\([0-9]*\).*/\1/'; }

"$ivf" convert gaussian:n=40000,d=32 batch.fvecs -q
"$ivf" convert gaussian:n=20,d=32,seed=2 queries.fvecs -q
"$ivf" train batch.fvecs -o empty.ivf --nlist 64 --iterations 2 -q

# How long an add takes here sets how long to wait before the kill. The first run warms the caches.
cp empty.ivf a.ivf && "$ivf" add a.ivf batch.fvecs -q
cp empty.ivf a.ivf
start=$(date +%s%N)
"$ivf" add a.ivf batch.fvecs -q
span=$((($(date +%s%N) - start) / 1000000 + 1))
cp a.ivf one.ivf

killed=0 finished=0 old_states=0 new_states=0
for kill in $(seq "$kills"); do
  # The index grows with every add that survives; start again before it becomes the bulk of the work.
  [ $((kill % 10)) != 1 ] || cp one.ivf a.ivf
  before=$(rows)
  delay=$((RANDOM % (span + span / 2)))
  "$ivf" add a.ivf batch.fvecs -q 2>err.txt &
  child=$!
  sleep "$(printf '%d.%03d' $((delay / 1000)) $((delay % 1000)))"
  kill -9 $child 2>/dev/null || true
  code=0
  wait $child 2>/dev/null || code=$?
  # 128 and the number of SIGKILL. Any other way to end is a failure of the add, not a kill.
  case $code in
    0) finished=$((finished + 1)) ;;
    137) killed=$((killed + 1)) ;;
    *) fail "the add ended by itself with exit code $code: $(cat err.txt)" ;;
  esac
  message=$("$ivf" verify a.ivf 2>&1) || fail "$message"
  after=$(rows)
  [ $code != 0 ] || [ "$after" = $((before + 40000)) ] || fail "the add was done, and $before rows became $after"
  case $after in
    "$before") old_states=$((old_states + 1)) ;;
    $((before + 40000))) new_states=$((new_states + 1)) ;;
    *) fail "$before rows became $after" ;;
  esac
done
echo "kill_add: $killed adds killed, $finished done before the kill came; sound after each;" \
  "the old state $old_states times, the new one $new_states times"
if [ "$kills" -ge 20 ] && { [ $killed = 0 ] || [ $old_states = 0 ] || [ $new_states = 0 ]; }; then
  echo "kill_add: no add was killed, or one of the states never occurred: the kills do not hit the work" >&2
  exit 1
fi
# What is left behind by the last kill does not hinder the next add, and all rows are where they belong.
before=$(rows)
"$ivf" add a.ivf batch.fvecs -q
[ "$(rows)" = $((before + 40000)) ] || { echo "kill_add: the last add is not there" >&2; exit 1; }
"$ivf" verify a.ivf
"$ivf" search a.ivf queries.fvecs --nprobe 64 --verify -q
leftovers=$(find . -name '*.tmp*' -o -name '*.part*')
[ -z "$leftovers" ] || { echo "kill_add: left behind: $leftovers" >&2; exit 1; }
