# ports: who listens where in `make run`, and whether that can work. Instance i of auth and
# connection takes the port given for the first one + i - 1; operations ports are OPS_PORT + 0 auth,
# 1 connection, 2 routing, 3 storage, and 10 more for each further instance. Source it.
# shellcheck shell=bash

declare -A port_user=()

# ops_port SERVICE NUMBER
ops_port() {
    local offset
    case $1 in
    auth) offset=0 ;;
    connection) offset=1 ;;
    routing) offset=2 ;;
    *) offset=3 ;;
    esac
    echo $((${OPS_PORT:-9461} + offset + 10 * ($2 - 1)))
}

# take_port PORT USER: false, with one line, when it is no port, is wanted twice or is in use.
take_port() {
    local port=$1 user=$2
    if ! [[ $port =~ ^[0-9]+$ ]] || [ "$port" -lt 1 ] || [ "$port" -gt 65535 ]; then
        echo "pipit: did not start: $user cannot listen at port $port" >&2
        return 1
    fi
    if [ -n "${port_user[$port]:-}" ]; then
        echo "pipit: did not start: port $port is wanted by ${port_user[$port]} and by $user;" \
            "choose HTTP_PORT, WS_PORT, MQTT_PORT and OPS_PORT further apart" >&2
        return 1
    fi
    port_user[$port]=$user
    if timeout 1 bash -c ": </dev/tcp/127.0.0.1/$port" 2>/dev/null; then
        echo "pipit: did not start: port $port, for $user, is in use by another program" >&2
        return 1
    fi
}
