# welcome: what `make run` says when everything is ready. Source it; expects run.sh's settings.
# shellcheck shell=bash disable=SC2154

# port_list PREFIX FIRST COUNT SUFFIX: one address per instance.
port_list() {
    local i
    for ((i = 0; i < $3; i++)); do
        printf '%s%s%s  ' "$1" $(($2 + i)) "$4"
    done
}

say_addresses() {
    local name
    cat <<EOF

Pipit is running.  Data: $data   Logs: $data/log/
  REST API and login   $(port_list "http://$address:" "$http_port" "${count[auth]}" /v1)
  WebSocket            $(port_list "ws://$address:" "$ws_port" "${count[connection]}" /v1/ws)
  MQTT                 $(port_list "mqtt://$address:" "$mqtt_port" "${count[connection]}" "")
  Operations           http://127.0.0.1:$ops_port/metrics (auth), then +1 connection, +2 routing, +3 storage
EOF
    for name in "${names[@]}"; do
        if [ "${number_of[$name]}" -gt 1 ]; then
            echo "                       http://127.0.0.1:${ops_of[$name]}/metrics ($name)"
        fi
    done
    case $store in
    sqlite) ;;
    mongodb) echo "  Store                FerretDB at $sockets/mongodb.sock, data in $data/ferretdb" ;;
    # Never print a password.
    *) echo "  Store                $(sed -E 's|://[^@/]*@|://|; s|\?.*||' <<<"$store")" ;;
    esac
}

say_tour() {
    local invite
    invite=$(cat "$data"/log/auth*.out |
        sed -n 's/^Admin invite.*: \(pi_[A-Za-z0-9_-]*\).*/\1/p' | tail -n 1)
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
    printf '\nCtrl-C stops all %s processes.\n' "${#names[@]}"
}
