#!/usr/bin/env bash
# include_time.sh SOURCE_DIR COMPILER LIMIT_MS: what `#include <moegrad/moegrad.hpp>` costs a file of the user's.
# Best of three, because the machine may be busy; at -O0, because that is what one waits for while writing.
set -euo pipefail
source_dir=$1 compiler=$2 limit=$3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '#include <moegrad/moegrad.hpp>\nint main() {}\n' >"$work/main.cpp"

best=""
for _ in 1 2 3; do
    begin=$(date +%s%N)
    "$compiler" -std=c++20 -O0 -I"$source_dir/include" -c "$work/main.cpp" -o "$work/main.o"
    took=$((($(date +%s%N) - begin) / 1000000))
    if [ -z "$best" ] || [ "$took" -lt "$best" ]; then best=$took; fi
done
echo "#include <moegrad/moegrad.hpp>: $best ms at -O0 (best of 3), limit $limit ms"
[ "$best" -lt "$limit" ]
