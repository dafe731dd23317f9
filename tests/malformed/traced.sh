#!/bin/sh
# traced.sh TEST_PROGRAM..   e.g. build/release/tests/test_malformed build/release/tests/test_train
# Runs the malformed corpus under strace. Between the marks of a case (check.hpp) every path that is opened, made, moved or
# removed must be inside the case's own folder, and nothing may be opened for writing.
set -eu
if ! command -v strace > /dev/null; then
    echo "traced.sh: strace is not here (Debian: strace), nothing was traced"
    exit 0
fi
if ! strace -o /dev/null true 2> /dev/null; then
    echo "traced.sh: strace may not trace here, nothing was traced"
    exit 0
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
for program in "$@"; do
    strace -f -qq -s 4096 -o "$log" \
        -e trace=open,openat,openat2,creat,access,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,truncate,link,linkat,symlink,symlinkat,chmod,fchmodat \
        "$program" -tc='malformed: safetensors,malformed: index,malformed: config.json,malformed: tokenizer.json,malformed: encoding,malformed: training data,malformed: adapters,malformed: checkpoints' \
        > /dev/null || { echo "traced.sh: $program failed"; status=1; }
    awk -v program="$program" '
        match($0, /"\/moegrad-case\/(begin|end)\/[^"]*"/) {
            mark = substr($0, RSTART + 15, RLENGTH - 16)
            inside = mark ~ /^begin/
            sub(/^(begin|end)/, "", mark)
            folder = mark
            cases += inside
            next
        }
        inside && /^[0-9]+ +[a-z0-9]+\(/ {
            rest = $0
            while (match(rest, /"[^"]*"/)) {
                path = substr(rest, RSTART + 1, RLENGTH - 2)
                rest = substr(rest, RSTART + RLENGTH)
                ++paths
                if (index(path, folder "/") != 1 && path != folder) { print "outside: " $0; ++bad }
            }
            if ($0 ~ /O_WRONLY|O_RDWR|O_CREAT|creat\(|rename|unlink|mkdir|rmdir|truncate|link\(|linkat|chmod/) { print "written: " $0; ++bad }
        }
        END {
            printf "%s: %d loads traced, %d paths, %d outside the folder or written\n", program, cases, paths, bad
            if (bad > 0 || cases == 0) exit 1
        }' "$log" || status=1
done
exit $status
