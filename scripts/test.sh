#!/usr/bin/env bash
# Runs tests and ends with one line "N passed, N failed".
# Usage: test.sh all|unit|conformance|integration|cluster|checker|chaos|powercut|planted|fuzz|checks
#   SANITIZE=address|thread  the C programs are built with that sanitizer
#   FUZZ_SECONDS=10          per fuzz target
#   FAULTS=60 CUTS=100       injected faults and power cuts; SEED=N repeats a run of either
#   PIPIT_TEST_MONGODB_URI   a MongoDB to test against, besides FerretDB and instead of it
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
what=${1:-all}
sanitize=${SANITIZE:-}
results=$(mktemp -d)
trap 'ferretdb_stop; rm -rf "$results"' EXIT
trap 'stop_running; exit 130' INT TERM
suffix=${sanitize:+-$sanitize}
# shellcheck source=scripts/lib/results.sh
. scripts/lib/results.sh
# shellcheck source=scripts/lib/ferretdb.sh
. scripts/lib/ferretdb.sh

export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99
export TSAN_OPTIONS=halt_on_error=0:exitcode=99:suppressions=$PWD/tests/tsan.supp
export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp

built() { # built CC SANITIZE [FUZZ]: builds into its own folder, named by build; shows failures
    local compiler=$1 kind=$2
    build=build-test-${compiler}${kind:+-$kind}
    if BUILD=$build CC=$compiler SANITIZE=$kind FUZZ=${3:-OFF} scripts/build.sh; then
        return 0
    fi
    verdict "build with $compiler ${kind:+and $kind sanitizer}" 1
    return 1
}

run_unit() {
    headline "unit tests, gcc${suffix}"
    built gcc "$sanitize" && count_ctest "$build" '^(common|proto|loadtest|auth|connection|routing|storage)_'
    if [ -z "$sanitize" ]; then
        headline "unit and conformance tests, clang"
        built clang-19 "" && count_ctest "$build" '.'
    fi
}

# conformance_on NAME URL: every conformance program against the server; %s in the URL stands for
# a fresh database per test.
conformance_on() {
    local program found=
    for program in "$build"/tests/conformance_*; do
        [ -x "$program" ] || continue
        found=yes
        count "$(basename "$program") on $1" env PIPIT_TEST_STORE="$2" timeout 900 "$program"
    done
    [ -n "$found" ] || verdict "conformance programs for $1" 1
}

run_conformance() {
    headline "storage conformance, gcc${suffix}"
    built gcc "$sanitize" || return
    count_ctest "$build" '^conformance_'
}

# What needs several instances or MongoDB.
CLUSTER_TESTS="several or mongodb or migrate or rolling"

run_cluster() {
    headline "several instances and MongoDB${suffix}"
    built gcc "$sanitize" || return
    count_pytest tests/integration -k "$CLUSTER_TESTS"
    if ferretdb_start "$results/ferretdb"; then
        conformance_on FerretDB "$ferretdb_uri/%s"
        ferretdb_stop
    else
        verdict "FerretDB for the conformance tests" 1
    fi
    if [ -n "${PIPIT_TEST_MONGODB_URI:-}" ]; then
        conformance_on "the given MongoDB" "$(cd tests/integration && /usr/bin/python3 -c \
            'import sys, ferretdb; print(ferretdb.with_database(sys.argv[1], "%s"))' \
            "$PIPIT_TEST_MONGODB_URI")"
    fi
}

run_integration() {
    headline "behaviour over real processes${suffix}"
    built gcc "$sanitize" && count_pytest tests/integration -k "not ($CLUSTER_TESTS)"
}

run_checker() {
    headline "the checker of histories"
    built gcc "$sanitize" && count_pytest tests/checker
}

run_chaos() {
    headline "${FAULTS:-60} faults on running processes${suffix}"
    built gcc "$sanitize" || return
    local binary
    binary=$(scripts/build-ferretdb.sh) || {
        verdict "FerretDB for the fault run" 1
        return
    }
    count_live $((20 + ${FAULTS:-60} / 2)) "fault run" env PIPIT_BUILD="$PWD/$build" PIPIT_FERRETDB="$binary" \
        /usr/bin/python3 tests/chaos/run.py --faults "${FAULTS:-60}"
}

run_powercut() {
    headline "${CUTS:-100} power cuts${suffix}"
    built gcc "$sanitize" || return
    count_live $((10 + ${CUTS:-100} / 10)) "power cuts" env PIPIT_BUILD="$PWD/$build" /usr/bin/python3 tests/powercut/run.py \
        --cuts "${CUTS:-100}" ${SEED:+--seed "$SEED"}
    count_live 15 "failing calls" env PIPIT_BUILD="$PWD/$build" /usr/bin/python3 \
        tests/powercut/sweep.py ${SEED:+--seed "$SEED"}
}

run_planted() {
    headline "bugs planted in storage are caught"
    built gcc "" && count_live 30 "planted bugs" env PIPIT_BUILD="$PWD/$build" /usr/bin/python3 \
        tests/planted/run.py
}

# fuzz_one TARGET: its output and exit status go beside each other into the results.
fuzz_one() {
    local target=$1 name subject
    name=$(basename "$target")
    subject=${name#fuzz_}
    local arguments=("$results/$name")
    mkdir -p "$results/$name"
    [ -d "tests/fuzz/corpus/$subject" ] && arguments+=("tests/fuzz/corpus/$subject")
    [ -f "tests/fuzz/$subject.dict" ] && arguments+=("-dict=tests/fuzz/$subject.dict")
    "$target" -max_total_time="${FUZZ_SECONDS:-10}" -timeout=5 -rss_limit_mb=1024 \
        -artifact_prefix="$results/" "${arguments[@]}" >"$results/$name.out" 2>&1
    echo $? >"$results/$name.status"
}

run_fuzz() {
    headline "fuzzing, ${FUZZ_SECONDS:-10} s a target, two at a time"
    built clang-19 address ON || return
    local target name targets=("$build"/fuzz/fuzz_*)
    for target in "${targets[@]}"; do
        while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
        fuzz_one "$target" &
    done
    wait
    for target in "${targets[@]}"; do
        name=$(basename "$target")
        [ "$(cat "$results/$name.status")" = 0 ] || tail -n 60 "$results/$name.out"
        verdict "fuzz $name" "$(cat "$results/$name.status")"
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
    count "shellcheck" bash -c "shellcheck -x scripts/*.sh scripts/lib/*.sh .ci/run \
            loadtest/*.sh loadtest/locust/*.sh"
    if built gcc ""; then
        count "generated reference pages are current" "${without_ours[@]}" BUILD="$build" \
            scripts/generate-docs.sh --check
    fi
}

case $what in
all)
    run_checks
    run_unit
    run_conformance
    run_integration
    run_cluster
    run_checker
    run_chaos
    run_powercut
    [ -n "$sanitize" ] || run_planted
    [ -n "$sanitize" ] || run_fuzz
    ;;
unit | conformance | integration | cluster | checker | chaos | powercut | planted | fuzz | checks) "run_$what" ;;
*)
    echo "usage: $0 all|unit|conformance|integration|cluster|checker|chaos|powercut|planted|fuzz|checks" >&2
    exit 2
    ;;
esac

tell_again
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
