#!/usr/bin/env bash
# estimate.sh MOEGRAD WORK_DIR [full|quick] [REPEATS]: what `estimate` says of five shapes against the peak of the run itself (VmHWM, which
# `train` prints last). Checkpoints with random weights are made here by one step of pretraining. Fails where an estimate is
# more than 5 % away, and where an estimate without one of its larger terms would pass too. full: about 5 minutes on 4 cores,
# 0.6 GB of disk, 2 GB of memory; quick: two small shapes, some seconds.
set -euo pipefail
moegrad=$1 work=$2 mode=${3:-full} repeats=${4:-2} limit=5.0
mkdir -p "$work"
[ -d "$work/world" ] || "$moegrad" world --out "$work/world" >/dev/null
sed -n 's/.*"prompt": *"\([^"]*\)".*"completion": *"\([^"]*\)".*/\1\2/p' "$work/world/train.jsonl" >"$work/text.txt"

shape() {  # NAME KEYS...: a checkpoint in WORK/NAME/model
    local name=$1
    shift
    [ -f "$work/$name/model/config.json" ] && return
    "$moegrad" pretrain --steps 1 --batch 1 --eval.documents 1 --out "$work/$name" "$@" >"$work/$name.log"
}
bytes_of() { sed -n "s/^$1 *\([0-9.]*\) MiB.*/\1/p"; }
bad=0
printf '%-26s %10s %10s %8s %8s   %s\n' run estimate measured off spread "checkpointed or smaller"
compare() {  # NAME SHAPE FLAGS...
    local name=$1 model=$work/$2/model
    shift 2
    local flags=(--model "$model" --threads 2 --steps 3 --eval.samples 2 --out "$work/run-$name" "$@")
    local text said least=1e18 most=0 got
    text=$("$moegrad" estimate "${flags[@]}")
    said=$(bytes_of 'peak about' <<<"$text")
    for _ in $(seq "$repeats"); do
        rm -rf "$work/run-$name"
        got=$("$moegrad" train "${flags[@]}" | bytes_of 'peak memory')
        least=$(awk -v a="$least" -v b="$got" 'BEGIN { print (a < b ? a : b) }')
        most=$(awk -v a="$most" -v b="$got" 'BEGIN { print (a > b ? a : b) }')
    done
    awk -v n="$name" -v e="$said" -v l="$least" -v m="$most" -v limit=$limit \
        -v o="$(sed -n 's/^  with \(.*[^ ]\)  *\([0-9.]* MiB\)/\1: \2;/p' <<<"$text" | tr -s ' \n' ' ')" 'BEGIN {
            off = 100 * (e - m) / m
            printf "%-26s %10.1f %10.1f %+7.2f%% %7.2f%%   %s\n", n, e, m, off, 100 * (m - l) / m, o
            exit !(off <= limit && off >= -limit) }' || bad=1
    must_matter "$name" "$said" "$most" <<<"$text"
}
# A term of more than 7 % of the peak cannot be forgotten without being seen.
must_matter() {  # NAME ESTIMATE MEASURED < table
    awk -v n="$1" -v e="$2" -v m="$3" -v limit=$limit '
        /^  [a-z ]+ +[0-9.]+ MiB/ && !/^  with/ {
            for (i = 1; i <= NF && $i + 0 == 0; ++i) ;
            off = 100 * (m - (e - $i)) / m
            if ($i > 0.07 * m) { ++seen; if (off <= limit) { print n ": without \"" $0 "\" the estimate would pass"; bad = 1 } }
        }
        END { exit bad || seen < 1 }' >&2 || bad=1
}
if [ "$mode" = quick ]; then
    shape dense-quick --model.family llama --model.hidden_size 384 --model.intermediate_size 1024 --model.layers 6 \
        --model.heads 6 --model.kv_heads 2
    shape mixture-quick --model.hidden_size 128 --model.intermediate_size 256 --model.layers 2 --model.heads 2 \
        --model.kv_heads 2 --model.experts 4
    compare dense-lora dense-quick --data "$work/world/train.jsonl" --data.max_length 64 --batch 8
    compare mixture-adamoe mixture-quick --method adamoe --router.mode full --data "$work/text.txt" \
        --data.max_length 256 --batch 8
else
    shape dense-large --model.family llama --model.hidden_size 1024 --model.intermediate_size 2816 --model.layers 14 \
        --model.heads 16 --model.kv_heads 4
    shape dense-small --model.family llama --model.hidden_size 384 --model.intermediate_size 1024 --model.layers 6 \
        --model.heads 6 --model.kv_heads 2
    shape mixture-large --model.hidden_size 512 --model.intermediate_size 1024 --model.layers 8 --model.heads 8 \
        --model.kv_heads 2 --model.experts 8
    shape mixture-small --model.hidden_size 256 --model.intermediate_size 512 --model.layers 4 --model.heads 4 \
        --model.kv_heads 2 --model.experts 8
    # Weights dominate.
    compare dense-lora dense-large --data "$work/world/train.jsonl" --data.max_length 64 --batch 8
    # One long sequence at a time.
    compare dense-long-recomputed dense-small --data "$work/text.txt" --data.max_length 4096 --batch 2 --train.micro_batch 1 \
        --train.checkpointing true
    # Activations dominate.
    compare dense-activations dense-small --data "$work/text.txt" --data.max_length 256 --batch 8
    compare mixture-lora mixture-large --data "$work/world/train.jsonl" --data.max_length 64 --batch 32 \
        --adapter.target attention,experts --adapter.r 16
    compare mixture-adamoe-full-gate mixture-small --method adamoe --router.mode full --data "$work/text.txt" \
        --data.max_length 256 --batch 8
    compare mixture-mor-recomputed mixture-large --method mor --data "$work/text.txt" --data.max_length 128 --batch 8 \
        --train.checkpointing true --adapter.lora_dropout 0.1
fi
[ $bad = 0 ] || { echo "estimate: more than $limit % away" >&2; exit 1; }
