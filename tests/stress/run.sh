#!/usr/bin/env bash
# run.sh BUILD_DIR [WORK_DIR]: the long versions of the campaigns on checkpoints, one printed line each. About 10 minutes on
# 4 cores. The suite runs their short versions.
set -euo pipefail
build=$1 work=${2:-$(mktemp -d)} here=$(cd "$(dirname "$0")" && pwd)
program=$build/tests/test_stress
[ -x "$program" ] || { echo "run.sh: no $program; build it first" >&2; exit 1; }
cd "$here/../.."
export MOEGRAD_KILLS=200 MOEGRAD_FLIPS=10000 MOEGRAD_SAVE_MB=256
"$program" | grep -E '^(kill_resume|step|state.json|/|save_|flipped|power|\[doctest\] [ta])'
"$here/strace_saves.sh" "$program" "$work/strace"
