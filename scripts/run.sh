#!/usr/bin/env bash
# Runs Pipit on this machine: one or more instances of each service, with SQLite, with FerretDB as
# a MongoDB of its own, or with a MongoDB that is there. Starts them in order, waits until all are
# ready, says where to point clients, restarts one that dies, and stops all of them on Ctrl-C.
# Environment (see the Makefile): DATA, HTTP_PORT, WS_PORT, MQTT_PORT, OPS_PORT, LISTEN, BUILD,
# STORE (sqlite, mongodb, or mongodb://...), CONNECTIONS, ROUTINGS, STORAGES, AUTHS.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
data=${DATA:-var}
store=${STORE:-sqlite}
listen=${LISTEN:-0.0.0.0}
http_port=${HTTP_PORT:-8080} ws_port=${WS_PORT:-8083} mqtt_port=${MQTT_PORT:-1883}
ops_port=${OPS_PORT:-9461}
services=(storage routing auth connection)
declare -A count=([storage]=${STORAGES:-1} [routing]=${ROUTINGS:-1} [auth]=${AUTHS:-1}
    [connection]=${CONNECTIONS:-1})
# shellcheck source=scripts/lib/instances.sh
. scripts/lib/instances.sh
# shellcheck source=scripts/lib/ports.sh
. scripts/lib/ports.sh
# shellcheck source=scripts/lib/ferretdb.sh
. scripts/lib/ferretdb.sh
# shellcheck source=scripts/lib/welcome.sh
. scripts/lib/welcome.sh

fail() {
    echo "pipit: $*" >&2
    exit 1
}

check_settings() {
    local service
    for service in "${services[@]}"; do # 16 is what discovery reads of a list of addresses
        [[ ${count[$service]} =~ ^([1-9]|1[0-6])$ ]] ||
            fail "${service^^}S=${count[$service]} must be a number from 1 to 16"
    done
    case $store in
    mongodb | mongodb://?* | mongodb+srv://?*) ;;
    sqlite)
        [ "${count[storage]}" -eq 1 ] || fail "SQLite belongs to one storage process:" \
            "STORAGES=${count[storage]} needs STORE=mongodb"
        ;;
    *) fail "STORE=$store must be sqlite, mongodb, or the address of a MongoDB: mongodb://..." ;;
    esac
}

make_folders() {
    mkdir -p "$data/log" "$data/storage" "$data/ferretdb" 2>/dev/null
    if [ ! -w "$data/log" ] || [ ! -w "$data/storage" ] || [ ! -w "$data/ferretdb" ]; then
        fail "cannot write to the data folder '$data'; choose another with: make run DATA=/some/folder"
    fi
    data=$(cd "$data" && pwd)
    # Held by every process that is started here: nothing is touched while one of them lives.
    exec 9>"$data/run.lock"
    flock -n 9 || fail "the data folder '$data' is in use by another 'make run': stop that first," \
        "or choose another with: make run DATA=/some/folder"
    # Unix socket paths end at 107 bytes; a deep data folder gets its sockets elsewhere.
    sockets=$data/run
    [ ${#sockets} -le 80 ] || sockets=$(mktemp -d /tmp/pipit.XXXXXX)
    mkdir -p "$sockets" && chmod 700 "$sockets" "$data/storage" "$data/ferretdb"
}

# Every port is known and free before the first process starts.
plan_instances() {
    local service i ops
    for service in "${services[@]}"; do
        for ((i = 1; i <= count[$service]; i++)); do
            ops=$(ops_port "$service" "$i")
            add_instance "$service" "$i" "$ops"
            take_port "$ops" "operations of $(instance "$service" "$i")" || exit 1
            case $service in
            auth) take_port $((http_port + i - 1)) "REST of $(instance auth "$i")" || exit 1 ;;
            connection)
                take_port $((ws_port + i - 1)) "WebSocket of $(instance connection "$i")" || exit 1
                take_port $((mqtt_port + i - 1)) "MQTT of $(instance connection "$i")" || exit 1
                ;;
            esac
        done
    done
}

prepare_store() {
    case $store in
    sqlite) export PIPIT_STORAGE_STORE="sqlite:$data/storage" ;;
    mongodb)
        ferretdb=$(scripts/build-ferretdb.sh) || exit 1
        names=(mongodb "${names[@]}")
        service_of[mongodb]=mongodb number_of[mongodb]=1 ops_of[mongodb]=
        PIPIT_STORAGE_STORE="$(uri_of_socket "$sockets/mongodb.sock")/pipit"
        export PIPIT_STORAGE_STORE
        ;;
    *) export PIPIT_STORAGE_STORE="$store" ;;
    esac
}

# bus_list SERVICE: the addresses of all its instances.
bus_list() {
    local i list=
    for ((i = 1; i <= count[$1]; i++)); do
        list+="${list:+,}ipc://$sockets/$(instance "$1" "$i")"
    done
    echo "$list"
}

environment_of() {
    local name=$1 service=${service_of[$1]} i=${number_of[$1]} doors=${count[connection]}
    export "PIPIT_${service^^}_OPS_LISTEN=127.0.0.1:${ops_of[$name]}"
    [ "$service" = connection ] || export "PIPIT_${service^^}_BUS_LISTEN=ipc://$sockets/$name"
    case $service in
    auth)
        export PIPIT_AUTH_LISTEN="$listen:$((http_port + i - 1))"
        # Clients that ask for the other doors: by the name they came by, where ports are usual.
        [ $((ws_port + (i - 1) % doors)) -eq 8083 ] ||
            export PIPIT_AUTH_WS_URL="${PIPIT_AUTH_WS_URL:-ws://$address:$((ws_port + (i - 1) % doors))/v1/ws}"
        [ $((mqtt_port + (i - 1) % doors)) -eq 1883 ] ||
            export PIPIT_AUTH_MQTT_URL="${PIPIT_AUTH_MQTT_URL:-mqtt://$address:$((mqtt_port + (i - 1) % doors))}"
        ;;
    connection)
        export PIPIT_CONNECTION_WS_LISTEN="$listen:$((ws_port + i - 1))"
        export PIPIT_CONNECTION_MQTT_LISTEN="$listen:$((mqtt_port + i - 1))"
        ;;
    esac
}

program_of() {
    if [ "${service_of[$1]}" = mongodb ]; then
        rm -f "$sockets/mongodb.sock" # of one that was killed
        cd "$data/ferretdb" || exit 1
        ferretdb_command "$ferretdb" "$sockets/mongodb.sock"
    else
        program=("$build/pipit-${service_of[$1]}")
    fi
}

stopping=
stop_all() {
    [ -z "$stopping" ] || return 0
    stopping=yes
    local service
    # Clients are told first; the store closes last, when nobody can send to it any more.
    for service in connection auth routing storage mongodb; do
        stop_service "$service"
    done
    case $sockets in /tmp/pipit.*) rm -rf "$sockets" ;; esac
}

check_settings
make_folders
plan_instances
prepare_store
for service in storage routing auth; do
    export "PIPIT_BUS_${service^^}=$(bus_list "$service")"
done
address=$(hostname -I 2>/dev/null | awk '{print $1}')
[ "$listen" = 0.0.0.0 ] || address=$listen
[ -n "$address" ] || address=127.0.0.1

# Also when the terminal is closed, or nobody reads what we say any more.
trap '' PIPE
trap 'echo; echo "Stopping Pipit"; exit 0' INT TERM HUP
trap stop_all EXIT
rm -f "$data"/log/*.out # an old invite is in one
for name in "${names[@]}"; do
    start "$name"
    # Its socket is there before storage looks for it.
    [ "$name" != mongodb ] || wait_ready mongodb || exit 1
done
for name in "${names[@]}"; do
    wait_ready "$name" || exit 1
done
say_addresses
say_tour

while :; do
    wait -n 2>/dev/null
    restart_dead
done
