#!/usr/bin/env bash
# Runs tests and ends with one line "N passed, N failed".
# Usage: test.sh all|unit|conformance|integration|fuzz|checks
#   SANITIZE=address|thread  the C programs are built with that sanitizer
#   FUZZ_SECONDS=20          per fuzz target
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
what=${1:-all}
sanitize=${SANITIZE:-}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
passed=0 failed=0
suffix=${sanitize:+-$sanitize}

export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99
export TSAN_OPTIONS=halt_on_error=0:exitcode=99:suppressions=$PWD/tests/tsan.supp
export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp

headline() {
    printf '\n== %s (%s)\n' "$1" "$(date +%T)"
}

# count NAME COMMAND...: one test that is a command's exit status.
count() {
    local name=$1
    shift
    if "$@" >"$results/out" 2>&1; then
        passed=$((passed + 1))
        echo "ok    $name"
    else
        failed=$((failed + 1))
        tail -n 60 "$results/out"
        echo "FAIL  $name"
    fi
}

# count_junit FILE: adds a JUnit report's test cases.
count_junit() {
    local totals
    totals=$(python3 - "$1" <<'PY'
import sys, xml.etree.ElementTree as tree
good = bad = 0
for case in tree.parse(sys.argv[1]).getroot().iter("testcase"):
    wrong = case.find("failure") is not None or case.find("error") is not None
    wrong = wrong or case.get("status") == "fail"
    skipped = case.find("skipped") is not None
    bad += wrong or skipped  # a skipped test proves nothing: it counts as failed
    good += not (wrong or skipped)
print(good, bad)
PY
    ) || totals="0 1"
    passed=$((passed + ${totals% *}))
    failed=$((failed + ${totals#* }))
}

built() { # built CC SANITIZE: builds into its own folder, prints nothing else than failures
    local compiler=$1 kind=$2
    build=build-test-${compiler}${kind:+-$kind}
    if BUILD=$build CC=$compiler SANITIZE=$kind FUZZ=${3:-OFF} scripts/build.sh; then
        return 0
    fi
    failed=$((failed + 1))
    echo "FAIL  build with $compiler ${kind:+and $kind sanitizer}"
    return 1
}

run_ctest() { # run_ctest BUILD EXPRESSION
    local report=$PWD/$1/ctest.xml
    rm -f "$report"
    ctest --test-dir "$1" --output-on-failure -j 2 -R "$2" --output-junit "$report" \
        >"$results/ctest" 2>&1 ||
        grep -vE '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ .*Passed)' "$results/ctest" | tail -n 150
    grep -E '% tests passed|No tests' "$results/ctest" || true
    count_junit "$report"
}

run_unit() {
    headline "unit tests, gcc${suffix}"
    built gcc "$sanitize" && run_ctest "$build" '^(common|proto|auth|connection|routing|storage)_'
    if [ -z "$sanitize" ]; then
        headline "unit and conformance tests, clang"
        built clang-19 "" && run_ctest "$build" '.'
    fi
}

run_conformance() {
    headline "storage conformance, gcc${suffix}"
    built gcc "$sanitize" && run_ctest "$build" '^conformance_'
}

run_integration() {
    headline "behaviour over real processes${suffix}"
    built gcc "$sanitize" || return
    PIPIT_BUILD=$PWD/$build /usr/bin/python3 -m pytest -q -x --maxfail=10 -p no:cacheprovider \
        --junit-xml="$results/pytest.xml" tests/integration
    count_junit "$results/pytest.xml"
}

run_fuzz() {
    headline "fuzzing, ${FUZZ_SECONDS:-10} s a target"
    built clang-19 address ON || return
    local target name
    for target in "$build"/fuzz/fuzz_*; do
        [ -x "$target" ] || continue
        name=$(basename "$target")
        local corpus=tests/fuzz/corpus/$name scratch=$results/$name
        mkdir -p "$scratch"
        local arguments=("$scratch")
        [ -d "$corpus" ] && arguments+=("$corpus")
        [ -f "tests/fuzz/$name.dict" ] && arguments+=("-dict=tests/fuzz/$name.dict")
        count "fuzz $name" "$target" -max_total_time="${FUZZ_SECONDS:-10}" -timeout=5 \
            -rss_limit_mb=1024 -artifact_prefix="$results/" "${arguments[@]}"
    done
}

run_checks() {
    headline "checks of the source tree"
    count "include arrows" scripts/check-includes.sh
    count "include check finds a planted arrow" scripts/check-includes.sh --self-test
    count "file and function sizes" scripts/check-sizes.sh
    count "size check finds planted violations" scripts/check-sizes.sh --self-test
    count "clang-format" bash -c \
        "git ls-files '*.c' '*.h' | xargs clang-format-19 --dry-run --Werror"
    count "shellcheck" bash -c "shellcheck scripts/*.sh .ci/run"
    if built gcc ""; then
        count "generated reference pages are current" env BUILD="$build" \
            scripts/generate-docs.sh --check
    fi
}

case $what in
all)
    run_checks
    run_unit
    run_conformance
    run_integration
    [ -n "$sanitize" ] || run_fuzz
    ;;
unit | conformance | integration | fuzz | checks) "run_$what" ;;
*)
    echo "usage: $0 all|unit|conformance|integration|fuzz|checks" >&2
    exit 2
    ;;
esac

printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
