#!/usr/bin/env bash
# run.sh SOURCE_DIR WORK_DIR COMPILER GENERATOR: builds and runs an outside program in each way moegrad can be used.
#
#   package     find_package on an installed copy that was moved after the install; all kernels, linked, run
#   router      moegrad_add_router on that package: the command line with a router of the outside project, its conformance suite
#   twice       the same, plus <moegrad/cpu/all.hpp> in the user's own file: the linker must refuse
#   plain       no CMake: one compiler line with <moegrad/cpu/all.hpp>; compiled, linked, run
#   subdirectory, fetch_content   configured; the program's object and one kernel compiled, its link line read
set -euo pipefail
source_dir=$1 work=$2 compiler=$3 generator=$4
here=$source_dir/tests/consumer

say() { printf '%s\n' "consumer: $*"; }
fail() {
    printf '%s\n' "consumer: FAILED: $*" >&2
    exit 1
}
# Runs a step quietly; its output matters only when it fails.
quiet() {
    local log="$work/step.log"
    "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        fail "$*"
    }
}
configure() {  # FOLDER NAME [options]
    local folder=$1 name=$2
    shift 2
    quiet cmake -G "$generator" -S "$here/$folder" -B "$work/$name" -DCMAKE_CXX_COMPILER="$compiler" \
        -DCMAKE_BUILD_TYPE=Debug -DMOEGRAD_CUDA=OFF "$@"
}
build() { quiet cmake --build "$work/$1" -j 2 --target "${@:2}"; }

rm -rf "$work"
mkdir -p "$work"

package() {
    quiet cmake -G "$generator" -S "$source_dir" -B "$work/moegrad" -DCMAKE_CXX_COMPILER="$compiler" \
        -DMOEGRAD_APPS=OFF -DMOEGRAD_TESTS=OFF -DMOEGRAD_CUDA=OFF
    quiet cmake --install "$work/moegrad" --prefix "$work/first place"
    mv "$work/first place" "$work/installed here"
    local others
    others=$(find "$work/installed here" -type f ! -name '*.hpp' ! -name '*.cuh' ! -name '*.cmake' ! -name LICENSE \
        ! -path '*/share/moegrad/*')
    [ -z "$others" ] || fail "the install ships more than headers and share/moegrad: $others"
    ! grep -rlF "$source_dir" "$work/installed here" || fail "the install names the tree that it came from"

    # One object for all kernels: Eigen is read once.
    configure find_package package -DCMAKE_PREFIX_PATH="$work/installed here" -DCMAKE_UNITY_BUILD=ON \
        -DCMAKE_UNITY_BUILD_BATCH_SIZE=0
    build package consumer through
    "$work/package/consumer"
    "$work/package/through"
    say "package: ok"
}

router() {
    build package moegrad outside_conformance outside_test
    quiet "$work/package/outside_conformance"
    quiet "$work/package/outside_test"
    local said
    said=$("$work/package/moegrad" train --model none --method outsid 2>&1) && fail "a method that is not there"
    grep -q 'mor, .*outside, second' <<<"$said" || fail "the routers are not in the command line: $said"
    grep -q 'did you mean `outside`' <<<"$said" || fail "no suggestion: $said"
    say "router: ok"
}

twice() {
    if cmake --build "$work/package" --target twice >"$work/twice.log" 2>&1; then
        fail "a program with two copies of the kernels was linked"
    fi
    grep -q 'moegrad_cpu_kernels_linked_twice' "$work/twice.log" || {
        cat "$work/twice.log" >&2
        fail "two copies of the kernels failed for another reason"
    }
    say "twice: refused, as it must be"
}

plain() {
    local eigen=/usr/include/eigen3
    [ -d "$eigen" ] || eigen=$(sed -n 's/^Eigen3_DIR:PATH=\(.*\)\/share\/eigen3\/cmake$/\1\/include\/eigen3/p' \
        "$work/package/CMakeCache.txt")
    quiet "$compiler" -std=c++20 -O0 -I"$source_dir/include" -isystem "$eigen" \
        "$here/main.cpp" "$here/all_kernels.cpp" -lfmt -pthread -o "$work/plain"
    "$work/plain"
    say "plain: ok"
}

# As the package, but from the source tree: what differs is how CMake gets there, so one kernel is enough.
from_source() {  # FOLDER
    configure "$1" "$1" -DMOEGRAD_SOURCE="$source_dir" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
    local kernel
    kernel=$(find "$work/$1" -path '*moegrad-kernels/cpu/*.cpp' ! -name linked_once.cpp | sort | sed -n 1p)
    local source
    for source in "$here/main.cpp" ${kernel:+"$kernel"}; do
        quiet compile_one "$work/$1/compile_commands.json" "$source"
    done
    ! grep -q 'Werror\|doctest_main' "$work/$1/compile_commands.json" || fail "$1: our own flags or tests leak out"
    grep -rq -- '--whole-archive.*moegrad_cpu_kernels' "$work/$1" --include=build.ninja --include=link.txt ||
        fail "$1: kernels are not linked whole"
    say "$1: ok"
}
# Runs the line that compiles FILE, from a compile_commands.json in the layout that CMake writes: directory, command,
# file, each on a line of its own.
compile_one() {
    local entry folder command
    entry=$(grep -F -B 2 "\"file\": \"$(readlink -f "$2")\"" "$1") || {
        echo "no compile command for $2"
        return 1
    }
    folder=$(sed -n 's/^ *"directory": "\(.*\)",$/\1/p' <<<"$entry")
    command=$(sed -n 's/^ *"command": "\(.*\)",$/\1/p' <<<"$entry" | sed 's/\\"/"/g; s/\\\\/\\/g')
    (cd "$folder" && eval "$command")
}

package
router
plain
twice
from_source add_subdirectory
from_source fetch_content
