#!/usr/bin/env bash
# sanitizer.sh [TEST_OPS] [SECONDS] [DOCTEST ARGUMENTS ...]: the four tools of compute-sanitizer over the tests of the ops on a GPU, all
# within SECONDS (900). TEST_OPS: build/cuda/tests/test_ops (`./moegrad test --cuda` builds it). Fails on any report, on a test that
# fails and on a part that does not come to its end; logs go to sanitizer/ in the current folder.
#   The cases are cut into PARTS ranges (40), of which JOBS run at once (the processors, at most 16), the slowest tool first. Nothing else
#   should use the GPU: beside a training two of the tools took nine minutes and the other two did not end.
#   -tc='attention*' as a further argument runs some cases; TOOLS="racecheck" runs one tool, KERNELS=rank_gradient lets racecheck watch
#   kernels of that name alone; COMPUTE_SANITIZER names the program.
# Sizes: MOEGRAD_TEST_ROWS caps the larger row counts of check_op at 64; cases that are written by hand keep theirs, or ask
# rows_are_limited().
# Kernels are loaded when they are first needed: loaded all at once, those of cuBLASLt that nobody asks for take racecheck minutes.
# racecheck looks at our kernels alone: inside cuBLASLt's nvjet_sm90_tss_8x64_64x16_4x1_v_bz_splitK_TNN it sees hazards. Where it breaks
# down itself ("Internal Sanitizer Error": some kernels of cuBLASLt fail to launch beside instrumented ones), the part runs once
# more with all kernels watched.
# initcheck: step memory is filled with 0xFF before each use, which counts as initialised: there it finds nothing, and a NaN in a result
# does (check_op). It watches what is allocated by itself: weights, moments, workspaces.
set -uo pipefail
program=${1:-build/cuda/tests/test_ops} seconds=${2:-900}
shift $(($# < 2 ? $# : 2))
sanitizer=${COMPUTE_SANITIZER:-$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)}
[ -x "$program" ] || { echo "no program $program: ./moegrad test --cuda builds it" >&2; exit 2; }
[ -x "$sanitizer" ] || { echo "no compute-sanitizer in PATH, /usr/local/cuda/bin or COMPUTE_SANITIZER" >&2; exit 2; }
export MOEGRAD_TEST_ROWS=${MOEGRAD_TEST_ROWS:-64} CUDA_MODULE_LOADING=${CUDA_MODULE_LOADING:-LAZY}
logs=sanitizer kernels=${KERNELS:-moegrad} tools=${TOOLS:-racecheck memcheck initcheck synccheck} parts=${PARTS:-40}
processors=$(nproc)
jobs=${JOBS:-$((processors < 16 ? processors : 16))}
rm -rf "$logs"
mkdir -p "$logs"
cases=$("$program" --count "$@" | grep -Eo '[0-9]+$' | tail -1)
[ "${cases:-0}" -gt 0 ] || { echo "no case of $program fits: $*" >&2; exit 2; }
[ "$parts" -le "$cases" ] || parts=$cases
deadline=$((SECONDS + seconds))

options() {  # TOOL
    case $1 in
        memcheck) echo --leak-check no ;;
        racecheck) echo --racecheck-report all ;;
    esac
}

# watch TOOL NAME BEGIN END [MORE OPTIONS OF THE TOOL ...] -- [DOCTEST ARGUMENTS ...]: one run within what is left of the time.
watch() {
    local tool=$1 name=$2 begin=$3 end=$4 left=$((deadline - SECONDS)) more=()
    shift 4
    while [ "$1" != -- ]; do more+=("$1") && shift; done
    shift
    [ "$left" -gt 0 ] || return 124
    # shellcheck disable=SC2046  # words
    timeout "$left" "$sanitizer" --tool "$tool" $(options "$tool") "${more[@]}" --print-limit 50 --log-file "$name.log" \
        "$program" --first="$begin" --last="$end" "$@" >"$name.out" 2>&1
}

# part TOOL NUMBER [DOCTEST ARGUMENTS ...]: one range of cases; a line into NAME.state: passed, or why not.
part() {
    local tool=$1 number=$2 begin end status=0 name
    shift 2
    begin=$((cases * number / parts + 1)) end=$((cases * (number + 1) / parts)) name=$logs/$tool.$number
    [ "$SECONDS" -lt "$deadline" ] || { echo "not begun: no time left" >"$name.state"; return; }
    if [ "$tool" = racecheck ]; then
        watch "$tool" "$name" "$begin" "$end" --kernel-name "kns=$kernels" -- "$@" || status=$?
        if grep -q 'Internal Sanitizer Error' "$name.log"; then
            status=0
            watch "$tool" "$name" "$begin" "$end" -- "$@" || status=$?
        fi
    else
        watch "$tool" "$name" "$begin" "$end" -- "$@" || status=$?
    fi
    if [ "$status" = 124 ]; then
        echo "no end in $seconds seconds" >"$name.state"
    elif grep -q 'terminated before first instrumented' "$name.log" && [ "$(grep -c 'Status: SUCCESS' "$name.out")" = 1 ]; then
        echo passed >"$name.state"  # none of these cases uses the GPU
    elif [ "$status" != 0 ] || ! grep -Eq 'SUMMARY: 0 (errors|hazards)' "$name.log"; then
        grep -E '^=========|ERROR:|FATAL' "$name.log" "$name.out" | head -20 >"$name.state"
    else
        echo passed >"$name.state"
    fi
}

begin=$SECONDS
for tool in $tools; do
    for ((number = 0; number < parts; ++number)); do
        while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
        part "$tool" "$number" "$@" &
    done
done
wait

bad=0
printf '%s cases in %s parts, %s at once, %s s\n' "$cases" "$parts" "$jobs" $((SECONDS - begin))
for tool in $tools; do
    clean=$(grep -lx passed "$logs/$tool".*.state | wc -l)
    printf '%-10s %s of %s parts without a report\n' "$tool" "$clean" "$parts"
    [ "$clean" = "$parts" ] && continue
    bad=1
    grep -Hvx passed "$logs/$tool".*.state | head -40
done
exit "$bad"
