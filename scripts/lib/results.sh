# results: what a run of the tests has counted, and how tests of each kind are run and counted.
# Source it; expects results, a folder for what they print.
# shellcheck shell=bash disable=SC2154

passed=0 failed=0
# Programs that read PIPIT_* as their settings refuse those that are meant for the tests.
without_ours=(env -u PIPIT_CACHE -u PIPIT_TEST_MONGODB_URI)

headline() {
    printf '\n== %s (%s, %d s since the start)\n' "$1" "$(date +%T)" $SECONDS
}

# verdict NAME STATUS: counts one test.
verdict() {
    if [ "$2" -eq 0 ]; then
        passed=$((passed + 1))
        echo "ok    $1"
    else
        failed=$((failed + 1))
        echo "FAIL  $1"
    fi
}

# count NAME COMMAND...: one test that is a command's exit status; quiet unless it fails.
count() {
    local name=$1 status
    shift
    "$@" >"$results/out" 2>&1
    status=$?
    [ "$status" -eq 0 ] || tail -n 60 "$results/out"
    verdict "$name" "$status"
}

# count_live NAME COMMAND...: the same, for one that takes minutes and says how far it is.
count_live() {
    local name=$1
    shift
    "$@" 2>&1
    verdict "$name" $?
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

# count_pytest FOLDER [OPTION...]: Debian's Python, whatever else is on PATH.
count_pytest() {
    local folder=$1 report
    shift
    report=$results/$(basename "$folder").xml
    rm -f "$report"
    PIPIT_BUILD=$PWD/$build /usr/bin/python3 -m pytest -q -p no:cacheprovider --maxfail=10 "$@" \
        --junit-xml="$report" "$folder"
    count_junit "$report"
}

# count_ctest BUILD EXPRESSION: the C programs whose names match.
count_ctest() {
    local report=$PWD/$1/ctest.xml
    rm -f "$report"
    "${without_ours[@]}" ctest --test-dir "$1" --output-on-failure -j 2 -R "$2" --output-junit "$report" \
        >"$results/ctest" 2>&1 ||
        grep -vE '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ .*Passed)' "$results/ctest" | tail -n 150
    grep -E '% tests passed|No tests' "$results/ctest" || true
    count_junit "$report"
}
