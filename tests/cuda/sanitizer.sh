#!/usr/bin/env bash
# sanitizer.sh [TEST_OPS] [SECONDS] [DOCTEST ARGUMENTS ...]: the four tools of compute-sanitizer over the tests of the ops on a GPU, each
# for at most SECONDS (900). TEST_OPS: build/cuda/tests/test_ops (`./moegrad test --cuda` builds it). Fails on any report, on a test that
# fails and on a tool that does not come to its end; logs go to sanitizer/ in the current folder.
#   -tc='attention*' as a further argument runs a part; TOOLS="racecheck" runs one tool; COMPUTE_SANITIZER names the program.
# Sizes: MOEGRAD_TEST_ROWS caps the larger row counts of check_op at 64; cases that are written by hand keep theirs.
# initcheck: step memory is filled with 0xFF before each use, which counts as initialised: there it finds nothing, and a NaN in a result
# does (check_op). It watches what is allocated by itself: weights, moments, workspaces.
set -uo pipefail
program=${1:-build/cuda/tests/test_ops} seconds=${2:-900}
shift $(($# < 2 ? $# : 2))
sanitizer=${COMPUTE_SANITIZER:-$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)}
[ -x "$program" ] || { echo "no program $program: ./moegrad test --cuda builds it" >&2; exit 2; }
[ -x "$sanitizer" ] || { echo "no compute-sanitizer in PATH, /usr/local/cuda/bin or COMPUTE_SANITIZER" >&2; exit 2; }
export MOEGRAD_TEST_ROWS=${MOEGRAD_TEST_ROWS:-64} CUDA_MODULE_LOADING=EAGER
logs=sanitizer
mkdir -p "$logs"

options() {  # TOOL
    case $1 in
        memcheck) echo --leak-check no ;;
        racecheck) echo --racecheck-report all ;;
    esac
}
# What the tool printed last: "ERROR SUMMARY: 0 errors", "RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)".
summary() { grep -Eo '(ERROR|RACECHECK) SUMMARY: .*' "$1" | tail -1; }

bad=0
printf '%-10s %8s  %-60s %s\n' tool seconds reports tests
for tool in ${TOOLS:-memcheck racecheck initcheck synccheck}; do
    begin=$SECONDS status=0
    # shellcheck disable=SC2046  # words
    timeout "$seconds" "$sanitizer" --tool "$tool" $(options "$tool") --print-limit 50 --log-file "$logs/$tool.log" \
        "$program" "$@" >"$logs/$tool.out" 2>&1 || status=$?
    said=$(summary "$logs/$tool.log")
    tests=$(grep -Eo 'test cases: .*' "$logs/$tool.out" | tail -1)
    [ "$status" = 124 ] && said="no end in $seconds seconds"
    printf '%-10s %8d  %-60s %s\n' "$tool" $((SECONDS - begin)) "${said:-no summary}" "${tests:-tests did not end}"
    if [ "$status" != 0 ] || ! grep -Eq 'SUMMARY: 0 (errors|hazards)' <<<"$said"; then
        bad=1
        grep -E '^=========' "$logs/$tool.log" | head -40
        grep -E 'ERROR:|FATAL' "$logs/$tool.out" | head -10
    fi
done
exit "$bad"
