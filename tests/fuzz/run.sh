#!/bin/sh
# run.sh [-s SECONDS | -r RUNS] [-w FOLDER] [TARGET..]
# Builds the fuzz targets with libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer (clang) and runs each from the
# seeds of the malformed corpus: 60 seconds a target unless told. Prints per target inputs, rate, corpus and findings; what
# was found lies in FOLDER/findings. FOLDER keeps programs and corpora for the next time (default build/fuzz).
set -eu
cd "$(dirname "$0")/../.."
limit=-max_total_time=60
work=build/fuzz
while getopts s:r:w: option; do
    case $option in
        s) limit=-max_total_time=$OPTARG ;;
        r) limit=-runs=$OPTARG ;;
        w) work=$OPTARG ;;
        *) echo "usage: $0 [-s SECONDS | -r RUNS] [-w FOLDER] [TARGET..]"; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- safetensors index config tokenizer encode jsonl tsv adapter checkpoint
command -v clang++ > /dev/null || { echo "run.sh: clang++ with libFuzzer is needed (Debian: clang)"; exit 1; }
mkdir -p "$work/findings" "$work/logs"
flags="-std=c++20 -ffp-contract=off -Iinclude -Itests"
libraries="-lfmt -pthread"
for pair in pcre2.h:PCRE2:pcre2-8 utf8proc.h:UTF8PROC:utf8proc; do
    header=${pair%%:*} rest=${pair#*:}
    [ -f "/usr/include/$header" ] || continue
    flags="$flags -DMOEGRAD_HAVE_${rest%%:*}=1"
    libraries="$libraries -l${rest#*:}"
done
clang++ $flags -O0 tests/fuzz/write_seeds.cpp $libraries -o "$work/write_seeds"
"$work/write_seeds" "$work/seeds" > /dev/null

build() {
    case $1 in
        safetensors) more="-DFUZZ_TARGETS=<fuzz/files_targets.hpp> -DFUZZ_SAFETENSORS" ;;
        index | config) more="-DFUZZ_TARGETS=<fuzz/files_targets.hpp>" ;;
        tokenizer | encode | jsonl | tsv) more="-DFUZZ_TARGETS=<fuzz/text_targets.hpp>" ;;
        *) more="-DFUZZ_TARGETS=<fuzz/run_targets.hpp>" ;;
    esac
    clang++ $flags -O2 -g1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all "-DFUZZ_TARGET=$1" $more \
        tests/fuzz/fuzz_main.cpp $libraries -o "$work/fuzz_$1"
}

status=0
printf '%-12s %12s %10s %8s %9s\n' target inputs 'per s' corpus findings
for target in "$@"; do
    build "$target"
    mkdir -p "$work/corpus/$target"
    case $target in
        tokenizer | adapter) longest=1024 ;;
        encode) longest=64 ;;
        *) longest=512 ;;
    esac
    ASAN_OPTIONS=malloc_context_size=2:quarantine_size_mb=16 "$work/fuzz_$target" "$work/corpus/$target" \
        "$work/seeds/$target" -dict=tests/fuzz/keys.dict -max_len=$longest -timeout=1 -rss_limit_mb=512 \
        -malloc_limit_mb=128 "$limit" -print_final_stats=1 -artifact_prefix="$work/findings/$target-" \
        > "$work/logs/$target" 2>&1 || status=1
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/logs/$target")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$work/logs/$target")
    found=$(find "$work/findings" -name "$target-*" | wc -l)
    printf '%-12s %12s %10s %8s %9s\n' "$target" "${inputs:-?}" "${rate:-?}" \
        "$(find "$work/corpus/$target" -type f | wc -l)" "$found"
done
exit $status
