#!/usr/bin/env bash
# include_time.sh SOURCE_DIR COMPILER LIMIT_MS: what `#include <moegrad/moegrad.hpp>` costs a file of the user's, at
# -O0, because that is what one waits for while writing. Processor time, best of five, on the machine the limit was set
# on: there a file of standard headers alone takes 1,500 ms (idle). It is compiled in turns with ours, and its time here says how
# much slower this machine is at the moment; other work on it is not the header's fault.
set -euo pipefail
source_dir=$1 compiler=$2 limit=$3
yardstick=1500

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '#include <moegrad/moegrad.hpp>\nint main() {}\n' >"$work/ours.cpp"
printf '#include <%s>\n' algorithm map memory string thread vector mutex span cmath atomic condition_variable \
    complex concepts regex random >"$work/standard.cpp"

TIMEFORMAT='%3U %3S'
# took NAME: milliseconds of processor time.
took() {
    { time "$compiler" -std=c++20 -O0 -I"$source_dir/include" -c "$work/$1.cpp" -o "$work/$1.o"; } 2>&1 |
        awk '{ printf "%d", 1000 * ($1 + $2) }'
}
least() { [ -z "$1" ] || [ "$2" -lt "$1" ] && echo "$2" || echo "$1"; }

ours="" standard=""
for _ in 1 2 3 4 5; do
    ours=$(least "$ours" "$(took ours)")
    standard=$(least "$standard" "$(took standard)")
done
scaled=$ours
[ "$standard" -gt "$yardstick" ] && scaled=$((ours * yardstick / standard))
echo "#include <moegrad/moegrad.hpp>: $ours ms at -O0 (best of 5), $scaled ms where standard headers take $yardstick" \
    "(here $standard), limit $limit ms"
[ "$scaled" -lt "$limit" ]
