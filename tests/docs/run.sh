#!/usr/bin/env bash
# run.sh SOURCE_DIR BUILD_DIR WORK_DIR COMPILER: what README.md and docs/*.md show is compiled and run, in a folder outside
# the repository.
#
#   ```cpp          a whole program: compiled against the headers, linked with the kernels of BUILD_DIR, run
#   ```sh           its lines, one after another in a folder of the page's own; each must succeed
#   ```text output  what the block before it printed; a line `...` stands for any lines
#   ```cmake, ```toml, ```json, ```text and plain blocks are shown, not run
#
# A line of ```sh that ends in `# not run here: REASON` is not run, and said so. Two replacements keep this test short:
# `./moegrad demo` gets --quick, and `./moegrad test` is not run inside itself.
set -euo pipefail
source_dir=$1 build=$2 work=$3 compiler=$4

say() { printf 'docs: %s\n' "$*"; }
fail() {
    printf 'docs: FAILED: %s\n' "$*" >&2
    exit 1
}

rm -rf "$work"
mkdir -p "$work/bin"
# ./moegrad of the pages: the command line that is built already.
cat >"$work/launcher" <<END
#!/usr/bin/env bash
verb=\${1:-}
case \$verb in
    test) echo "docs: ./moegrad test is not run inside itself"; exit 0 ;;
    demo) shift; echo "docs: ./moegrad demo gets --quick here"; set -- demo --quick "\$@" ;;
esac
exec "$build/apps/moegrad" "\$@"
END
chmod +x "$work/launcher"
export MOEGRAD=$source_dir CXX=$compiler

# Splits a page into files NNN.kind (kind: cpp, sh, output), each with the number of its first line in NNN.line.
blocks_of() {  # PAGE FOLDER
    awk -v folder="$2" '
        /^```/ && !inside {
            kind = substr($0, 4); inside = 1
            if (kind == "text output") kind = "output"
            if (kind !~ /^(cpp|sh|output)$/) kind = "none"
            if (kind != "none") { file = sprintf("%s/%03d.%s", folder, ++count, kind); printf "" > file
                                  print NR + 1 > sprintf("%s/%03d.line", folder, count) }
            next
        }
        /^```/ { inside = 0; if (kind != "none") close(file); next }
        inside && kind != "none" { print > file }
        END { if (inside) exit 1 }' "$1" || fail "$1: a block that does not end"
}

# Whether a file of output is what was promised; `...` stands for any lines.
same_output() {  # WANT GOT
    awk 'NR == FNR { want[++n] = $0; next } { got[++m] = $0 }
        END {
            for (i = 1; i <= m; ++i) sub(/[ \t]+$/, "", got[i])
            for (i = 1; i <= n; ++i) sub(/[ \t]+$/, "", want[i])
            exit !fits(1, 1)
        }
        function fits(i, j,   k) {
            if (i > n) return j > m
            if (want[i] == "...") { for (k = j; k <= m + 1; ++k) if (fits(i + 1, k)) return 1; return 0 }
            return j <= m && want[i] == got[j] && fits(i + 1, j + 1)
        }' "$1" "$2"
}

run_program() {  # SOURCE PLACE OUTPUT
    local program=${1%.cpp}.program
    "$compiler" -std=c++20 -O0 -I"$source_dir/include" "$1" -Wl,--whole-archive "$build/libmoegrad_cpu_kernels.a" \
        -Wl,--no-whole-archive -lfmt -pthread -o "$program" >"$3" 2>&1 || { cat "$3" >&2; fail "$2 does not compile"; }
    (cd "$(dirname "$1")/here" && "$program") >"$3" 2>&1 || { cat "$3" >&2; fail "$2 does not run"; }
}

# Every line echoes itself first, so that a failure names it; the lines share one shell.
run_commands() {  # FILE PLACE OUTPUT
    local script=${1%.sh}.script line until=""
    printf 'set -eo pipefail\n' >"$script"
    while IFS= read -r line; do
        if [ -n "$until" ]; then  # inside a here-document
            printf '%s\n' "$line" >>"$script"
            if [ "$line" = "$until" ]; then until=""; fi
            continue
        fi
        case $line in
            *"<<END"*) until=END ;;&
            *"# not run here: "*) say "$2: not run: ${line%%  *}: ${line##*# not run here: }" >&3 ;;
            "" | "#"*) ;;
            *) printf 'echo %q >&4\n%s\n' "+ $line" "$line" >>"$script" ;;
        esac
    done <"$1"
    (cd "$(dirname "$1")/here" && bash "$script") >"$3" 2>&1 4>"$script.log" || {
        cat "$3" >&2
        fail "$2: $(tail -n 1 "$script.log")"
    }
}

page() {  # PAGE
    local name folder block number place output="" start=$SECONDS
    name=$(basename "$1" .md)
    folder=$work/$name
    mkdir -p "$folder/here"
    ln -s "$work/launcher" "$folder/here/moegrad"
    ln -s "$source_dir/models" "$folder/here/models"
    mkdir "$folder/here/build"
    ln -s "$build" "$folder/here/build/release"
    blocks_of "$1" "$folder"
    find "$folder" -maxdepth 1 -name '[0-9]*' ! -name '*.line' | sort >"$folder/blocks"
    while IFS= read -r block <&5; do
        number=${block%.*}
        place="$(basename "$1"):$(cat "$number.line")"
        case $block in
            *.cpp) run_program "$block" "$place" "$number.got"; output=$number.got ;;
            *.sh) run_commands "$block" "$place" "$number.got" 3>&1; output=$number.got ;;
            *.output)
                [ -n "$output" ] || fail "$place: output of nothing"
                same_output "$block" "$output" || { diff "$block" "$output" >&2 || true; fail "$place: another output"; } ;;
        esac
    done 5<"$folder/blocks"
    say "$name: $(grep -c '\.cpp$' "$folder/blocks") programs, $(grep -c '\.sh$' "$folder/blocks") lists of commands, $((SECONDS - start)) s"
}

pages=("$source_dir/README.md" "$source_dir"/docs/*.md)
if [ $# -gt 4 ]; then pages=("${@:5}"); fi
for one in "${pages[@]}"; do page "$one"; done
