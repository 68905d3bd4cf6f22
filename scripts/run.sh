#!/usr/bin/env bash
# Runs the four services on this machine with SQLite: starts them in order, waits until all are ready,
# says where to point clients, restarts one that dies, and stops all of them on Ctrl-C.
# Environment (see the Makefile): DATA, HTTP_PORT, WS_PORT, MQTT_PORT, OPS_PORT, LISTEN, BUILD.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
data=${DATA:-var}
listen=${LISTEN:-0.0.0.0}
http_port=${HTTP_PORT:-8080} ws_port=${WS_PORT:-8083} mqtt_port=${MQTT_PORT:-1883}
ops_port=${OPS_PORT:-9461}
services=(storage routing auth connection)

fail() {
    echo "pipit: $*" >&2
    exit 1
}

mkdir -p "$data/log" "$data/storage" 2>/dev/null
if [ ! -w "$data/log" ] || [ ! -w "$data/storage" ]; then
    fail "cannot write to the data folder '$data'; choose another with: make run DATA=/some/folder"
fi
data=$(cd "$data" && pwd)
# Unix socket paths end at 107 bytes; a deep data folder gets its sockets elsewhere.
sockets=$data/run
[ ${#sockets} -le 80 ] || sockets=$(mktemp -d /tmp/pipit.XXXXXX)
mkdir -p "$sockets" && chmod 700 "$sockets" "$data/storage"

declare -A pid=() port=([auth]=$ops_port [connection]=$((ops_port + 1)) [routing]=$((ops_port + 2))
    [storage]=$((ops_port + 3)))

for service in "${services[@]}"; do
    export "PIPIT_${service^^}_OPS_LISTEN=127.0.0.1:${port[$service]}"
    [ "$service" = connection ] ||
        export "PIPIT_BUS_${service^^}=ipc://$sockets/$service" \
            "PIPIT_${service^^}_BUS_LISTEN=ipc://$sockets/$service"
done
export PIPIT_STORAGE_STORE="sqlite:$data/storage"
export PIPIT_AUTH_LISTEN="$listen:$http_port"
export PIPIT_CONNECTION_WS_LISTEN="$listen:$ws_port" PIPIT_CONNECTION_MQTT_LISTEN="$listen:$mqtt_port"

start() {
    "$build/pipit-$1" >>"$data/log/$1.out" 2>>"$data/log/$1.log" &
    pid[$1]=$!
}

# Why a service did not start is the problem="..." of the last line of its log.
explain() {
    local line
    line=$(tail -n 1 "$data/log/$1.log" 2>/dev/null)
    if [[ $line =~ problem=\"((\\.|[^\"])*)\" ]]; then
        line=${BASH_REMATCH[1]}
    fi
    echo "pipit: $1 did not start: $line" >&2
    echo "pipit: its whole log is $data/log/$1.log" >&2
}

stopping=
stop_all() {
    [ -z "$stopping" ] || return 0
    stopping=yes
    local service
    for service in connection auth routing storage; do
        [ -n "${pid[$service]:-}" ] && kill -TERM "${pid[$service]}" 2>/dev/null
        # Clients are told first; the store closes last, when nobody can send to it any more.
        for _ in $(seq 150); do
            kill -0 "${pid[$service]:-0}" 2>/dev/null || break
            sleep 0.1
        done
        [ -n "${pid[$service]:-}" ] && kill -KILL "${pid[$service]}" 2>/dev/null
    done
    case $sockets in /tmp/pipit.*) rm -rf "$sockets" ;; esac
}

ready() {
    curl -fsS -o /dev/null --max-time 1 "http://127.0.0.1:${port[$1]}/readyz" 2>/dev/null
}

wait_ready() {
    local deadline=$((SECONDS + 30))
    until ready "$1"; do
        if ! kill -0 "${pid[$1]}" 2>/dev/null; then
            explain "$1"
            return 1
        fi
        if [ $SECONDS -ge $deadline ]; then
            echo "pipit: $1 is not ready after 30 s:" >&2
            curl -sS --max-time 1 "http://127.0.0.1:${port[$1]}/readyz?verbose" >&2
            return 1
        fi
        sleep 0.05
    done
}

trap 'echo; echo "Stopping Pipit"; stop_all; exit 0' INT TERM
for service in "${services[@]}"; do
    : >"$data/log/$service.out"
    start "$service"
done
for service in "${services[@]}"; do
    wait_ready "$service" || {
        stop_all
        exit 1
    }
done

address=$(hostname -I 2>/dev/null | awk '{print $1}')
[ "$listen" = 0.0.0.0 ] || address=$listen
[ -n "$address" ] || address=127.0.0.1
invite=$(sed -n 's/^Admin invite.*: \(pi_[A-Za-z0-9_-]*\).*/\1/p' "$data/log/auth.out" | tail -n 1)
cat <<EOF

Pipit is running.  Data: $data   Logs: $data/log/
  REST API and login   http://$address:$http_port/v1
  WebSocket            ws://$address:$ws_port/v1/ws
  MQTT                 mqtt://$address:$mqtt_port
  Operations           http://127.0.0.1:$ops_port/metrics (auth), then +1 connection, +2 routing, +3 storage
EOF
if [ -n "$invite" ]; then
    cat <<EOF

  Admin invite (valid once): $invite

Paste these three lines into another terminal: two people register, and one writes to the other.

ANN=\$(curl -sS http://127.0.0.1:$http_port/v1/register -H 'Content-Type: application/json' -d '{"invite":"$invite","user":"ann","password":"quiet-otter-lamp"}' | grep -oE 'eyJ[A-Za-z0-9_.-]+')
BOB=\$(curl -sS http://127.0.0.1:$http_port/v1/register -H 'Content-Type: application/json' -d '{"invite":"'\$(curl -sS http://127.0.0.1:$http_port/v1/admin/invites -H "Authorization: Bearer \$ANN" -H 'Content-Type: application/json' -d '{}' | grep -oE 'pi_[A-Za-z0-9_-]+')'","user":"bob","password":"brave-heron-desk"}' | grep -oE 'eyJ[A-Za-z0-9_.-]+')
mosquitto_sub -p $mqtt_port -u bob -P "\$BOB" -q 1 -t pipit/me/inbox -C 1 & sleep 1; mosquitto_pub -p $mqtt_port -u ann -P "\$ANN" -q 1 -t pipit/u/bob/send -m 'Hello Bob'; wait
EOF
else
    cat <<EOF

Log in:  curl -sS http://127.0.0.1:$http_port/v1/login -H 'Content-Type: application/json' -d '{"user":"ann","password":"..."}'
EOF
fi
printf '\nCtrl-C stops all four services.\n'

declare -A delay=()
while :; do
    wait -n 2>/dev/null
    for service in "${services[@]}"; do
        kill -0 "${pid[$service]}" 2>/dev/null && continue
        wait "${pid[$service]}" 2>/dev/null
        status=$?
        pause=${delay[$service]:-0.2}
        delay[$service]=$(awk -v d="$pause" 'BEGIN { d *= 2; print (d > 5 ? 5 : d) }')
        echo "pipit: $service ended (exit $status): $(tail -n 1 "$data/log/$service.log"); starting it again"
        sleep "$pause"
        start "$service"
    done
done
