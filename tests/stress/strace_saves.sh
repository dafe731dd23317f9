#!/usr/bin/env bash
# strace_saves.sh TEST_STRESS WORK_DIR: every k-th system call of a save, from outside and as the kernel would: killed there, or
# failing with ENOSPC, EIO, EDQUOT or EINTR. After each a load must find the old or the new checkpoint whole, the new one when
# the save said so, and the checkpoint before must verify.
set -euo pipefail
program=$1 work=$2
if ! command -v strace >/dev/null; then
    echo "strace_saves: strace is not here (Debian: strace), nothing was injected"
    exit 0
fi
rm -rf "$work"
mkdir -p "$work/template"
one() { MOEGRAD_ONE=$1:$2 "${@:3}" "$program" --test-case='one save or load*' >/dev/null 2>&1; }
one start "$work/template"

injections=0 killed=0 failed=0 saved=0 bad=0
for call in openat write fallocate fsync rename mkdir close unlinkat flock access; do
    for fault in signal=SIGKILL error=ENOSPC error=EIO error=EDQUOT error=EINTR; do
        for ((k = 1; k < 200; ++k)); do
            rm -rf "$work/run" "$work/trace"
            cp -r "$work/template" "$work/run"
            code=0
            # The shell says of each killed process that it was killed.
            { one save "$work/run" strace -qq -f -o "$work/trace" -e trace=$call -e inject=$call:$fault:when=$k; } \
                2>/dev/null || code=$?
            # Killed by the injection, or the call says so; else there was no k-th call.
            if [ $code != 137 ] && ! grep -q INJECTED "$work/trace"; then break; fi
            injections=$((injections + 1))
            case $code in 0) saved=$((saved + 1)) ;; 137) killed=$((killed + 1)) ;; *) failed=$((failed + 1)) ;; esac
            found=0
            one load "$work/run" || found=$?
            if [ $found != 43 ] && { [ $found != 42 ] || [ $code = 0 ]; }; then
                bad=$((bad + 1))
                echo "strace_saves: $call $k $fault: exit $code, load $found"
            fi
        done
    done
done
echo "strace_saves: $injections injections, $killed killed, $failed ended in an error, $saved saved all the same, $bad torn, lost or wrong"
[ $bad = 0 ] && [ $injections -gt 200 ]
