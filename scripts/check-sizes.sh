#!/usr/bin/env bash
# Keeps files and functions small enough to be read whole: .c at most 700 lines, .h 300, main.c 120,
# functions 90 (the conventions ask for 600 and 70). A test program is a list of short cases and may
# have 1,200 lines, its support 400. Tables, outside a function or inside, do not
# count as part of one.
# Usage: check-sizes.sh [--self-test | FOLDER]
#   --self-test  plants each violation in a folder of its own and fails unless it is found
set -euo pipefail

source_lines_max=700
header_lines_max=300
main_lines_max=120
function_lines_max=90
test_source_lines_max=1200
test_header_lines_max=400

# Function extents rest on the layout that clang-format enforces: a definition starts in the first
# column and its body ends with "}" there. What begins with "= {" and ends with "};" in the same
# column is a table; inside a function its lines are subtracted.
check_functions() {
    awk -v limit="$function_lines_max" '
        FNR == 1 { start = 0; table = 0; head = 0; inner = 0 }
        start && !table && !inner && FNR > start && /^[[:space:]].*=[[:space:]]*\{[[:space:]]*$/ {
            match($0, /^[[:space:]]*/)
            indent = substr($0, 1, RLENGTH)
            inner = FNR
        }
        inner && FNR > inner && index($0, indent "}") == 1 {
            tables += FNR - inner + 1
            inner = 0
        }
        !start && /^[A-Za-z_].*\{[[:space:]]*$/ {
            start = head ? head : FNR
            table = /=[[:space:]]*\{[[:space:]]*$/ || /^(struct|union|enum)[^()]*\{[[:space:]]*$/
        }
        !start && /^[A-Za-z_][^;{}]*$/ && !/^#/ && !head { head = FNR }
        !start && /^[[:space:]].*\{[[:space:]]*$/ && head {
            start = head
            table = /=[[:space:]]*\{[[:space:]]*$/
        }
        !start && (/;[[:space:]]*$/ || /^[[:space:]]*$/ || /^#/) { head = 0 }
        start && /^\}/ {
            lines = FNR - start + 1 - tables
            if (!table && lines > limit) {
                printf "%s:%d: a function of %d lines, at most %d\n", FILENAME, start, lines, limit
                bad = 1
            }
            start = 0
            head = 0
            inner = 0
            tables = 0
        }
        END { exit bad }
    ' "$@"
}

# check FOLDER: prints each violation; status 1 when there is one.
check() {
    local root=$1 file lines limit bad=0
    local -a files
    mapfile -t files < <(find "$root" \( -name build -o -name 'build-*' -o -name .git \) -prune -o \
        -type f \( -name '*.c' -o -name '*.h' \) -print | sort)
    for file in "${files[@]}"; do
        case $file in
        */services/*/main.c) limit=$main_lines_max ;;
        */tests/*.h) limit=$test_header_lines_max ;;
        */tests/*.c) limit=$test_source_lines_max ;;
        *.h) limit=$header_lines_max ;;
        *) limit=$source_lines_max ;;
        esac
        lines=$(wc -l <"$file")
        if [ "$lines" -gt "$limit" ]; then
            echo "${file#"$root"/}: $lines lines, at most $limit"
            bad=1
        fi
    done
    if [ ${#files[@]} -eq 0 ]; then
        echo "no source files below $root" >&2
        return 1
    fi
    (cd "$root" && check_functions "${files[@]#"$root"/}") || bad=1
    return $bad
}

# repeat COUNT LINE
repeat() {
    local i
    for ((i = 0; i < $1; i++)); do
        printf '%s\n' "$2"
    done
}

# function_of LINES HEAD: a function whose extent, head included, is LINES (3 for a split head).
function_of() {
    local head=$2
    printf '%b\n' "$head"
    repeat $(($1 - 1 - $(printf '%b\n' "$head" | wc -l))) '    x();'
    echo '}'
}

# expect FOUND FILE: the check must fail and name FOUND, or pass when FOUND is "nothing".
expect() {
    local found=$1 root=$2 file=$3 output status=0
    output=$(check "$root") || status=$?
    if [ "$found" = nothing ] && [ $status -ne 0 ]; then
        echo "refused although within the limits: $output" >&2
        return 1
    fi
    if [ "$found" != nothing ] && { [ $status -eq 0 ] || [[ $output != *"$found"* ]]; }; then
        echo "not found: $found in $file" >&2
        return 1
    fi
    rm "$root/$file"
}

self_test() {
    local root
    root=$(mktemp -d)
    planted=$root
    trap 'rm -rf "$planted"' EXIT
    mkdir -p "$root"/{common,services/auth}
    echo 'int x;' >"$root/common/good.c"

    repeat 700 'int x;' >"$root/common/a.c" && expect nothing "$root" common/a.c
    repeat 701 'int x;' >"$root/common/a.c" && expect 'common/a.c: 701 lines' "$root" common/a.c
    repeat 300 'int x;' >"$root/common/a.h" && expect nothing "$root" common/a.h
    repeat 301 'int x;' >"$root/common/a.h" && expect 'common/a.h: 301 lines' "$root" common/a.h
    repeat 120 'int x;' >"$root/services/auth/main.c" && expect nothing "$root" services/auth/main.c
    repeat 121 'int x;' >"$root/services/auth/main.c" &&
        expect 'main.c: 121 lines' "$root" services/auth/main.c

    local head
    for head in 'static void f(void) {' 'enum err f(int a,\n           int b) {' \
        'static const struct thing *\nf(int a) {' 'struct thing f(void) {'; do
        { echo 'int g(int a);' && echo && function_of 90 "$head"; } >"$root/common/a.c"
        expect nothing "$root" common/a.c
        { echo 'int g(int a);' && echo && function_of 91 "$head"; } >"$root/common/a.c"
        expect 'a.c:3: a function of 91 lines' "$root" common/a.c
    done
    { function_of 50 'void f(void) {' && echo && function_of 91 'void g(void) {'; } >"$root/common/a.c"
    expect 'a.c:52: a function of 91 lines' "$root" common/a.c
    { echo 'static const int table[] = {' && repeat 200 '    1,' && echo '};'; } >"$root/common/a.c"
    expect nothing "$root" common/a.c
    local table=$'    static const int table[] = {\n        1,\n        2,\n        3,\n    };'
    function_of 90 "void f(void) {\n$table" | sed '$i\    x();\n    x();\n    x();\n    x();\n    x();' \
        >"$root/common/a.c"
    expect nothing "$root" common/a.c
    function_of 90 "void f(void) {\n$table" | sed '$i\    x();\n    x();\n    x();\n    x();\n    x();\n    x();' \
        >"$root/common/a.c"
    expect 'a.c:1: a function of 91 lines' "$root" common/a.c
    rm -r "$root/common" "$root/services"
    if check "$root" 2>/dev/null; then
        echo "an empty tree passed: the check looks at nothing" >&2
        return 1
    fi
    echo "limits hold to the line; planted violations found"
}

cd "$(dirname "$0")/.."
case ${1:-.} in
--self-test) self_test ;;
*) check "${1:-.}" ;;
esac
