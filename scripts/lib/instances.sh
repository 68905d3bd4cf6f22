# instances: the processes of `make run` by name: starting, readiness, restarting, stopping. The
# first instance of a service has its service's name, the others are "routing-2" and so on; the
# names are also those of logs and sockets. Each runs in a session of its own, so that Ctrl-C in a
# terminal reaches run.sh alone and they stop in order. Source it; expects build, data, sockets.
# shellcheck shell=bash disable=SC2154,SC2034

names=() # in the order of starting
declare -A service_of=() number_of=() ops_of=() pid=() delay=() started=()

# instance SERVICE NUMBER: the name.
instance() {
    if [ "$2" -eq 1 ]; then echo "$1"; else echo "$1-$2"; fi
}

# names_of SERVICE
names_of() {
    local name
    for name in "${names[@]}"; do
        if [ "${service_of[$name]}" = "$1" ]; then echo "$name"; fi
    done
}

# add_instance SERVICE NUMBER OPS_PORT: makes it known; start runs it.
add_instance() {
    local name
    name=$(instance "$1" "$2")
    names+=("$name")
    service_of[$name]=$1 number_of[$name]=$2 ops_of[$name]=$3
}

# start NAME [SECONDS]: in the background, after a pause. run.sh's environment_of exports what the
# instance needs, and program_of sets program to its command.
start() {
    local name=$1 pause=${2:-0}
    (
        trap - INT TERM HUP PIPE EXIT
        [ "$pause" = 0 ] || sleep "$pause"
        environment_of "$name"
        program_of "$name"
        unset PIPIT_CACHE # a setting of the build, which services would refuse
        exec setsid setpriv --pdeathsig TERM "${program[@]}" # ends with run.sh, however that ends
    ) >>"$data/log/$name.out" 2>>"$data/log/$name.log" &
    pid[$name]=$!
    started[$name]=$SECONDS
}

alive() {
    [ -n "${pid[$1]:-}" ] && kill -0 "${pid[$1]}" 2>/dev/null
}

# Why an instance did not start is the problem="..." of the last line of its log.
explain() {
    local line
    line=$(tail -n 1 "$data/log/$1.log" 2>/dev/null)
    if [[ $line =~ problem=\"((\\.|[^\"])*)\" ]]; then
        line=${BASH_REMATCH[1]}
    fi
    echo "pipit: $1 did not start: $line" >&2
    echo "pipit: its whole log is $data/log/$1.log" >&2
}

ready() {
    if [ "${service_of[$1]}" = mongodb ]; then
        [ -S "$sockets/mongodb.sock" ]
    else
        curl -fsS -o /dev/null --max-time 1 "http://127.0.0.1:${ops_of[$1]}/readyz" 2>/dev/null
    fi
}

wait_ready() {
    local deadline=$((SECONDS + 30))
    until ready "$1"; do
        if ! alive "$1"; then
            explain "$1"
            return 1
        fi
        if [ $SECONDS -ge $deadline ]; then
            echo "pipit: $1 is not ready after 30 s:" >&2
            curl -sS --max-time 1 "http://127.0.0.1:${ops_of[$1]}/readyz?verbose" >&2
            return 1
        fi
        sleep 0.05
    done
}

# stop_service SERVICE: all its instances together; those that do not end within 15 s are killed.
stop_service() {
    local name
    for name in $(names_of "$1"); do
        alive "$name" && kill -TERM "${pid[$name]}" 2>/dev/null
    done
    for name in $(names_of "$1"); do
        for _ in $(seq 150); do
            alive "$name" || break
            sleep 0.1
        done
        alive "$name" && kill -KILL "${pid[$name]}" 2>/dev/null
    done
}

# restart_dead: starts again whatever ended. One that ends again and again is given longer pauses.
restart_dead() {
    local name status pause
    for name in "${names[@]}"; do
        alive "$name" && continue
        wait "${pid[$name]}" 2>/dev/null
        status=$?
        [ $((SECONDS - started[$name])) -lt 60 ] || delay[$name]=0.2
        pause=${delay[$name]:-0.2}
        delay[$name]=$(awk -v d="$pause" 'BEGIN { d *= 2; print (d > 5 ? 5 : d) }')
        echo "pipit: $name ended (exit $status): $(tail -n 1 "$data/log/$name.log"); starting it again"
        start "$name" "$pause"
    done
}
