#!/usr/bin/env bash
# include_time.sh SOURCE_DIR COMPILER LIMIT_MS: what `#include <moegrad/moegrad.hpp>` costs a file of the user's, at
# -O0, because that is what one waits for while writing. Processor time, best of three: other work on the machine is
# not the header's fault.
set -euo pipefail
source_dir=$1 compiler=$2 limit=$3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '#include <moegrad/moegrad.hpp>\nint main() {}\n' >"$work/main.cpp"
compile() { "$compiler" -std=c++20 -O0 -I"$source_dir/include" -c "$work/main.cpp" -o "$work/main.o"; }

compile
TIMEFORMAT='%3U %3S'
best=""
for _ in 1 2 3; do
    took=$({ time compile; } 2>&1 | awk '{ printf "%d", 1000 * ($1 + $2) }')
    if [ -z "$best" ] || [ "$took" -lt "$best" ]; then best=$took; fi
done
echo "#include <moegrad/moegrad.hpp>: $best ms at -O0 (best of 3), limit $limit ms"
[ "$best" -lt "$limit" ]
