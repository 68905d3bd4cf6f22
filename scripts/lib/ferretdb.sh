# ferretdb: FerretDB as a process of a script: on a Unix socket in a folder of its own, so that it
# needs no port and nobody else reaches it. Source it from the root of the tree.
# shellcheck shell=bash disable=SC2034

# uri_of_socket PATH: a mongodb:// address without database, every byte escaped that needs it.
uri_of_socket() {
    local text=$1 i letter
    printf 'mongodb://'
    for ((i = 0; i < ${#text}; i++)); do
        letter=${text:i:1}
        case $letter in
        [A-Za-z0-9._-]) printf '%s' "$letter" ;;
        *) printf '%s' "$letter" | od -An -v -tx1 | tr -d '\n' | tr ' ' '%' ;;
        esac
    done
}

# ferretdb_command BINARY SOCKET: sets program, to be run in the folder of its data.
ferretdb_command() {
    program=("$1" --handler=sqlite --sqlite-url=file:./ --state-dir=. --telemetry=disable
        --debug-addr=- --log-level=ERROR --listen-addr= "--listen-unix=$2")
}

# ferretdb_start FOLDER: builds it when needed, sets ferretdb_pid and ferretdb_uri when it listens.
ferretdb_start() {
    local binary program folder=$1
    binary=$(scripts/build-ferretdb.sh) || return 1
    ferretdb_command "$binary" "$folder/mongodb.sock"
    mkdir -p "$folder"
    (cd "$folder" && exec "${program[@]}") >"$folder/ferretdb.log" 2>&1 &
    ferretdb_pid=$!
    ferretdb_uri=$(uri_of_socket "$folder/mongodb.sock")
    for _ in $(seq 600); do
        [ ! -S "$folder/mongodb.sock" ] || return 0
        kill -0 "$ferretdb_pid" 2>/dev/null || break
        sleep 0.05
    done
    cat "$folder/ferretdb.log" >&2
    ferretdb_stop
    return 1
}

ferretdb_stop() {
    [ -n "${ferretdb_pid:-}" ] || return 0
    kill -KILL "$ferretdb_pid" 2>/dev/null
    wait "$ferretdb_pid" 2>/dev/null
    ferretdb_pid=
}
