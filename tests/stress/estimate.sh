#!/usr/bin/env bash
# estimate.sh MOEGRAD WORK_DIR [REPEATS]: what `estimate` says of five shapes against the peak of the run itself (VmHWM, which
# `train` prints last). Checkpoints with random weights are made here by one step of pretraining. Fails where an estimate is
# more than 5 % away. About 5 minutes on 4 cores, 1.2 GB of disk, 4 GB of memory.
set -euo pipefail
moegrad=$1 work=$2 repeats=${3:-2} limit=5.0
mkdir -p "$work"
[ -d "$work/world" ] || "$moegrad" world --out "$work/world" >/dev/null
sed -n 's/.*"prompt": *"\([^"]*\)".*"completion": *"\([^"]*\)".*/\1\2/p' "$work/world/train.jsonl" >"$work/text.txt"

shape() {  # NAME KEYS...: a checkpoint in WORK/NAME/model
    local name=$1
    shift
    [ -f "$work/$name/model/config.json" ] && return
    "$moegrad" pretrain --steps 1 --batch 1 --eval.documents 1 --out "$work/$name" "$@" >"$work/$name.log"
}
shape dense-large --model.family llama --model.hidden_size 1024 --model.intermediate_size 2816 --model.layers 14 \
    --model.heads 16 --model.kv_heads 4
shape dense-small --model.family llama --model.hidden_size 384 --model.intermediate_size 1024 --model.layers 6 \
    --model.heads 6 --model.kv_heads 2
shape mixture-large --model.hidden_size 512 --model.intermediate_size 1024 --model.layers 8 --model.heads 8 \
    --model.kv_heads 2 --model.experts 8
shape mixture-small --model.hidden_size 256 --model.intermediate_size 512 --model.layers 4 --model.heads 4 \
    --model.kv_heads 2 --model.experts 8

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
        least=$(awk -v a="$least" -v b="$got" 'BEGIN { print a < b ? a : b }')
        most=$(awk -v a="$most" -v b="$got" 'BEGIN { print a > b ? a : b }')
    done
    awk -v n="$name" -v e="$said" -v l="$least" -v m="$most" -v limit=$limit \
        -v o="$(sed -n 's/^  with \(.*[^ ]\)  *\([0-9.]* MiB\)/\1: \2;/p' <<<"$text" | tr -s ' \n' ' ')" 'BEGIN {
            off = 100 * (e - m) / m
            printf "%-26s %10.1f %10.1f %+7.2f%% %7.2f%%   %s\n", n, e, m, off, 100 * (m - l) / m, o
            exit !(off <= limit && off >= -limit) }' || bad=1
}
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
[ $bad = 0 ] || { echo "estimate: more than $limit % away" >&2; exit 1; }
