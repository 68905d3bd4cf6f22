#!/usr/bin/env bash
# Checks the scenarios of JMeter and Gatling by running them with their own tools, from Maven, against
# a Pipit that is started for it: two users of each kind for a few seconds. Then that they notice what
# goes wrong: a wrong password, and messages that a relay loses, repeats and exchanges.
# Usage: check-scenarios.sh [jmeter|gatling]      default both; ends with "N passed, N failed"
#   PIPIT_BUILD=build  where the four services are
# Maven gets what it needs where the machine's own settings say. Locust's scenarios are checked by
# tests/integration/test_locust.py.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
# shellcheck source=scripts/lib/packages.sh
. scripts/lib/packages.sh
# shellcheck source=scripts/lib/results.sh
. scripts/lib/results.sh

# in_stack COMMAND...: runs it while Pipit is up, with the addresses of Pipit (REST, WS), of the
# relays in front of it (FAULTY_REST, FAULTY_WS) and the first invite (INVITE) in its environment.
in_stack() {
    PYTHONPATH=tests/integration PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 - "$@" <<'PY'
import os, subprocess, sys
from faulty_relay import FaultyRest, FaultyWs
from ports import free_port
from stack import Stack

stack = Stack().start()
try:
    with FaultyRest(free_port(), stack.rest_url) as rest, FaultyWs(free_port(), stack.ws_url) as ws:
        environment = {"REST": stack.rest_url, "WS": stack.ws_url, "INVITE": stack.admin_invite,
                       "FAULTY_REST": rest.url, "FAULTY_WS": ws.url}
        code = subprocess.run(sys.argv[1:], env={**os.environ, **environment}).returncode
finally:
    stack.stop()
sys.exit(code)
PY
}

# jmeter REST OPTION...: the exit status is the plan's; prints the samples that failed.
jmeter() {
    local rest=$1 status
    shift
    rm -rf "$work/jmeter"
    mvn -B -q -f loadtest/jmeter verify -Dtarget="$work/jmeter" -Dhost=127.0.0.1 \
        -Dport="${rest##*:}" -Dusers=2 -Dpause=200 -Daccounts="$work/accounts" "$@"
    status=$?
    grep ',false,' "$samples"
    return $status
}

# The plan goes through, and each kind of sample was taken more than once or twice.
jmeter_plan() {
    local label found
    jmeter "$REST" -Dseconds=5 || return 1
    for label in login 'direct: send' 'direct: receive' 'group: send' 'group: receive'; do
        found=$(grep -cE ",$label,20[01],.*,true," "$samples")
        echo "$label: $found"
        [ "$found" -ge 5 ] || return 1
    done
}

gatling() {
    mvn -B -q -f loadtest/gatling gatling:test -Dtarget="$work/gatling" -Durl="$REST" \
        -Dusers=2 -Dpause=200 -Daccounts="$work/accounts" "$@"
}

# refuses SENTENCE... -- COMMAND...: it must fail, and print each of the sentences.
refuses() {
    local sentences=() sentence
    while [ "$1" != -- ]; do
        sentences+=("$1")
        shift
    done
    shift
    if "$@" >"$work/said" 2>&1; then
        tail -n 40 "$work/said"
        echo "succeeded although it must not: $*"
        return 1
    fi
    for sentence in "${sentences[@]}"; do
        if ! grep -qF -- "$sentence" "$work/said"; then
            tail -n 40 "$work/said"
            echo "failed without saying: $sentence"
            return 1
        fi
    done
}

check_jmeter() {
    count "JMeter runs its plan" jmeter_plan
    count "JMeter notices a wrong password" refuses ',login,401,' -- \
        jmeter "$REST" -Dseconds=1 -Dpassword=another-otter-lamp
    count "JMeter notices lost messages" refuses 'lost: seq' -- jmeter "$FAULTY_REST" -Dseconds=4
}

check_gatling() {
    count "Gatling runs its simulation" gatling -Dws="$WS" -Dseconds=5
    count "Gatling notices a wrong password" refuses 'login: 401' -- \
        gatling -Dws="$WS" -Dseconds=1 -Dpassword=another-otter-lamp
    count "Gatling notices damaged deliveries" refuses 'direct: duplicate' 'group: duplicate' \
        'direct: out of order' 'direct: lost' 'group: lost' -- gatling -Dws="$FAULTY_WS" -Dseconds=4
}

# Inside of in_stack.
if [ "${1:-}" = --within ]; then
    work=$2 results=$2 samples=$2/jmeter/jmeter/results/pipit.csv
    /usr/bin/python3 loadtest/accounts.py --url "$REST" --invite "$INVITE" --count 9 \
        --out "$work/accounts" || exit 1
    for tool in $3; do "check_$tool"; done
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
    exit
fi

case ${1:-both} in
both) tools="jmeter gatling" ;;
jmeter | gatling) tools=$1 ;;
*)
    echo "usage: $0 [jmeter|gatling]" >&2
    exit 2
    ;;
esac
packages=(python3-requests python3-websockets)
command -v mvn >/dev/null || packages+=(maven)
command -v javac >/dev/null || packages+=(default-jdk-headless)
install_packages "${packages[@]}" || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
in_stack "$0" --within "$work" "$tools"
