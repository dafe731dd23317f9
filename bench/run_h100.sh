#!/bin/sh
# What `moegrad bench` does not do, on a machine with a GPU: steps of a model on disk with equal weights on both sides, whose
# losses must agree, and their memory:
#   bench/run_h100.sh BUILD OUT [SECONDS] [PART ...]
# BUILD: a build with MOEGRAD_BENCH=ON and CUDA; OUT: where the logs go; SECONDS: time for all of it, default 560.
# PARTs, in this order by default: step settings (and compiled). Each has a log of its own and a limit; a part that
# fails or is cut off does not stop the next. PYTHON: one with torch, transformers 5, peft and accelerate. SCRATCH: a folder
# with room for 13 GB, best in memory.
set -u
if [ $# -lt 2 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
fi
build=$1 out=$2 total=${3:-560}
[ $# -gt 3 ] && { shift 3; parts=$*; } || parts="step settings"
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
began=$(date +%s)
mkdir -p "$out"

# cuBLASLt, where only PyTorch's own is on the machine.
blas=$($python -c 'import glob, os, torch
root = os.path.dirname(os.path.dirname(torch.__file__))
print(":".join(sorted({os.path.dirname(f) for f in glob.glob(root + "/nvidia/*/lib/libcublas*.so*")})))' 2>/dev/null)
LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$blas
export LD_LIBRARY_PATH

left() { echo $((total - ($(date +%s) - began))); }

# timed NAME SECONDS COMMAND...: into OUT/NAME.log
timed() {
    name=$1 limit=$2
    shift 2
    [ "$(left)" -lt "$limit" ] && limit=$(left)
    if [ "$limit" -lt 10 ]; then
        echo "$name: no time left"
        return 1
    fi
    start=$(date +%s)
    timeout "$limit" "$@" >"$out/$name.log" 2>&1
    code=$?
    echo "$name: exit $code after $(($(date +%s) - start)) s"
    grep -v "^{" "$out/$name.log" | grep -E "over theirs|difference|tokens/s| ms " | tail -50
    return $code
}

# The model of the step: made once.
make_step() {
    [ -f "$scratch/step/tokens.safetensors" ] && return 0
    timed step_make 180 $python "$here/peers/moe_step.py" make "$scratch/step" $step
}

scratch=${SCRATCH:-$(mktemp -d)}
step="--shape mixtral4 --device cuda --dtype bfloat16 --rate 2e-4"
trap '[ -n "${SCRATCH:-}" ] || rm -rf "$scratch"' EXIT
nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm --format=csv >"$out/machine.log" 2>&1
$python -c 'import torch, transformers, peft
print("torch", torch.__version__, "transformers", transformers.__version__, "peft", peft.__version__)' >>"$out/machine.log" 2>&1

for part in $parts; do
    case $part in
    step)
        make_step && timed step 240 $python "$here/peers/moe_step.py" compare "$scratch/step" $step \
            --ours "$build/bench/step_bench" --turn 4 --warm 5 --repeats 24 --tolerance 0.02 --verbose
        ;;
    compiled) # the same against torch.compile
        make_step && timed step_compiled 300 $python "$here/peers/moe_step.py" compare "$scratch/step" $step \
            --ours "$build/bench/step_bench" --turn 4 --warm 5 --repeats 24 --compile --verbose
        ;;
    settings)
        make_step && timed settings 300 $python "$here/peers/moe_step.py" settings "$scratch/step" $step \
            --turn 4 --warm 2 --repeats 6
        ;;
    *) echo "no such part: $part" ;;
    esac
done
echo "$(left) s left of $total"
