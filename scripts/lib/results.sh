# results: what a run of the tests has counted, and how tests of each kind are run and counted.
# Source it; expects results, a folder for what they print.
# shellcheck shell=bash disable=SC2154

passed=0 failed=0
# Programs with a sanitizer take their time.
slow=${sanitize:+4} slow=${slow:-1}
# No single test takes so long; on a new machine one of them builds FerretDB.
TEST_SECONDS=900
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

# count_live MINUTES NAME COMMAND...: the same, for one that takes a while and says how far it is. One
# that hangs is a failure, not a run without an end: timeout gives it a process group of its own and
# ends all of it. Ctrl-C does not reach that group, hence `running`, for stop_running.
running=
count_live() {
    local minutes=$(($1 * slow)) name=$2 status
    shift 2
    timeout -k 30 "${minutes}m" "$@" 2>&1 &
    running=$!
    wait "$running"
    status=$?
    running=
    case $status in 124 | 137) echo "-- $name did not end in $minutes minutes" ;; esac
    verdict "$name" "$status"
}

# stop_running: ends what count_live runs, and waits until it has cleared up.
stop_running() {
    [ -n "$running" ] || return 0
    kill -TERM "$running" 2>/dev/null
    wait "$running"
}

# junit_totals FIRST [SECOND]: "passed failed" of a JUnit report, and into $results/again the tests
# that failed in it and passed in the second one. One that crashed, or in which a program did, stays
# failed: that is no matter of time.
junit_totals() {
    python3 - "$results/again" "$@" <<'PY' || echo "0 1"
import re, sys, xml.etree.ElementTree as tree

CRASH = re.compile(r"contract failed|Sanitizer|runtime error:|Subprocess aborted|SEGFAULT|ended with -\d")

def crashed(case):
    return any(CRASH.search(part) for node in case.iter() for part in (node.get("message"), node.text) if part)

def cases(path):
    for case in tree.parse(path).getroot().iter("testcase"):
        wrong = case.find("failure") is not None or case.find("error") is not None
        wrong = wrong or case.get("status") == "fail"
        skipped = case.find("skipped") is not None
        # A skipped test proves nothing: it counts as failed.
        yield f"{case.get('classname')} {case.get('name')}", not (wrong or skipped), wrong and crashed(case)

verdicts, final = {}, set()
for name, good, crash in cases(sys.argv[2]):
    # A test may be told twice, for its body and for what comes after it.
    verdicts[name] = verdicts.get(name, True) and good
    if crash:
        final.add(name)
with open(sys.argv[1], "a") as again:
    for path in sys.argv[3:]:
        for name, good, _ in cases(path):
            if good and not verdicts.get(name, True) and name not in final:
                verdicts[name] = True
                print(name, file=again)
good = sum(verdicts.values())
print(good, len(verdicts) - good)
PY
}

# Real processes and real clocks on two busy cores: a few tests that failed run once more, alone.
# What passes then is counted as passed, and named at the end of the run, to be looked at. More
# than a few are no accident, nor is what a sanitizer finds.
SECOND_RUN_MAX=3

# count_junit FILE COMMAND...: adds a JUnit report's test cases. The command runs those that failed
# again, its report in $results/second.xml.
count_junit() {
    local totals file=$1
    shift
    totals=$(junit_totals "$file")
    if [ "${totals#* }" -gt 0 ] && [ "${totals#* }" -le "$SECOND_RUN_MAX" ] && [ -s "$file" ] &&
        [ -z "$sanitize" ]; then
        rm -f "$results/second.xml"
        echo "-- ${totals#* } failed; once more, alone"
        "$@"
        [ -s "$results/second.xml" ] && totals=$(junit_totals "$file" "$results/second.xml")
    fi
    passed=$((passed + ${totals% *}))
    failed=$((failed + ${totals#* }))
}

# Names what needed a second run.
tell_again() {
    [ -s "$results/again" ] || return 0
    sed 's/^/passed in a second run only: /' "$results/again"
}

# count_pytest FOLDER [OPTION...]: Debian's Python, whatever else is on PATH.
count_pytest() {
    local folder=$1 report
    shift
    local run=(env PIPIT_BUILD="$PWD/$build" /usr/bin/python3 -m pytest -q
        --timeout "$((TEST_SECONDS * slow))"
        -o cache_dir="$results/$(basename "$folder").cache" "$@" "$folder")
    report=$results/$(basename "$folder").xml
    rm -f "$report"
    "${run[@]}" --maxfail=10 --junit-xml="$report"
    count_junit "$report" "${run[@]}" --last-failed --last-failed-no-failures none \
        --junit-xml="$results/second.xml"
}

run_ctest() { # FOLDER REPORT OPTION...: quiet about what passes
    local folder=$1 report=$2
    shift 2
    "${without_ours[@]}" ctest --test-dir "$folder" --output-on-failure --output-junit "$report" \
        --timeout "$((TEST_SECONDS * slow))" "$@" \
        >"$results/ctest" 2>&1 ||
        grep -vE '^ *(Start +[0-9]+:|[0-9]+/[0-9]+ .*Passed)' "$results/ctest" | tail -n 150
    grep -E '% tests passed|No tests' "$results/ctest" || true
}

# count_ctest BUILD EXPRESSION: the C programs whose names match.
count_ctest() {
    local report=$PWD/$1/ctest.xml
    rm -f "$report"
    run_ctest "$1" "$report" -j 2 -R "$2"
    count_junit "$report" run_ctest "$1" "$results/second.xml" -j 1 --rerun-failed
}
